"""Inputs that weights meet: second moments against the layers' own outputs, for every kind of layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pathlift.ir.builder import Builder
from pathlift.ir.errors import PathliftError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.passes.layers.rows import met
from pathlift.passes.pruning.inputs import groups_of, input_norms
from pathlift.passes.pruning.layout import Layout
from pathlift.passes.pruning.prunable import prunables
from pathlift.testing import execute

RNG = np.random.default_rng(0)
WINDOW: dict[str, Any] = {"strides": (2, 1), "pads": (1, 0, 2, 1), "dilations": (1, 2), "groups": 2}


def layer(op: str, x: tuple[int, ...], w: tuple[int, ...], **attrs: Any) -> Graph:
    b = Builder()
    weight = b.param(RNG.standard_normal(w), "w")
    return b.finish(b.op(op, b.input("x", x, "f64"), weight, name="y", **attrs))


LAYERS = {
    "gemm": layer("Gemm", (3, 5), (5, 4)),
    "gemm, transposed": layer("Gemm", (2, 3, 5), (4, 5), trans_w=True),
    "conv": layer("Conv", (2, 6, 5, 7), (4, 3, 3, 2), **WINDOW),
    "conv1d": layer("Conv", (2, 3, 9), (4, 3, 3), strides=(1,), pads=(1, 1), dilations=(1,)),
    "weights on the left": layer("Einsum", (2, 5, 3), (4, 5), equation="nis,oi->nos"),
    "batched": layer("Einsum", (2, 3, 5), (5, 2, 4), equation="bni,ibo->bno"),
    "kronecker": layer("KSLinear", (3, 12), (2, 3, 4, 2), pattern=(2, 4, 2, 3)),
    "kronecker, features first": layer("KSLinear", (12, 3), (2, 3, 4, 2), pattern=(2, 4, 2, 3), feature_major=True),
}


def fed(graph: Graph) -> Array:
    shape = graph[graph.inputs[0]].types[0].shape  # type: ignore[union-attr]  # an input is a tensor
    return RNG.standard_normal(shape)  # type: ignore[arg-type, no-any-return]  # NumPy says Any


@pytest.mark.parametrize("graph", LAYERS.values(), ids=LAYERS)
def test_outputs_are_rows_of_weights_times_what_they_meet(graph: Graph) -> None:
    x = fed(graph)
    expected = np.sort(execute(graph, {"x": x})["y"].reshape(-1))
    (p,) = prunables(graph).found
    node = graph[p.readers[0]]
    rows = p.layout.matrices(p.values())
    inputs = met(node, torch.from_numpy(x), p.param.shape).numpy()
    groups = groups_of(node, p.layout, p.param.shape)
    found = [inputs[group] @ row.reshape(-1) for group, row in zip(groups, rows, strict=True)]
    np.testing.assert_allclose(np.sort(np.concatenate(found)), expected, atol=1e-12)


def test_norms_are_those_of_columns() -> None:
    graph, x = LAYERS["gemm"], RNG.standard_normal((3, 5))
    (norms,) = input_norms(graph, prunables(graph).found, [{"x": x[:1]}, {"x": x[1:]}]).values()
    np.testing.assert_allclose(norms, np.repeat(np.linalg.norm(x, axis=0)[:, None], 4, 1), rtol=1e-6)


def test_norms_of_a_transposed_convolution_are_those_of_its_channels() -> None:
    window = {"strides": (1,), "pads": (0, 0), "dilations": (1,), "output_padding": (0,), "groups": 2}
    graph, x = layer("ConvTranspose", (2, 4, 5), (4, 3, 2), **window), RNG.standard_normal((2, 4, 5))
    (norms,) = input_norms(graph, prunables(graph).found, [{"x": x}]).values()
    expected = np.sqrt(np.square(x).sum((0, 2)))
    np.testing.assert_allclose(norms, np.broadcast_to(expected[:, None, None], (4, 3, 2)), rtol=1e-6)


def test_a_layer_of_several_readers_has_the_sum() -> None:
    b, w = Builder(), RNG.standard_normal((2, 2))
    x = b.input("x", ("N", 2), "f64")
    b.param(w, "w")
    graph = b.finish(b.op("Gemm", x, "w", name="y"), b.op("Gemm", b.op("Relu", x), "w", trans_w=True, name="z"))
    x_ = RNG.standard_normal((4, 2))
    (norms,) = input_norms(graph, prunables(graph).found, [{"x": x_}]).values()
    squares = np.square(x_).sum(0)[:, None] + np.square(np.maximum(x_, 0)).sum(0)[None]
    np.testing.assert_allclose(norms, np.sqrt(squares), rtol=1e-6)


def test_biases_meet_ones() -> None:
    b = Builder()
    graph = b.finish(b.op("Gemm", b.input("x", ("N", 2), "f64"), b.param(np.eye(2)), b.param(np.ones(2), "b")))
    norms = input_norms(graph, prunables(graph, biases=True).found, [{"x": np.ones((9, 2))}])
    assert norms["b"].tolist() == [3, 3]


def test_what_is_not_finite_is_refused_by_name() -> None:
    graph = LAYERS["gemm"]
    with pytest.raises(PathliftError, match=r"PL0181 node 'y' \(Gemm\)"):
        input_norms(graph, prunables(graph).found, [{"x": np.full((3, 5), np.nan)}])


def test_layouts_of_readers_are_their_own() -> None:
    node = LAYERS["gemm"]["y"]
    assert Layout.of(node, 1, (5, 4)).extents == (4, 1, 5)
    assert Layout.of(node, 2, (4,)).extents == (1, 1, 4)
