"""The paired bootstrap: draws are AUCs of samples drawn again, and intervals cover."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from pathlift.models.privacy.bootstrap import _weights, auc_draws, interval
from pathlift.models.privacy.roc import auc, auc_deviation


@given(st.integers(0, 10**6), st.booleans())
def test_a_draw_is_the_auc_of_the_samples_drawn(seed: int, ties: bool) -> None:
    """Samples repeated as often as they are drawn, with the generator's own weights."""
    rng = np.random.default_rng(seed)
    members, others = rng.normal(1, 1, 13), rng.normal(0, 1, 9)
    if ties:
        members, others = members.round(), others.round()
    drawn = auc_draws([(members, others), (-members, others)], 5, seed)
    again = np.random.default_rng(seed)
    mine, theirs = (_weights(again, count, 5).astype(int) for count in (13, 9))
    for b in range(5):
        copies = np.repeat(members, mine[:, b]), np.repeat(others, theirs[:, b])
        assert drawn[0, b] == pytest.approx(auc(*copies), abs=1e-12)
        assert drawn[1, b] == pytest.approx(auc(-copies[0], copies[1]), abs=1e-12)


def test_weights_draw_each_set_as_often_as_it_is_large() -> None:
    weights = _weights(np.random.default_rng(0), 50, 2000)
    assert (weights.sum(0) == 50).all()
    assert weights.mean(1) == pytest.approx(np.ones(50), abs=0.12)
    assert weights.var() == pytest.approx(1 - 1 / 50, rel=0.05)


def test_draws_are_paired() -> None:
    """Two files that say the same differ in no draw, and nearly the same by nearly nothing."""
    rng = np.random.default_rng(0)
    members, others = rng.normal(1, 1, 300), rng.normal(0, 1, 300)
    near = members + rng.normal(0, 0.05, 300)
    same, again, close = auc_draws([(members, others), (members, others), (near, others)], 300, 0)
    assert (same == again).all()
    assert np.std(close - same) < np.std(same) / 10
    assert np.std(same) == pytest.approx(auc_deviation(members, others), rel=0.15)


def test_progress_and_seed() -> None:
    rng, said = np.random.default_rng(0), list[tuple[int, int]]()
    pair = (rng.normal(1, 1, 30), rng.normal(0, 1, 30))
    first = auc_draws([pair], 150, 0, lambda done, count: said.append((done, count)))
    assert said == [(64, 150), (128, 150), (150, 150)]
    assert (first == auc_draws([pair], 150, 0)).all()
    assert (first != auc_draws([pair], 150, 1)).any()


def test_intervals_cover() -> None:
    """At 300 + 300 about 95 of 100 intervals hold the AUC."""
    rng, true = np.random.default_rng(1), norm.cdf(1 / sqrt(2))
    held = 0
    for i in range(150):
        pair = (rng.normal(1, 1, 300), rng.normal(0, 1, 300))
        low, high = interval(auc_draws([pair], 300, i)[0])
        held += low <= true <= high
    assert 0.90 <= held / 150 <= 0.99


def test_interval_is_of_the_middle() -> None:
    draws = np.arange(1001) / 1000
    assert interval(draws) == pytest.approx((0.025, 0.975))
    assert interval(draws, 0.9) == pytest.approx((0.05, 0.95))
