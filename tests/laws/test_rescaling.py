"""Rescalings of random networks: the function stays, and copies are recognized."""

from __future__ import annotations

from collections.abc import Callable

from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.passes.canonicalize import Canonicalize
from pathlift.passes.random_rescale import RandomRescale
from pathlift.testing import assert_equivalent
from pathlift.testing.strategies import graphs
from pathlift.verbs.compare import compare

PADDED = """
    %x = Input : f32[1, 1]
    %w = Param {value=[[0.75, 0.25]]} : f32[1, 2]
    %h = Gemm(%x, %w)
    %p = Pad(%h) {pads=[0, 0, 0, 1], value=-0.5}
    %v = Param {value=[[0.0], [-0.5], [-0.5]]} : f32[3, 1]
    %y = Gemm(%p, %v)
    return %y
"""


def test_a_channel_of_padding_keeps_its_scale() -> None:
    graph = parse_graph(PADDED)
    for transform in (RandomRescale(seed=1), Canonicalize()):
        assert_equivalent(graph, transform.run(graph).graph, rtol=1e-6)


def test_a_rescaled_copy_computes_the_same_and_is_recognized(check_law: Callable[..., None]) -> None:
    def law(graph: Graph) -> None:
        copy = RandomRescale(seed=1, octaves=4, exact=True).run(graph).graph
        assert_equivalent(graph, copy, trials=1)
        assert compare(graph, copy, tolerance=1e-4).exit_code == 0

    check_law(law, graphs())
