"""The verdict about two files: which of them tells more about its training data, if that can be said."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np

from pathlift.ir.types import Array
from pathlift.models.privacy.binomial import Interval, paired_difference
from pathlift.models.privacy.scores import Scores
from pathlift.report.audited import Difference, VerdictName

LEAST = 100
"""Distinct samples a set has at least: below, intervals are not to be trusted."""
_Z90, _Z_CHANCE = 1.6448536269514722, 2.5758293035489004
_TIED, _LUMP = 0.2, 0.01


@dataclass(frozen=True)
class Margins:
    """What counts as a difference, and how much less accurate a file may be; both are shares of 1."""

    auc: float = 0.02
    accuracy: float = 0.02


def accuracy_difference(before: Array, after: Array) -> tuple[float, Interval]:
    """Return the mean of after − before and its 90 % interval, from shares of files that are right, ``(samples,)``.

    Of groups of files these are no longer zeros and ones; gains and losses then vary less than the interval allows for.
    """
    change = after - before
    won, lost = float(np.maximum(change, 0).sum()), float(np.maximum(-change, 0).sum())
    return float(change.mean()), paired_difference(lost, won, len(change), _Z90)


def needed_nonmembers(before: Array, after: Array, margin: float) -> int:
    """Return how many non-members tell accuracies apart to within a margin: (1.645/margin)²·E[(after − before)²]."""
    return max(LEAST, ceil((_Z90 / margin) ** 2 * float(np.square(after - before).mean())))


def decide(found: Difference, margins: Margins) -> tuple[VerdictName, str]:
    """Return the verdict and its reason.

    ``less`` needs an AUC that is lower by more than the margin, at both ends of its interval, and an accuracy that is
    not inferior: one-sided, so that a file that is more accurate and tells less is evidence. ``more`` is the mirror.
    """
    low, high = found.interval
    worst, best = found.accuracy_interval
    seen = f"the interval of the AUC's difference, {signed(low)} to {signed(high)},"
    accuracy = f"test accuracy differs by {signed(worst)} to {signed(best)}"
    if high < -margins.auc:
        if worst > -margins.accuracy:
            return (
                "less",
                f"these attacks find less in the file after: {seen} is below −{margins.auc:g}, and {accuracy}",
            )
        reason = f"a lower AUC may come from a lower accuracy: {accuracy}, not surely above −{margins.accuracy:g}"
        return "not_comparable", reason
    if low > margins.auc:
        if best < margins.accuracy:
            return "more", f"these attacks find more in the file after: {seen} is above {margins.auc:g}, and {accuracy}"
        reason = f"a higher AUC may come from a higher accuracy: {accuracy}, not surely below {margins.accuracy:g}"
        return "not_comparable", reason
    return (
        "no_difference",
        f"{seen} does not clear ±{margins.auc:g}: none is shown, which is no proof that there is none",
    )


def signed(value: float) -> str:
    """Return a difference in words of a sentence."""
    return f"{value:+.3f}".replace("-", "−")


def reversed_sets(value: float, interval: Interval, margin: float) -> str:
    """Say that members look like non-members, if they do; else nothing."""
    if value < 0.5 - margin and interval[1] < 0.5:
        return f"non-members look more like members, AUC {value:.3f}: sets are swapped, or of two distributions"
    return ""


def doubt(members: Scores, others: Scores, labels: tuple[Array, Array]) -> str:
    """Say why an AUC of this file being low is no evidence of privacy, if there is a reason; else nothing."""
    for scores, classes, name in ((members, labels[0], "members"), (others, labels[1], "non-members")):
        if not _beats_chance(scores, classes):
            return f"answers on {name} do not depend on their labels: the labels, or the file, are not what they seem"
    if (share := _lumped(np.concatenate([members.logit, others.logit]))) > _TIED:
        return f"{share:.0%} of the samples have scores in common with many: the output is too coarse for these attacks"
    return ""


def _beats_chance(scores: Scores, labels: Array) -> bool:
    """Whether Cohen's κ is above 0, one-sided at 99.5 %; labels of one class say nothing."""
    count, size = len(labels), int(max(labels.max(), scores.predicted.max())) + 1
    shares = [np.bincount(x, minlength=size) / count for x in (labels, scores.predicted)]
    if shares[0].max() == 1:
        return True
    chance = float(shares[0] @ shares[1])
    return float(scores.right.mean()) - chance > _Z_CHANCE * sqrt(chance * (1 - chance) / count)


def _lumped(scores: Array) -> float:
    """The share of samples whose score is that of more than 1 % of the samples."""
    _, counts = np.unique(scores, return_counts=True)
    return float(counts[counts > max(1, _LUMP * len(scores))].sum() / len(scores))
