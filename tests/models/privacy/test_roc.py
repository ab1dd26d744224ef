"""Operating characteristics: against scikit-learn, brute force and closed forms."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from pathlift.ir.types import Array
from pathlift.models.privacy import roc

SCORES = st.lists(st.integers(-4, 4) | st.floats(-3, 3), min_size=1, max_size=40).map(lambda x: np.array(x, float))


@given(SCORES, SCORES)
def test_auc_is_that_of_scikit_learn(members: Array, others: Array) -> None:
    labels = np.repeat([1, 0], [len(members), len(others)])
    assert roc.auc(members, others) == pytest.approx(
        roc_auc_score(labels, np.concatenate([members, others])), abs=1e-12
    )


def test_auc_of_infinite_scores() -> None:
    inf = np.inf
    assert roc.auc(np.array([inf, 0.0]), np.array([-inf, 0.0])) == (1 + 1 + 1 + 0.5) / 4


@given(SCORES, SCORES)
def test_curve_is_that_of_scikit_learn(members: Array, others: Array) -> None:
    labels, scores = np.repeat([1, 0], [len(members), len(others)]), np.concatenate([members, others])
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    found = roc.curve(members, others)
    assert found[0] == pytest.approx(false)
    assert found[1] == pytest.approx(true)
    assert roc.balanced_accuracy(members, others) == pytest.approx(((true + 1 - false) / 2).max())


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=60).map(np.array),
    st.lists(st.integers(0, 60), min_size=40, max_size=120).map(np.array),
    st.floats(0, 0.2),
)
def test_tpr_by_brute_force(members: Array, others: Array, extra: float) -> None:
    """Over all thresholds whose false positive rate is allowed: ties go together, and count against the attack."""
    rate = 10 / len(others) + extra
    thresholds = [*np.unique(np.concatenate([members, others])), np.inf]
    allowed = [t for t in thresholds if (others >= t).mean() <= rate + 1e-12]
    found = roc.tpr_at(rate, members, others)
    assert found is not None
    assert found[0] == max((members >= t).mean() for t in allowed)
    assert found[1][0] <= found[0] <= found[1][1]


@pytest.mark.parametrize("count", [1000, 2900, 999])
def test_tpr_needs_ten_false_positives(count: int) -> None:
    scores = np.arange(count, dtype=float)
    found = roc.tpr_at(0.01, scores, scores)
    assert (found is None) is (count < 1000)
    assert found is None or found[0] == pytest.approx(count // 100 / count)
    assert roc.tpr_at(0.001, scores, scores) is None


def test_a_tie_is_no_find() -> None:
    """All have the same score: nothing is told apart at any rate below 1."""
    same = np.zeros(2000)
    found = roc.tpr_at(0.01, same, same)
    assert found is not None
    assert found[0] == 0
    assert (roc.auc(same, same), roc.balanced_accuracy(same, same)) == (0.5, 0.5)


@pytest.mark.parametrize("shift", [0.5, 1.0])
def test_closed_forms_of_normal_scores(shift: float) -> None:
    """N(μ, 1) against N(0, 1): AUC Φ(μ/√2), TPR Φ(μ − z) at the rate 1 − Φ(z)."""
    rng, count = np.random.default_rng(0), 20_000
    members, others = rng.normal(shift, 1, count), rng.normal(0, 1, count)
    assert abs(roc.auc(members, others) - norm.cdf(shift / sqrt(2))) < 3 * roc.auc_deviation(members, others)
    for rate in roc.RATES:
        z, found = norm.isf(rate), roc.tpr_at(rate, members, others)
        expected = norm.sf(z - shift)
        slope = norm.pdf(z - shift) / norm.pdf(z)  # the threshold is found on others
        deviation = sqrt(expected * (1 - expected) / count + slope**2 * rate * (1 - rate) / count)
        assert found is not None
        assert abs(found[0] - expected) < 3 * deviation


def test_deviation_is_that_of_many_samples() -> None:
    rng = np.random.default_rng(0)
    drawn = [(rng.normal(1, 1, 150), rng.normal(0, 1, 250)) for _ in range(400)]
    claimed = np.mean([roc.auc_deviation(*pair) for pair in drawn])
    assert claimed == pytest.approx(np.std([roc.auc(*pair) for pair in drawn]), rel=0.12)
