"""Bootstrap over strings, changes, limits."""

from __future__ import annotations

import numpy as np
import pytest

from pathlift.models.language.change import Bootstrap, beyond, difference, mean, share, verdict


def test_means_are_of_strings_that_are_drawn_again() -> None:
    """Strings whose tokens are alike: the spread is that of a mean over strings, not over tokens."""
    rng = np.random.default_rng(0)
    levels = rng.normal(size=100)
    rows = np.repeat(np.arange(100) * 3, 8)
    low, high = Bootstrap(rows, 1000, 0).interval(np.repeat(levels, 8)) or (0, 0)
    assert high - low == pytest.approx(2 * 1.96 * levels.std() / 10, rel=0.1)
    assert low < levels.mean() < high


def test_the_mean_is_over_places() -> None:
    rows, values = np.array([0, 1, 1, 1]), np.array([1.0, 0.0, 0.0, 0.0])
    assert set(np.round(Bootstrap(rows, 200, 0).means(values), 9)) == {0.0, 0.25, 1.0}


def test_draws_are_the_same_for_all_files() -> None:
    rng = np.random.default_rng(0)
    rows, a, b = np.repeat(np.arange(20), 3), rng.normal(size=60), rng.normal(size=60)
    draws = Bootstrap(rows, 50, 3)
    assert np.allclose(draws.means(a) - draws.means(b), draws.means(a - b))


def test_infinite_values() -> None:
    assert mean(np.array([1.0, np.inf])) is None
    assert Bootstrap(np.array([0, 1]), 10, 0).interval(np.array([1.0, np.inf])) is None
    found = difference(np.array([np.inf, np.inf, 3.0, 1.0]), np.array([np.inf, 1.0, 1.0, np.inf]))
    assert list(found) == [0, np.inf, 2, -np.inf]


@pytest.mark.parametrize(
    ("interval", "value", "infinite", "expected"),
    [
        ((0.02, 0.03), 0.025, 0, True),
        ((0.005, 0.03), 0.02, 0, None),
        ((0.0, 0.009), 0.005, 0, False),
        (None, None, 1, True),
        (None, None, 0, False),
        (None, 0.5, 0, None),
    ],
)
def test_limits(
    interval: tuple[float, float] | None, value: float | None, infinite: int, expected: bool | None
) -> None:
    assert beyond(interval, value, 0.01, infinite) is expected


def test_a_single_string_has_no_interval() -> None:
    assert Bootstrap(np.array([3, 3]), 10, 0).interval(np.array([1.0, 2.0])) is None


def test_verdicts_and_shares() -> None:
    assert [verdict(a, b) for a in (True, False) for b in (True, False)] == ["both", "support", "frequency", "none"]
    assert share(0.03, 0.01) == pytest.approx(0.75)
    assert share(-0.1, 0.2) is share(None, 0.2) is share(0.0, 0.0) is None
