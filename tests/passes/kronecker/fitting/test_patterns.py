"""Candidate patterns: they fit, they are chainable and within the budget, and their blocks suit hardware."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.ir.errors import UsageError
from pathlift.ir.kronecker import chain, dense, is_chainable
from pathlift.passes.kronecker.fitting.patterns import candidates

SIZES = st.one_of(st.integers(1, 80), st.sampled_from([96, 128, 384, 768, 1000, 1024, 1536, 2520, 4096]))


@settings(deadline=None, max_examples=60)
@given(SIZES, SIZES, st.sampled_from([0.05, 0.25, 0.5, 1.0, 3.0]), st.integers(1, 40))
def test_candidates_fit(rows: int, cols: int, budget: float, most: int) -> None:
    found = candidates(rows, cols, budget, most=most)
    assert len(found) <= most
    assert len({c.patterns for c in found}) == len(found)
    assert [c.cost for c in found] == sorted(c.cost for c in found)
    for patterns, cost in found:
        assert (patterns[0].rows, patterns[-1].cols) == (rows, cols)
        assert is_chainable(chain(patterns))
        assert cost == sum(p.a * p.b * p.c * p.d for p in patterns) / (rows * cols)
        assert cost <= budget
        assert cost < 1
        sizes = [p.size for p in patterns]
        assert max(sizes) <= 4 * min(sizes)


@pytest.mark.parametrize(("rows", "cols"), [(384, 384), (1024, 4096), (3072, 768), (64, 64)])
def test_they_are_spread_over_costs_and_shapes(rows: int, cols: int) -> None:
    found = candidates(rows, cols, 0.5)
    assert 20 <= len(found) <= 32
    costs = np.array([c.cost for c in found])
    assert costs.min() < 0.08
    assert costs.max() > 0.35
    dear = costs[costs > 0.5 / 16]
    assert np.all(dear[1:] / dear[:-1] < 1.7)
    assert {len(c.patterns) for c in found} == {1, 2, 3}
    assert any(p.a == p.d == 1 for c in found for p in c.patterns)  # low rank
    assert any(p.d == 1 < p.a for c in found if len(c.patterns) == 1 for p in c.patterns)  # block-diagonal


def test_products_reach_every_element() -> None:
    for patterns, _ in candidates(48, 64, 0.6):
        if len(patterns) > 1:
            support = np.linalg.multi_dot([np.eye(48), *(dense(np.ones(p.shape)) for p in patterns)])
            assert (support > 0).all()


@pytest.mark.parametrize(("rows", "cols", "step"), [(384, 384, 16), (1024, 4096, 16), (1000, 2048, 8)])
def test_blocks_suit_hardware(rows: int, cols: int, step: int) -> None:
    dear = [c.patterns for c in candidates(rows, cols, 0.5) if c.cost > 0.1]
    assert len(dear) > 10
    assert all(n % step == 0 for patterns in dear for p in patterns for n in (p.b, p.c))


def test_known_patterns_are_among_them() -> None:
    # The attention layers of a small vision transformer, and plain low rank.
    found = {"".join(map(str, c.patterns)) for c in candidates(384, 384, 1 / 6, most=200)}
    assert {"(1,384,32,1)(1,32,384,1)", "(1,192,32,2)(2,32,192,1)", "(6,64,64,1)", "(1,64,64,6)"} <= found


def test_prime_sizes_have_low_rank_only() -> None:
    found = candidates(13, 17, 0.9)
    assert found
    assert all(p.a == p.d == 1 for c in found for p in c.patterns)
    assert candidates(13, 17, 0.05) == []


@pytest.mark.parametrize(("rows", "cols", "budget"), [(0, 4, 0.5), (4, -1, 0.5), (4, 4, 0.0), (4, 4, float("nan"))])
def test_refuses_what_is_not_positive(rows: int, cols: int, budget: float) -> None:
    with pytest.raises(UsageError) as caught:
        candidates(rows, cols, budget)
    assert caught.value.code == "PL0476"
