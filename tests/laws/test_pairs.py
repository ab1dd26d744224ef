"""Every network pairs with a copy of itself that says the same in another way, with other weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from pathlift.ir.graph import Graph
from pathlift.testing.pairs import assert_pairs, rewritten
from pathlift.testing.strategies import graphs


def check_pair(graph: Graph, seed: int) -> None:
    found = assert_pairs(graph, rewritten(graph, np.random.default_rng(seed), noise=0.1))
    assert not found.remarks
    assert all(errors == (None, None) for errors in found.errors.values())


def test_a_network_pairs_with_a_copy(check_law: Callable[..., None]) -> None:
    check_law(check_pair, graphs(), st.integers(0, 2**16))
