"""Scores of samples, and attacks on them, against what defines them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from pathlift.models.privacy import attacks
from pathlift.models.privacy.scores import Scores, Traits, log_sum


def rows(seed: int, scale: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, scale, (20, 4)), rng.integers(4, size=20)


@given(st.integers(0, 10**6), st.floats(0.1, 10))
def test_scores_of_logits(seed: int, scale: float) -> None:
    logits, labels = rows(seed, scale)
    found, p = Scores.of(logits, labels, probabilities=False), softmax(logits, 1)
    own, others = p[range(20), labels], np.where(np.eye(4, dtype=bool)[labels], 0, p)
    assert found.log_p == pytest.approx(log_softmax(logits, 1)[range(20), labels])
    assert found.logit == pytest.approx(np.log(own) - np.log(others.sum(1)))
    assert found.margin == pytest.approx(np.log(own) - np.log(others.max(1)))
    assert (found.right == (logits.argmax(1) == labels)).all()
    assert (found.predicted == logits.argmax(1)).all()


@given(st.integers(0, 10**6))
def test_softmax_in_the_file_changes_nothing(seed: int) -> None:
    logits, labels = rows(seed)
    inside, outside = (Scores.of(x, labels, probabilities=p) for x, p in ((softmax(logits, 1), True), (logits, False)))
    for name in ("logit", "log_p", "margin"):
        assert getattr(inside, name) == pytest.approx(getattr(outside, name), abs=1e-9)


def test_confident_scores_keep_their_order() -> None:
    """p_y rounds to 1, and 1 − p_y to 0: samples would be told apart no more."""
    p = np.array([[1.0, 1e-30, 1e-20], [1.0, 1e-25, 1e-25]])
    found = Scores.of(p, np.array([0, 0]), probabilities=True)
    assert found.logit == pytest.approx([-np.log(1e-20), -np.log(2e-25)])
    logits = np.array([[800.0, 0.0, -5.0], [900.0, 0.0, 0.0]])
    assert Scores.of(logits, np.array([0, 0]), probabilities=False).logit == pytest.approx(
        [800 - np.log1p(np.exp(-5)), 900 - np.log(2)]
    )


def test_a_class_without_probability() -> None:
    p = np.array([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    found = Scores.of(p, np.array([0, 1]), probabilities=True)
    assert found.logit[0] == found.log_p[0] == -np.inf
    assert (found.logit[1], found.right.tolist()) == (0.0, [False, False])


def traits(*batches: np.ndarray) -> tuple[bool, bool, bool, bool]:
    found = Traits()
    for rows in batches:
        found.see(rows)
    return found.sums, found.bounded, found.hard, found.constant


def test_what_outputs_are() -> None:
    logits, labels = rows(0)
    p, onehot = softmax(logits, 1), np.eye(4)[labels]
    assert traits(p) == traits(p.astype(np.float16).astype(float)) == (True, True, False, False)
    centred = logits - logits.mean(1, keepdims=True) + 0.25  # a sum of 1, and negative numbers
    assert traits(logits) == traits(centred) == (False, False, False, False)
    assert traits(p * 0.9) == (False, True, False, False)
    assert traits(onehot) == (True, True, True, False)
    assert traits(np.ones((3, 4))) == (False, True, False, True)
    assert traits(logits[:1]) == (False, False, False, True)


def test_one_batch_of_another_kind_decides() -> None:
    logits, labels = rows(0)
    p, onehot = softmax(logits, 1), np.eye(4)[labels]
    assert traits(onehot, p) == (True, True, False, False)
    assert traits(p, logits) == traits(logits, p) == (False, False, False, False)
    assert traits(p[:1], p[1:2])[3] is False


def test_log_sum() -> None:
    assert log_sum(np.array([[-np.inf, -np.inf], [0.0, 0.0], [1000.0, -np.inf]])).tolist() == [
        -np.inf, pytest.approx(np.log(2)), 1000.0
    ]  # fmt: skip


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_rmia_by_brute_force(seed: int, count: int) -> None:
    """Every x with every z, with probabilities as they are."""
    rng = np.random.default_rng(seed)
    x, z = rng.uniform(0.01, 1, 15), rng.uniform(0.01, 1, 11)
    x_ref, z_ref = rng.uniform(0.01, 1, (count, 15)), rng.uniform(0.01, 1, (count, 11))
    ratio_x, ratio_z = (p / ((1.3 * ref.mean(0) + 0.7) / 2) for p, ref in ((x, x_ref), (z, z_ref)))
    expected = (ratio_x[:, None] / ratio_z[None, :] >= 1).mean(1)
    own, population = (
        attacks.relative(np.log(p), attacks.mean_log(list(np.log(ref)))) for p, ref in ((x, x_ref), (z, z_ref))
    )
    assert attacks.rmia(own, population) == pytest.approx(expected)
    assert attacks.ratio(np.log(x), attacks.mean_log(list(np.log(x_ref)))) == pytest.approx(
        np.log(x) - np.log(x_ref.mean(0))
    )


def test_an_equal_sample_counts() -> None:
    assert attacks.rmia(np.array([1.0, 0.0]), np.array([1.0, 2.0])).tolist() == [0.5, 0.0]


def test_what_nobody_believes_has_no_ratio() -> None:
    nothing = np.array([-np.inf, 0.0, -np.inf])
    assert attacks.ratio(nothing, np.array([-np.inf, -np.inf, 0.0])).tolist() == [0.0, np.inf, -np.inf]
