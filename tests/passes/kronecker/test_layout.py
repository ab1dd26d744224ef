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


def two_factors(b: Builder, x: Value) -> Value:
    return ks(b, ks(b, x, (1, 2, 2, 2)), (2, 2, 2, 1))


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


@pytest.mark.parametrize("shape", [(5, 1), (1,), (), (3, 1, 4), (3, 5, 4)])
def test_what_is_no_bias_and_no_residual_stays(shape: tuple[int, ...]) -> None:
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


def layers(graph: Graph) -> list[tuple[int, str]]:
    """How many operands each layer has, left out or not, and its activation."""
    keys = [key for key in graph.order if graph[key].op == "KSLinear"]
    return [(len(graph.inputs_of(key)), str(graph[key].attrs.get("activation", ""))) for key in keys]


@pytest.mark.parametrize("steps", ["b", "r", "br", "rb", "brR", "rbR", "rR", "rbG"])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("shape", [("N", 4), ("B", 5, 4), (4, 4), (4,)])
def test_a_residual_joins_bias_and_activation(steps: str, swapped: bool, shape: tuple[Any, ...]) -> None:
    b = Builder()
    x, r = b.input("x", shape), b.input("r", shape)
    h = ks(b, x, (1, 2, 2, 2))
    for step in steps:
        if step in "br":
            other = bias(b, 4) if step == "b" else r
            h = b.op("Add", *((other, h) if swapped else (h, other)))
        else:
            h = b.op({"R": "Relu", "G": "Gelu"}[step], h)
    graph = run(FuseEpilogue(), b.finish(b.op("Identity", h, name="y")))
    assert op_names(graph) == ["KSLinear", "Identity"]
    assert layers(graph) == [(4 if "r" in steps else 3, {"R": "Relu", "G": "Gelu"}.get(steps[-1], ""))]
    assert run(FuseEpilogue(), graph) is graph


@pytest.mark.parametrize("tanh", [False, True])
def test_both_kinds_of_gelu_are_fused(tanh: bool) -> None:
    b = Builder()
    graph = run(FuseEpilogue(), b.finish(b.op("Gelu", ks(b, b.input("x", ("N", 4)), (1, 2, 2, 2)), tanh=tanh)))
    assert layers(graph) == [(2, "GeluTanh" if tanh else "Gelu")]


def test_a_skip_connection_is_a_residual() -> None:
    b = Builder()
    x = b.input("x", ("N", 4))
    graph = b.finish(b.op("Relu", b.op("Add", two_factors(b, x), x)))
    assert layers(run(FuseEpilogue(), graph)) == [(2, ""), (4, "Relu")]


def test_features_first_are_no_obstacle() -> None:
    b = Builder()
    x, r = b.input("x", (4, "N")), b.input("r", (4, "N"))
    h = b.op("Add", ks(b, x, (1, 2, 2, 2), feature_major=True), r)
    assert layers(run(FuseEpilogue(), b.finish(b.op("Add", h, bias(b, 4, 1))))) == [(4, "")]


@pytest.mark.parametrize("vectors", [1, 2])
def test_constants_of_full_shape_are_residuals(vectors: int) -> None:
    b = Builder()
    h = ks(b, b.input("x", (2, 4)), (1, 2, 2, 2))
    graph = run(FuseEpilogue(), b.finish(b.op("Add", h, bias(b, 2, 4))))
    assert (op_names(graph), layers(graph)) == (["KSLinear"], [(4, "")])
    b = Builder()  # a row of features is a bias, and a second one of them the only row
    h = ks(b, b.input("x", (1, 4)), (1, 2, 2, 2))
    for _ in range(vectors):
        h = b.op("Add", h, bias(b, 1, 4))
    assert layers(run(FuseEpilogue(), b.finish(h))) == [(2 + vectors, "")]


@pytest.mark.parametrize(
    ("shape", "other"),
    [
        (("N", 4), ("N", 1)),
        (("N", 4), (4,)),
        (("N", 4), ("M", 4)),
        (("N", 4), (1, 4)),
        (("N", 4), (3, "N", 4)),
        ((1, 4), ("N", 4)),
        (("N", 4), None),
    ],
)
def test_a_value_that_may_be_broadcast_is_no_residual(shape: tuple[Any, ...], other: tuple[Any, ...] | None) -> None:
    b = Builder()
    graph = b.finish(b.op("Add", ks(b, b.input("x", shape), (1, 2, 2, 2)), b.input("r", other)))
    assert FuseEpilogue().run(graph).graph is graph


def test_extents_that_nobody_knows_are_not_the_same() -> None:
    b = Builder()
    x, r = (b.op("Reshape", b.input(name, ("N", "M")), shape=(-1, 4)) for name in "xr")
    graph = b.finish(b.op("Add", ks(b, x, (1, 2, 2, 2)), r))
    assert FuseEpilogue().run(graph).graph is graph


def test_a_second_residual_and_a_second_bias_stay() -> None:
    b = Builder()
    h, r, s = ks(b, b.input("x", ("N", 4)), (1, 2, 2, 2)), b.input("r", ("N", 4)), b.input("s", ("N", 4))
    for other in (r, bias(b, 4), s, bias(b, 4)):
        h = b.op("Add", h, other)
    graph = run(FuseEpilogue(), b.finish(h))
    assert (op_names(graph), layers(graph)) == (["KSLinear", "Add", "Add"], [(4, "")])


def test_a_residual_behind_an_activation_stays() -> None:
    b = Builder()
    h, r = ks(b, b.input("x", ("N", 4)), (1, 2, 2, 2)), b.input("r", ("N", 4))
    graph = run(FuseEpilogue(), b.finish(b.op("Add", b.op("Relu", h), r)))
    assert (op_names(graph), layers(graph)) == (["KSLinear", "Add"], [(2, "Relu")])


def test_of_two_layers_the_first_that_can_takes_the_other() -> None:
    for activation, first in (("", "a"), ("Relu", "c")):
        b = Builder()
        a, c = (ks(b, b.input(name, ("N", 4)), (1, 2, 2, 2)) for name in "ac")
        a = b.op("Relu", a) if activation else a
        graph = run(FuseEpilogue(), b.finish(b.op("Add", a, c, name="y")))
        assert op_names(graph) == ["KSLinear", "KSLinear"]
        assert graph.name_of(graph.inputs_of("y")[0] or Value("")) == first
        assert len(graph.inputs_of("y")) == 4


def test_a_value_added_to_itself_or_to_what_depends_on_it_stays() -> None:
    b = Builder()
    h = ks(b, b.input("x", ("N", 4)), (1, 2, 2, 2))
    twice = b.finish(b.op("Add", h, h))
    assert run(FuseEpilogue(), twice) is twice
    for dependent in ("Tanh", "Neg"):
        b = Builder()
        h = ks(b, b.input("x", ("N", 4)), (1, 2, 2, 2))
        graph = b.finish(b.op("Add", h, b.op(dependent, h)))
        assert run(FuseEpilogue(), graph) is graph
    b = Builder()
    h = ks(b, b.input("x", ("N", 4)), (1, 2, 2, 2))
    graph = run(FuseEpilogue(), b.finish(b.op("Add", h, ks(b, h, (1, 2, 2, 2)), name="y")))
    assert graph.name_of(graph.inputs_of("y")[3] or Value("")) == "kslinear"  # the later layer takes the earlier one


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


def test_chains_that_read_what_a_chain_makes() -> None:
    b = Builder()
    h = two_factors(b, b.input("x", ("N", 4)))
    graph = run(AssignLayout(), b.finish(two_factors(b, h), two_factors(b, h)))
    assert op_names(graph).count("Transpose") == 6


SHAPES = pytest.mark.parametrize("shape", [("N", 4), (4, 4), ("B", 5, 4), (2, "S", 4), (4,)])


@SHAPES
def test_a_skip_connection_needs_no_more_transpositions(shape: tuple[Any, ...]) -> None:
    b = Builder()
    x = b.input("x", shape)
    h = b.op("Tanh", ks(b, x, (1, 3, 2, 2)))
    graph = run(FuseEpilogue(), b.finish(b.op("Relu", b.op("Add", ks(b, h, (2, 2, 3, 1)), x))))
    graph = run(AssignLayout(), graph)
    assert op_names(graph).count("Transpose") == 2
    assert op_names(graph).count("KSLinear") == 2
    assert "Add" not in op_names(graph)


@SHAPES
@pytest.mark.parametrize("at", [0, 1, 2])
def test_residuals_from_outside_are_transposed(shape: tuple[Any, ...], at: int) -> None:
    b = Builder()
    h, r = b.input("x", shape), b.input("r", shape)
    for i in range(3):
        h = ks(b, h, (1, 2, 2, 2))
        if i == at:
            h = b.op("Add", b.op("Add", h, r), bias(b, 4))
    graph = run(AssignLayout(), run(FuseEpilogue(), b.finish(h)))
    assert op_names(graph).count("Transpose") == 3
    assert op_names(graph).count("KSLinear") == 3
    assert op_names(graph).count("Reshape") == (0 if len(shape) == 2 else 3)
    assert all(graph[key].attrs["feature_major"] for key in graph.order if graph[key].op == "KSLinear")


def test_a_constant_residual_is_transposed_too() -> None:
    b = Builder()
    graph = run(FuseEpilogue(), b.finish(b.op("Add", two_factors(b, b.input("x", (2, 4))), bias(b, 2, 4))))
    assert op_names(run(AssignLayout(), graph)).count("Transpose") == 3


@pytest.mark.parametrize("first", ["residual", "chain"])
def test_a_chain_ends_where_it_is_a_residual(first: str) -> None:
    b = Builder()
    x, z = (b.input(name, ("N", 4)) for name in ("xz" if first == "residual" else "zx"))
    r, h = (two_factors(b, v) for v in ((x, z) if first == "residual" else (z, x)))
    weights = b.param(np.ones((1, 2, 2, 2), np.float32))
    h = b.op("KSLinear", h, weights, None, r, pattern=(1, 2, 2, 2))
    graph = run(AssignLayout(), b.finish(h))
    assert op_names(graph).count("KSLinear") == 5
    assert op_names(graph).count("Transpose") == 5  # two around each chain, and one of the residual
    assert "Add" not in op_names(graph)


def test_a_value_inside_that_is_a_residual_ends_the_chain() -> None:
    b = Builder()
    h = two_factors(b, b.input("x", ("N", 4)))
    graph = run(FuseEpilogue(), b.finish(b.op("Add", two_factors(b, h), h)))
    assert [key for key in graph.order if len(graph.inputs_of(key)) == 4]
    assert op_names(run(AssignLayout(), graph)).count("Transpose") == 4


def test_in_a_pipeline() -> None:
    b = Builder()
    graph = b.finish(block(b, b.input("x", ("N", 4))))
    assert "Transpose" in op_names(run_pipeline(graph, parse_pipeline("ks-epilogue,ks-layout{shortest=2}"))[0])
