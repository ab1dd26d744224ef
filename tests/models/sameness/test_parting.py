"""The place where two models part: matched node by node or by name, and never where they meet again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.frontend.load import load
from pathlift.ir.graph import Graph, Value
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Param
from pathlift.models.sameness.parting import chain_to_outputs, nearest
from pathlift.passes.rewrites.fold_batchnorm import FoldBatchnorm
from pathlift.report.sameness import Parting, SamenessResult
from pathlift.testing.pairs import rewritten
from pathlift.verbs.compare import compare


def judged(a: Any, b: Any, **options: Any) -> SamenessResult:
    result = compare(a, b, modulo="none", **options)
    assert isinstance(result, SamenessResult)
    return result


def parted(a: Any, b: Any, **options: Any) -> Parting:
    result = judged(a, b, **options)
    assert result.verdict == "different"
    assert result.parting is not None
    return result.parting


def moved(graph: Graph, name: str, index: int, by: float) -> Graph:
    """One element of a parameter is another one."""
    (key,) = (k for k in graph.params if graph[k].names[0] == name)
    values = graph[key].value.numpy().copy()  # type: ignore[union-attr]  # a parameter has a value
    values[index] += by
    builder = graph.edit()
    builder.replace_node(Value(key), value=Param.of(values))
    return builder.finish()


def test_one_bias_deep_inside(digits: Any) -> None:
    graph = load(digits)
    found = parted(graph, moved(graph, "hidden.bias", 3, 0.5))
    assert (found.matched_by, found.matched, found.nodes) == ("structure", 14, (14, 14))
    assert [v.node for v in found.values] == ["hidden", "Relu_1", "classes"]
    assert found.values[0].difference.index is not None
    assert found.values[0].difference.index[-1] == 3
    assert found.values[0].difference.absolute == pytest.approx(0.5)
    assert found.agreeing == ("view_2",)
    (bias,) = found.parameters
    assert (bias.value, bias.difference.index) == ("hidden.bias", (3,))


def test_nodes_in_another_order_under_other_names(digits: Any) -> None:
    graph = load(digits)
    copy = rewritten(graph, np.random.default_rng(1))
    assert judged(graph, copy).verdict == "same"
    found = parted(graph, rewritten(moved(graph, "hidden.bias", 3, 0.5), np.random.default_rng(1)))
    assert (found.matched_by, found.values[0].node) == ("structure", "hidden")
    assert found.values[0].other != found.values[0].value


def test_a_folded_model_is_matched_by_names(digits: Any) -> None:
    graph = load(digits)
    assert judged(graph, FoldBatchnorm().run(graph).graph).verdict == "same"
    found = parted(graph, FoldBatchnorm().run(moved(graph, "hidden.bias", 3, 0.5)).graph)
    assert (found.matched_by, found.nodes, found.values[0].node) == ("names", (14, 12), "hidden")
    assert found.matched == 12


FIRST = """
%x = Input : f32[N, 2]
%two = Param {{value=[2.0, 2.0]}} : f32[2]
%one = Param {{value=[1.0, 1.0]}} : f32[2]
%h = Mul(%x, %two)
%r = Add(%h, %one)
%z = Mul(%r, %two)
%y = Relu(%z)
return %y
"""
SECOND = """
%x = Input : f32[N, 2]
%two = Param {{value=[2.0, 2.0]}} : f32[2]
%one = Param {{value=[1.0, 1.0]}} : f32[2]
%three = Param {{value=[{0}, {0}]}} : f32[2]
%k = Mul(%x, %two)
%h = Add(%k, %one)
%r = Mul(%h, %one)
%z = Mul(%r, %three)
%y = Relu(%z)
return %y
"""


def test_they_do_not_part_where_they_meet_again() -> None:
    """The second calls by the first's name h what the first computes one node later."""
    found = parted(parse_graph(FIRST.format()), parse_graph(SECOND.format(3.0)))
    assert (found.matched_by, [v.value for v in found.values]) == ("names", ["z", "y"])
    assert judged(parse_graph(FIRST.format()), parse_graph(SECOND.format(2.0))).verdict == "same"


BRANCHED = """
%x = Input : f32[N, 2]
%a = Relu(%x)
%b = Neg(%a)
%c = Sigmoid(%b)
%d = Add(%c, %a)
%e = Abs(%d)
return %d, %e
"""


@pytest.mark.parametrize(
    ("compared", "apart", "chain"),
    [
        ("abcde", "bcde", "bcde"),
        ("abcde", "bde", "de"),  # what differs at b has met again at c
        ("abcde", "bcd", "bcd"),  # d is an output itself
        ("acde", "acde", "acde"),  # b was not compared: c reads a
        ("ade", "ade", "ade"),
        ("abcde", "ab", ""),
        ("abcde", "ae", "e"),
    ],
)
def test_differences_that_outputs_inherit(compared: str, apart: str, chain: str) -> None:
    graph = parse_graph(BRANCHED)
    values = [dict.fromkeys(map(Value, names), 0) for names in (compared, apart)]
    assert "".join(v.node for v in chain_to_outputs(graph, *values, {Value("d"), Value("e")})) == chain


def test_what_a_node_reads_of_what_was_compared() -> None:
    graph = parse_graph(BRANCHED)
    assert nearest(graph, "d", {Value("c"): 0}) == [Value("c"), Value("x")]
    assert nearest(graph, "d", {}) == [Value("x")]


def test_an_output_of_another_port_does_not_inherit() -> None:
    graph = parse_graph("""
    %x = Input : f32[N, 4]
    %p, %q = Split(%x) {axis=1, parts=[2, 2]}
    %y = Relu(%p)
    return %y
    """)
    split = next(key for key in graph.order if graph[key].op == "Split")
    both, y = [Value(split, 0), Value(split, 1)], graph.outputs[0]
    compared = dict.fromkeys([*both, y], 0)
    assert chain_to_outputs(graph, compared, {both[1]: 0, y: 0}, {y}) == [y]
    assert chain_to_outputs(graph, compared, {both[0]: 0, y: 0}, {y}) == [both[0], y]
