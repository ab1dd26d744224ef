"""The verdict: its rule at the edges, and how often it is wrong about files that differ in the seed alone."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pathlift.models.privacy.bootstrap import auc_draws, interval
from pathlift.models.privacy.scores import Scores
from pathlift.models.privacy.verdict import (
    Margins,
    accuracy_difference,
    decide,
    doubt,
    needed_nonmembers,
    reversed_sets,
)
from pathlift.report.audited import Difference

SEEDS = Path(__file__).with_name("seeds.npz")
"""Logits of labels of eight networks: `python -m benchmarks.privacy_trend --scores FILE`."""


@pytest.mark.parametrize(
    "auc,accuracy,verdict",
    [
        ((-0.05, -0.021), (-0.019, 0.0), "less"),
        ((-0.05, -0.021), (0.03, 0.05), "less"),  # more accurate, and tells less: evidence
        ((-0.05, -0.021), (-0.021, 0.05), "not_comparable"),
        ((-0.05, -0.019), (-0.01, 0.01), "no_difference"),
        ((-0.05, -0.019), (-0.5, -0.4), "no_difference"),
        ((0.021, 0.05), (-0.01, 0.019), "more"),
        ((0.021, 0.05), (-0.05, -0.03), "more"),
        ((0.021, 0.05), (-0.05, 0.021), "not_comparable"),
        ((0.019, 0.05), (-0.01, 0.01), "no_difference"),
        ((-0.3, 0.3), (-0.01, 0.01), "no_difference"),
    ],
)
def test_rule(auc: tuple[float, float], accuracy: tuple[float, float], verdict: str) -> None:
    found, reason = decide(Difference(sum(auc) / 2, auc, sum(accuracy) / 2, accuracy), Margins())
    assert found == verdict
    assert reason


def test_margins_are_options() -> None:
    found = Difference(-0.03, (-0.05, -0.021), -0.02, (-0.03, -0.01))
    assert decide(found, Margins())[0] == "not_comparable"
    assert decide(found, Margins(accuracy=0.04))[0] == "less"
    assert decide(found, Margins(accuracy=0.04, auc=0.03))[0] == "no_difference"


def test_seeds_of_training_are_rarely_told_apart() -> None:
    """Of 28 pairs at most one: those that a bootstrap over samples tells apart for being two files are not evidence."""
    with np.load(SEEDS) as file:
        scores, count = file["scores"].astype(float), int(file["members"])
    draws = auc_draws([(row[:count], row[count:]) for row in scores], 200, 0)
    alike, told = (-0.01, 0.01), dict[float, int]()
    for margin in (0.0, 0.02):
        verdicts = [
            decide(Difference(0.0, interval(draws[b] - draws[a]), 0.0, alike), Margins(auc=margin))[0]
            for a, b in combinations(range(len(scores)), 2)
        ]
        assert len(verdicts) == 28
        told[margin] = sum(verdict != "no_difference" for verdict in verdicts)
    assert told[0.02] <= 1
    assert told[0.0] > 1, "without a margin they are"


def test_needed_non_members() -> None:
    """(1.645/margin)²·(share of samples on which files differ)."""
    before, after = np.zeros(200), np.repeat([1.0, 0.0], [20, 180])
    assert needed_nonmembers(before, after, 0.02) == np.ceil((1.6448536 / 0.02) ** 2 * 0.1)
    assert needed_nonmembers(after, after, 0.02) == 100


def test_accuracies_of_groups() -> None:
    """Means of two files: half a sample is won by one of them."""
    before, after = np.array([0.5, 0.5, 1.0, 0.0] * 50), np.array([1.0, 0.5, 1.0, 0.0] * 50)
    found, (low, high) = accuracy_difference(before, after)
    assert found == 0.125
    assert 0 < low < found < high
    back, (worst, best) = accuracy_difference(after, before)
    assert (back, worst, best) == (-found, pytest.approx(-high), pytest.approx(-low))


def test_reversed_sets() -> None:
    assert reversed_sets(0.4, (0.35, 0.45), 0.02)
    assert not reversed_sets(0.49, (0.485, 0.495), 0.02), "a margin for chance"
    assert not reversed_sets(0.4, (0.29, 0.51), 0.02)
    assert not reversed_sets(0.6, (0.55, 0.65), 0.02)


def scores(logits: np.ndarray, labels: np.ndarray) -> Scores:
    return Scores.of(logits, labels, probabilities=False)


def test_doubts() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=400)
    logits = rng.normal(0, 1, (400, 3)) + 2 * np.eye(3)[labels]
    own = scores(logits, labels)
    assert doubt(own, own, (labels, labels)) == ""
    shuffled = rng.permutation(labels)
    assert "non-members" in doubt(own, scores(logits, shuffled), (labels, shuffled))
    assert "on members" in doubt(scores(logits, shuffled), own, (shuffled, labels))
    coarse = scores(logits.round(0), labels)
    assert "coarse" in doubt(coarse, coarse, (labels, labels))
    same = np.zeros(400, int)
    assert doubt(scores(logits, same), scores(logits, same), (same, same)) == "", "labels of one class say nothing"
