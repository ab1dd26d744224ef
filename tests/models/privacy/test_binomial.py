"""Intervals of shares, against SciPy, and against the equation that defines them."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc
from scipy.stats import binomtest

from pathlift.models.privacy.binomial import clopper_pearson, incomplete_beta, paired_difference


@given(st.floats(0, 1), st.floats(0.5, 3000), st.floats(0.5, 3000))
def test_incomplete_beta(x: float, a: float, b: float) -> None:
    assert incomplete_beta(x, a, b) == pytest.approx(betainc(a, b, x), rel=1e-9, abs=1e-12)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_clopper_pearson(counts: tuple[int, int]) -> None:
    hits, count = counts
    exact = binomtest(hits, count).proportion_ci(0.95, method="exact")
    assert clopper_pearson(hits, count) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_clopper_pearson_of_none_and_of_all() -> None:
    low, high = clopper_pearson(0, 100)
    assert (low, high) == (0.0, pytest.approx(1 - 0.025**0.01, abs=1e-12))
    assert clopper_pearson(100, 100) == (pytest.approx(1 - high, abs=1e-12), 1.0)


def restricted(lost: int, won: int, n: int, delta: float) -> float:
    """The score statistic, its nuisance parameter found on a grid of the likelihood instead of by a formula."""
    q = np.linspace(max(0.0, -delta), (1 - delta) / 2, 200_001)[1:-1]
    rest = 1 - 2 * q - delta
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood = won * np.log(q + delta) + lost * np.log(q) + (n - won - lost) * np.log(rest)
    best = q[np.nanargmax(likelihood)]
    return (won - lost - n * delta) / sqrt(n * (2 * best + delta - delta * delta))


@pytest.mark.parametrize("counts", [(4, 9, 100), (30, 30, 300), (1, 0, 150), (12, 2, 80)])
def test_paired_difference_solves_its_equation(counts: tuple[int, int, int]) -> None:
    low, high = paired_difference(*counts, 1.645)
    assert restricted(*counts, low) == pytest.approx(1.645, abs=2e-3)
    assert restricted(*counts, high) == pytest.approx(-1.645, abs=2e-3)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(2 * n))))
def test_paired_difference_is_antisymmetric(counts: tuple[int, int, int]) -> None:
    lost, won, n = counts
    low, high = paired_difference(lost, won, n, 1.645)
    assert (-high, -low) == pytest.approx(paired_difference(won, lost, n, 1.645), abs=1e-9)
    assert -1 <= low <= (won - lost) / n <= high <= 1


def test_no_difference_seen_is_not_none() -> None:
    """Closed form: ±z²/(n + z²)."""
    expected = 1.645**2 / (100 + 1.645**2)
    assert paired_difference(0, 0, 100, 1.645) == pytest.approx((-expected, expected), abs=1e-9)


def test_paired_difference_covers() -> None:
    """Nine in ten of intervals at 90 % hold the true difference, here −.03."""
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(200, [0.08, 0.05, 0.87], 2000)
    held = [low <= -0.03 <= high for low, high in (paired_difference(*row[:2], 200, 1.645) for row in drawn.tolist())]
    assert 0.88 <= np.mean(held) <= 0.93
