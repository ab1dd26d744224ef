"""Acquisition functions against numeric integrals, and where they are found to be largest."""

from __future__ import annotations

from itertools import product
from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathlift.search import Choice, Exchangeable, Integer, Real, Space
from pathlift.search.acquisition import (
    confidence_bound,
    expected_improvement,
    exploration,
    maximize,
    probability_below,
)

NONE = np.zeros((0, 2))


@given(st.floats(-3, 3), st.floats(0.05, 3), st.floats(-3, 3))
def test_expected_improvement_is_an_integral(mean: float, deviation: float, best: float) -> None:
    f = np.linspace(mean - 12 * deviation, mean + 12 * deviation, 20_001)
    density = np.exp(-(((f - mean) / deviation) ** 2) / 2) / (deviation * np.sqrt(2 * np.pi))
    expected = np.trapezoid(np.maximum(best - f, 0) * density, f)
    below = np.trapezoid(density, f) - np.trapezoid(density[f > best], f[f > best])
    m, s = np.array([mean]), np.array([deviation])
    assert expected_improvement(m, s, best)[0] == pytest.approx(expected, abs=1e-6)
    assert probability_below(m, s, best)[0] == pytest.approx(below, abs=2e-3)


def test_what_is_certain() -> None:
    mean, certain = np.array([1.0, 2.0, 3.0]), np.zeros(3)
    assert expected_improvement(mean, certain, 2.5).tolist() == [1.5, 0.5, 0]
    assert probability_below(mean, certain, 2.0).tolist() == [1, 1, 0]


def test_small_improvements_are_told_apart() -> None:
    found = expected_improvement(np.array([10.0, 20.0, 30.0]), np.ones(3), 0.0)
    assert found[0] > found[1] > found[2] > 0
    assert found[1] == pytest.approx(np.exp(-200) / np.sqrt(2 * np.pi) / 400, rel=0.02)


def test_confidence_bounds() -> None:
    assert confidence_bound(np.array([1.0]), np.array([2.0]), 9.0).tolist() == [5]
    assert exploration(4, 10) == pytest.approx(2 * log(20))
    assert exploration(4, 0) == exploration(4, 1)


def test_small_spaces_are_looked_at_whole() -> None:
    space = Space((Integer(0, 9), Integer(0, 9)), (Exchangeable((0, 1)),))
    looked: list[np.ndarray] = []

    def score(x: np.ndarray) -> np.ndarray:
        looked.append(x)
        return -((x[:, 0] - 3) ** 2) - (x[:, 1] - 7) ** 2

    rng = np.random.default_rng(0)
    assert maximize(score, space, seen=NONE, near=NONE, rng=rng).tolist() == [3, 7]
    assert {tuple(p) for p in looked[0].tolist()} == {(i, j) for i, j in product(range(10), repeat=2) if i <= j}
    assert maximize(score, space, seen=np.array([[3.0, 7.0]]), near=NONE, rng=rng).tolist() in ([2, 7], [3, 6])
    assert maximize(score, space, seen=space.representatives, near=NONE, rng=rng).tolist() == [3, 7]


def test_large_spaces_are_climbed() -> None:
    space = Space((Real(-5, 5),) * 4 + (Choice("abcdef"), Integer(0, 1000)))
    top = np.array([1.0, -2.0, 3.0, 4.9, 4.0, 700.0])

    def score(x: np.ndarray) -> np.ndarray:
        apart = x - top
        return -np.sum(apart[:, :4] ** 2, axis=1) - (apart[:, 4] != 0) - (apart[:, 5] / 100) ** 2

    none = np.zeros((0, 6))
    found = maximize(score, space, seen=none, near=none, rng=np.random.default_rng(0))
    assert found[4] == 4
    assert sqrt(-score(found[None])[0]) < 0.3
    near = maximize(score, space, seen=none, near=top[None], rng=np.random.default_rng(0))
    assert near.tolist() == top.tolist()
    other = maximize(score, space, seen=top[None], near=top[None], rng=np.random.default_rng(0))
    assert other.tolist() != top.tolist()
