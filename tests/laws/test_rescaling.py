"""Rescalings of random networks: the function stays, and copies are recognized."""

from __future__ import annotations

from collections.abc import Callable

from pathlift.ir.graph import Graph
from pathlift.passes.random_rescale import RandomRescale
from pathlift.testing import assert_equivalent
from pathlift.testing.strategies import graphs
from pathlift.verbs.compare import compare


def test_a_rescaled_copy_computes_the_same_and_is_recognized(check_law: Callable[..., None]) -> None:
    def law(graph: Graph) -> None:
        copy = RandomRescale(seed=1, octaves=4, exact=True).run(graph).graph
        assert_equivalent(graph, copy, trials=1)
        assert compare(graph, copy, tolerance=1e-4).exit_code == 0

    check_law(law, graphs())
