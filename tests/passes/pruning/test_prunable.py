"""Prunable weights: by op, by name, once, and only where zeros do what they should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.errors import PathliftError
from pathlift.ir.graph import Graph
from pathlift.ir.kronecker import Pattern
from pathlift.ir.types import Array, Param
from pathlift.passes.pruning.prunable import prunables

RNG = np.random.default_rng(0)


def ones(*shape: int) -> Array:
    return np.ones(shape, np.float32)


def names(graph: Graph, *arguments: str, **options: Any) -> list[str]:
    return [p.name for p in prunables(graph, *arguments, **options).found]


def every_kind() -> Graph:
    b = Builder()
    window = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    x = b.op("Conv", b.input("x", ("N", 4, 4, 4)), b.param(ones(4, 4, 1, 1), "conv.weight"), **window)
    x = b.op("ConvTranspose", x, b.param(ones(4, 4, 1, 1), "up.weight"), **window, output_padding=(0, 0))
    x = b.op("BatchNormalization", x, *(b.param(ones(4), f"norm.{i}") for i in range(4)))
    x = b.op("PRelu", x, b.param(ones(4, 1, 1), "slope"))
    x = b.op("Einsum", x, b.param(ones(4, 4), "mix"), equation="nchw,cd->ndhw")
    x = b.op("ReduceMean", x, axes=(2, 3), keepdims=False)
    x = b.op("KSLinear", x, b.param(ones(2, 1, 2, 2), "ks"), pattern=tuple(Pattern(2, 2, 2, 1)))
    return b.finish(b.op("Gemm", x, b.param(ones(4, 2), "fc.weight"), b.param(ones(2), "fc.bias"), name="fc"))


def test_weights_of_linear_ops_and_nothing_else() -> None:
    graph = every_kind()
    assert names(graph) == ["conv.weight", "up.weight", "mix", "ks", "fc.weight"]
    assert names(graph, biases=True)[-2:] == ["fc.weight", "fc.bias"]
    assert names(graph, "fc, conv", "*.weight") == []
    assert names(graph, "fc;conv", "up") == ["conv.weight", "fc.weight"]
    assert names(graph, "*", "m*") == ["conv.weight", "up.weight", "ks", "fc.weight"]


def test_layouts_have_the_inputs_last() -> None:
    extents = {p.name: p.layout.extents for p in prunables(every_kind(), biases=True).found}
    assert extents == {
        "conv.weight": (4, 1, 4), "up.weight": (4, 1, 4), "mix": (4, 1, 4), "ks": (4, 1, 2), "fc.weight": (2, 1, 4),
        "fc.bias": (1, 1, 2),
    }  # fmt: skip


def test_a_batched_product_has_rows_per_batch() -> None:
    b, weight = Builder(), RNG.standard_normal((2, 3, 4))  # (batch, in, out)
    x = b.input("x", (2, "N", 3), "f64")
    (p,) = prunables(b.finish(b.op("Einsum", x, b.param(weight, "w"), equation="bni,bio->bno"))).found
    assert p.layout.extents == (8, 1, 3)
    assert (p.layout.matrices(weight)[5, 0] == weight[1, :, 1]).all()


def twice(param: Param | Array, *more: Param) -> Graph:
    b = Builder()
    x = b.op("Gemm", b.input("x", ("N", 2)), b.param(param, "a"), name="one")
    return b.finish(b.op("Gemm", x, b.param(more[0], "b") if more else "a", name="two"))


def test_tied_weights_are_one() -> None:
    param = Param.of(ones(2, 2))
    assert names(twice(ones(2, 2))) == ["a"]
    (p,) = prunables(twice(param, param)).found
    assert (p.name, p.keys, p.node, p.readers) == ("a", ("a", "b"), "one", ("one", "two"))


def test_what_others_read_too_stays() -> None:
    b = Builder()
    w = b.param(ones(2, 2), "w")
    graph = b.finish(b.op("Add", b.op("Gemm", b.input("x", ("N", 2)), w, name="fc"), w, name="sum"))
    assert prunables(graph).kept == {"fc": "its weights are read by 'sum' (Add), too"}
    with pytest.raises(PathliftError, match=r"PL1403 .*fc: its weights are read by 'sum'"):
        prunables(graph).checked()


def test_what_a_caller_may_replace_stays(perceptron: Callable[..., Graph]) -> None:
    builder = perceptron(2, 2).edit()
    builder.info = replace(builder.info, ir_version=8, overridable=("fc0.weight",))
    assert "caller" in prunables(builder.finish()).kept["fc0"]
    assert prunables(perceptron(2, 2)).kept == {}


def test_weights_that_are_outputs_stay() -> None:
    b = Builder()
    w = b.param(ones(2, 2), "w")
    graph = b.finish(b.op("Gemm", b.input("x", ("N", 2)), w, name="fc"), w)
    assert "output" in prunables(graph).kept["fc"]
