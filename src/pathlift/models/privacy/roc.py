"""Operating characteristics of a score that is to be higher for members: AUC, rates, thresholds."""

from __future__ import annotations

from math import floor, inf, sqrt

import numpy as np

from pathlift.ir.types import Array
from pathlift.models.privacy.binomial import Interval, clopper_pearson

RATES = (0.01, 0.001)
"""False positive rates at which true positive rates are reported."""
_LEAST_FALSE = 10


def auc(members: Array, others: Array) -> float:
    """Return P(member's score > other's) + ½·P(they are equal), over all pairs (Mann and Whitney).

    Parameters
    ----------
    members, others
        Scores, ``(samples,)``, float64; infinite ones are in order, too.
    """
    low, high = _ranks(members, others)
    return int(low.sum() + high.sum()) / (2 * len(members) * len(others))


def _ranks(members: Array, others: Array) -> tuple[Array, Array]:
    """How many of the others are below each member, and how many are not above it."""
    ordered = np.sort(others)
    return np.searchsorted(ordered, members, "left"), np.searchsorted(ordered, members, "right")


def auc_deviation(members: Array, others: Array) -> float:
    """Return the standard error of the AUC, by the variances of the placements; infinite where a set is one sample.

    References
    ----------
    DeLong, DeLong, Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating characteristic
    curves", Biometrics 44, 1988.
    """
    total = 0.0
    if min(len(members), len(others)) < 2:
        return inf
    for own, rest in ((members, others), (others, members)):
        low, high = _ranks(own, rest)
        total += float(np.var((low + high) / (2 * len(rest)), ddof=1)) / len(own)
    return sqrt(total)


def curve(members: Array, others: Array) -> tuple[Array, Array]:
    """Return false and true positive rates at all thresholds, from (0, 0) to (1, 1); equal scores go together."""
    values = np.unique(np.concatenate([members, others]))[::-1]
    rates = [
        (len(scores) - np.searchsorted(np.sort(scores), values, "left")) / len(scores) for scores in (others, members)
    ]
    false, true = (np.concatenate([[0.0], rate]) for rate in rates)
    return false, true


def balanced_accuracy(members: Array, others: Array) -> float:
    """Return (TPR + 1 − FPR)/2 at the best threshold, which is found on the same samples: optimistic."""
    false, true = curve(members, others)
    return float((true - false).max() + 1) / 2


def tpr_at(rate: float, members: Array, others: Array) -> tuple[float, Interval] | None:
    """Return the true positive rate at a false positive rate of at most `rate`, and its exact 95 % interval.

    Members count that lie above the (k + 1)-th highest of the others, k = ⌊rate·n⌋: scores equal to it are not told
    apart, and count against the attack. ``None`` where rate·n < 10, of which nothing can be said. The interval is of
    the rate at that threshold.
    """
    allowed = rate * len(others)
    if allowed < _LEAST_FALSE - 1e-9:
        return None
    k = floor(allowed + 1e-9)
    threshold = -np.inf if k >= len(others) else np.sort(others)[len(others) - 1 - k]
    hits = len(members) if k >= len(others) else int(np.count_nonzero(members > threshold))
    return hits / len(members), clopper_pearson(hits, len(members))
