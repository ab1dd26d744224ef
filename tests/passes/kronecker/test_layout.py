"""Epilogues, and the feature-major layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pathlift.ir.algebras.traits import traits
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.ir.kronecker import Pattern
from pathlift.ir.text import parse_graph
from pathlift.passes.kronecker.epilogue import FuseEpilogue
from pathlift.passes.kronecker.layout import AssignLayout
from pathlift.passes.pipeline import parse_pipeline, run_pipeline
from pathlift.testing import assert_equivalent, op_names
from pathlift.testing.samples import samples

Golden = Callable[[str, str], None]


def ks(b: Builder, x: Value, pattern: tuple[int, ...], **options: Any) -> Value:
    rng = np.random.default_rng(sum(pattern))
    weights = b.param((rng.integers(-8, 9, Pattern(*pattern).shape) / 8).astype(np.float32))
    return b.op("KSLinear", x, weights, pattern=pattern, **options)


def bias(b: Builder, *shape: int) -> Value:
    return b.param(np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape) / 4)


def block(b: Builder, x: Value) -> Value:
    """Two factors, a bias, GELU, one factor, a bias, ReLU."""
    h = ks(b, ks(b, x, (1, 2, 2, 2)), (2, 3, 2, 1))
    h = b.op("Gelu", b.op("Add", h, bias(b, 6)))
    return b.op("Relu", b.op("Add", bias(b, 1, 4), ks(b, h, (1, 2, 3, 2))))


def run(transform: Any, graph: Graph) -> Graph:
    rewritten = transform.run(graph)
    rewritten.witness.check(graph, rewritten.graph)
    if rewritten.graph is not graph:
        assert_equivalent(graph, rewritten.graph, rtol=1e-12)
        assert str(parse_graph(str(rewritten.graph))) == str(rewritten.graph)
    return rewritten.graph


def test_golden(golden: Golden) -> None:
    b = Builder()
    graph = b.finish(b.op("Identity", block(b, b.input("x", ("N", 4))), name="y"))
    fused = run(FuseEpilogue(), graph)
    laid = run(AssignLayout(), fused)
    golden("passes/kronecker/ks_layout.txt", f"{graph}\n\nafter ks-epilogue\n\n{fused}\n\nafter ks-layout\n\n{laid}")


def test_biases_and_activations_become_epilogues() -> None:
    b = Builder()
    graph = run(FuseEpilogue(), b.finish(block(b, b.input("x", ("N", 5, 4)))))
    assert op_names(graph) == ["KSLinear", "KSLinear", "KSLinear"]
    assert [graph[key].attrs.get("activation", "") for key in graph.order if graph[key].op == "KSLinear"] == [
        *("", "Gelu", "Relu")
    ]
    assert run(FuseEpilogue(), graph) is graph


@pytest.mark.parametrize("shape", [(5, 4), (1,), (), (3, 1, 4)])
def test_what_is_no_bias_stays(shape: tuple[int, ...]) -> None:
    b = Builder()
    graph = b.finish(b.op("Add", ks(b, b.input("x", (5, 4)), (1, 2, 2, 2)), bias(b, *shape)))
    assert run(FuseEpilogue(), graph) is graph


def test_a_value_that_is_read_twice_stays() -> None:
    b = Builder()
    h = ks(b, b.input("x", ("N", 4)), (1, 2, 2, 2))
    graph = b.finish(b.op("Relu", h), h)
    assert run(FuseEpilogue(), graph) is graph
    b = Builder()
    h = ks(b, b.input("x", ("N", 4)), (1, 2, 2, 2))
    graph = b.finish(ks(b, h, (2, 2, 2, 1)), b.op("Relu", h))
    assert run(AssignLayout(), graph) is graph


@pytest.mark.parametrize(
    ("shape", "reshapes"), [(("N", 4), 0), (("B", 5, 4), 2), ((2, "S", 4), 2), ((2, 3, 4), 2), ((4,), 2)]
)
def test_layers_in_a_row_are_feature_major(shape: tuple[Any, ...], reshapes: int) -> None:
    b = Builder()
    graph = run(AssignLayout(), run(FuseEpilogue(), b.finish(block(b, b.input("x", shape)))))
    assert op_names(graph).count("Transpose") == 2
    assert op_names(graph).count("Reshape") == reshapes
    assert all(graph[key].attrs["feature_major"] for key in graph.order if graph[key].op == "KSLinear")
    assert run(AssignLayout(), graph) is graph


def test_a_chain_whose_samples_cannot_be_counted_is_left_with_a_reason() -> None:
    b = Builder()
    graph = b.finish(block(b, b.input("x", ("B", "S", 4))))
    rewritten = AssignLayout().run(graph)
    assert rewritten.graph is graph
    assert "more than one extent" in rewritten.witness.describe()


def test_activations_between_layers_move_along() -> None:
    b = Builder()
    h = b.op("Tanh", ks(b, b.input("x", ("N", 4)), (1, 2, 2, 2)))
    graph = run(AssignLayout(), b.finish(b.op("Relu", ks(b, b.op("LeakyRelu", h), (2, 2, 2, 1)))))
    assert op_names(graph) == ["Transpose", "KSLinear", "Tanh", "LeakyRelu", "KSLinear", "Transpose", "Relu"]


@pytest.mark.parametrize("name", [n for n, g in samples().items() if "y" in g.nx and traits(g, "y").elementwise])
def test_whatever_is_elementwise_moves_along(name: str) -> None:
    b, node = Builder(), samples()[name]["y"]
    attrs = {n: "f32" if n == "to" else value for n, value in node.attrs.items()}  # as the layer behind it
    h = b.op(node.op, ks(b, b.input("x", ("N", 4)), (1, 2, 2, 2)), **attrs)
    graph = run(AssignLayout(), b.finish(ks(b, h, (2, 2, 2, 1))))
    assert op_names(graph) == ["Transpose", "KSLinear", node.op, "KSLinear", "Transpose"]


def test_one_layer_stays_unless_asked_for() -> None:
    b = Builder()
    graph = b.finish(ks(b, b.input("x", ("N", 4)), (1, 2, 2, 2)))
    assert run(AssignLayout(), graph) is graph
    assert op_names(run(AssignLayout(shortest=1), graph)) == ["Transpose", "KSLinear", "Transpose"]


def test_in_a_pipeline() -> None:
    b = Builder()
    graph = b.finish(block(b, b.input("x", ("N", 4))))
    assert "Transpose" in op_names(run_pipeline(graph, parse_pipeline("ks-epilogue,ks-layout{shortest=2}"))[0])
