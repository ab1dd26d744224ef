"""Common subexpressions: computed twice before, computed once after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Origin, Value
from pathlift.ir.text import parse_graph
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.rewrites.common_subexpressions import CommonSubexpressions
from pathlift.testing import assert_equivalent, assert_same_as_onnxruntime, op_names
from pathlift.testing.strategies import graphs

Draw = Callable[[st.SearchStrategy[Any]], Any]
TWINS = """
    graph "twins" {opset=18}
    %x = Input : f32[N, 2]
    %w = Param {value=[[1.0, 2.0], [3.0, -4.0]]} : f32[2, 2]
    %tied = Param {same=%w} : f32[2, 2]
    %equal = Param {value=[[1.0, 2.0], [3.0, -4.0]]} : f32[2, 2]
    %a = Gemm(%x, %w)  # loc: left
    %b = Gemm(%x, %tied)  # loc: right {doc="the same"}
    %c = Gemm(%x, %equal)  # loc: other
    %p = LeakyRelu(%a) {alpha=0.5}
    %q = LeakyRelu(%b) {alpha=0.5}
    %r = LeakyRelu(%c) {alpha=0.25}
    %y = Concat(%p, %q, %r) {axis=1}
    return %y, %q
"""


def merged(graph: Graph, *, parameters: bool = False) -> Graph:
    transform = CommonSubexpressions(parameters)
    rewritten = transform.run(graph)
    rewritten.witness.check(graph, rewritten.graph)
    assert transform.run(rewritten.graph).graph is rewritten.graph
    assert_equivalent(graph, rewritten.graph)
    return rewritten.graph


@pytest.mark.parametrize("parameters", [False, True], ids=["", "_tied"])
def test_golden(golden: Callable[[str, str], None], parameters: bool) -> None:
    before = parse_graph(TWINS)
    rewritten = CommonSubexpressions(parameters).run(before)
    name = "passes/rewrites/common_subexpressions" + "_tied" * parameters + ".txt"
    golden(name, f"{before}\n\n{rewritten.graph}\n\n{rewritten.witness.describe()}")
    assert_same_as_onnxruntime(merged(before, parameters=parameters))


@st.composite
def doubled(draw: Draw, **options: Any) -> Graph:
    """A random network, and a copy of it on the same inputs and parameters, joined or side by side."""
    graph = draw(graphs(**options))
    b, copy = graph.edit(), dict[Value, Value]()
    for key in graph.order:
        node = graph[key]
        if node.op in ("Input", "Param"):
            tie = node.value is not None and draw(st.booleans())
            copy[Value(key)] = b.param(node.value, b.fresh(key)) if tie and node.value else Value(key)
            continue
        sources = (None if v is None else copy[v] for v in graph.inputs_of(key))
        names = [b.fresh(name) for name in node.names]
        values = b.node(node.op, *sources, names=names, types=node.types, **node.attrs)
        copy.update({Value(key, i): value for i, value in enumerate(values)})
    if draw(st.booleans()):
        ends = [b.op(draw(st.sampled_from(["Add", "Max"])), v, copy[v]) for v in graph.outputs]
        b.outputs = [*ends, *graph.outputs[:1]]
    else:
        b.outputs.extend(copy[v] for v in graph.outputs if copy[v] not in b.outputs)
    return b.finish()


@pytest.mark.parametrize("parameters", [False, True])
def test_laws(check_rewrite: Callable[..., None], parameters: bool) -> None:
    check_rewrite(CommonSubexpressions(parameters), doubled(), examples=50, rewritten=True)
    check_rewrite(CommonSubexpressions(parameters), graphs(), examples=30)


@settings(max_examples=60)
@given(doubled(homogeneous=True))
def test_path_norms_stay(graph: Graph) -> None:
    qs = (0.0, 0.5, 1.0, 2.0, np.inf)
    before, after = (PathNorm(q=qs).run(g).norms for g in (graph, merged(graph, parameters=True)))
    for a, b in zip(before, after, strict=True):
        assert a.log10 == pytest.approx(b.log10, abs=1e-12)


def test_copies_leave_nothing_but_names() -> None:
    b = Builder()
    x, w = b.input("x", ("N", 2)), b.param([[1.0, 2.0], [3.0, 4.0]], "w")
    ends = [b.op("Relu", b.op("Gemm", b.op("Abs", x), w), name=f"y{i}") for i in range(3)]
    after = merged(b.finish(*ends))
    assert op_names(after) == ["Abs", "Gemm", "Relu", "Identity", "Identity"]
    assert [after.name_of(v) for v in after.outputs] == ["y0", "y1", "y2"]


def test_origins_are_merged_and_unread_parameters_go() -> None:
    after = merged(parse_graph(TWINS))
    assert after["a"].origin == Origin(("left", "right"), "the same")
    assert "tied" not in after
    assert "equal" in after


def test_parameters_are_tied_on_request_only() -> None:
    graph = parse_graph(TWINS)
    for parameters in (False, True):
        after = merged(graph, parameters=parameters)
        assert ("c" in after) is not parameters
        assert after["w"].value is graph["w"].value


def test_outputs_that_are_left_out_lend_their_names() -> None:
    graph = parse_graph("""
        %x = Input : f32[4]
        %s, _ = Split(%x) {axis=0, parts=[1, 3]}
        _, %t = Split(%x) {axis=0, parts=[1, 3]}
        %y = Add(%s, %t)
        return %y
    """)
    assert op_names(merged(graph)) == ["Split", "Add"]


def test_several_outputs_of_a_node_that_computes_graph_outputs() -> None:
    graph = parse_graph("""
        %x = Input : f32[4]
        %a, %b = Split(%x) {axis=0, parts=[2, 2]}
        %c, %d = Split(%x) {axis=0, parts=[2, 2]}
        %p = Relu(%a)
        %q = Relu(%c)
        %y = Add(%p, %q)
        return %b, %d, %y
    """)
    assert op_names(merged(graph)) == ["Split", "Split", "Relu", "Add"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("LeakyRelu(%x) {alpha=0.5}", "LeakyRelu(%x) {alpha=0.25}"),
        ("Sub(%x, %z)", "Sub(%z, %x)"),
        ("Mul(%x, %c)", "Mul(%x, %d)"),
        ("Mul(%x, %c)", "Mul(%x, %free)"),
        ('Opaque(%x) {op_type="RandomNormalLike", reason="it is random", proto=b64""} : f32[2]',) * 2,
    ],
)
@pytest.mark.parametrize("parameters", [False, True])
def test_what_is_not_the_same(one: str, other: str, parameters: bool) -> None:
    graph = parse_graph(f"""
        graph "g" {{opset=18, overridable=["free"]}}
        %x = Input : f32[2]
        %z = Input : f32[2]
        %c = Param {{value=[1.0, 2.0]}} : f32[2]
        %d = Param {{value=[1.0, -2.0]}} : f32[2]
        %free = Param {{value=[1.0, 2.0]}} : f32[2]
        %a = {one}
        %b = {other}
        %y = Sum(%a, %b, %free)
        return %y
    """)
    assert CommonSubexpressions(parameters).run(graph).graph is graph


def test_bytes_are_compared_not_values() -> None:
    b = Builder()
    x = b.input("x", (2,))
    for i, values in enumerate(([0.0, 1.0], [-0.0, 1.0], [[0.0], [1.0]], [0.0, 1.0])):
        x = b.op("Add", x, b.param(values, f"p{i}"))
    after = merged(b.finish(x), parameters=True)
    assert after["p3"].value is after["p0"].value
    assert len({id(after[f"p{i}"].value) for i in range(4)}) == 3
