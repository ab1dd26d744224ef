"""Neurons of graphs with a node that has no rule: what passes through it, and what stays apart."""

from __future__ import annotations

from pathlift.ir.text import parse_graph
from pathlift.passes.equivalence.walk import neurons_of

REFUSED = """
    %x = Input : f32[2, 2]
    %a = Param {value=[[1.0, 2.0], [3.0, 4.0]]} : f32[2, 2]
    %y = Gemm(%a, %x)
    %p, %q = Split(%y) {axis=1, parts=[1, 1]}
    %w = Param {value=[[1.0, 2.0]]} : f32[1, 2]
    %z = Gemm(%q, %w)
    return %z, %p
"""


def test_nothing_is_left_of_what_a_refused_node_had_begun() -> None:
    """The left factor is read as a bias before the right one turns out to be no weight; then both are mixed."""
    network = neurons_of(parse_graph(REFUSED))
    assert [w.key for w in network.weights] == ["a", "w"]
    assert {"y", "z"} <= set(network.labels)
