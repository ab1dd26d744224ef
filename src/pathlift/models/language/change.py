"""Changes between files, with intervals by bootstrap over strings: the tokens of one string go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pathlift.ir.types import Array

Verdict = Literal["support", "frequency", "both", "none"]
Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Strings drawn with replacement, the same ones for every file.

    Parameters
    ----------
    rows
        ``(places,)``: the string of each place.
    draws
        How often.
    seed
        Of the draws.
    """

    rows: Array
    draws: int
    seed: int

    def means(self, values: Array) -> Array:
        """Return the mean over places of each draw, ``(draws,)``."""
        _, string = np.unique(self.rows, return_inverse=True)
        count = int(string.max()) + 1
        sums, places = np.bincount(string, values, count), np.bincount(string, minlength=count)
        rng = np.random.default_rng(self.seed)
        found = np.empty(self.draws)
        for i in range(self.draws):
            times = np.bincount(rng.integers(0, count, count), minlength=count)
            found[i] = (times @ sums) / (times @ places)
        return found

    def interval(self, values: Array) -> Interval | None:
        """Return the 95 % interval of the mean over places; None where it is infinite, and of a single string."""
        if not np.isfinite(values).all() or len(np.unique(self.rows)) < 2:
            return None
        low, high = np.quantile(self.means(values), [0.025, 0.975])
        return float(low), float(high)


def mean(values: Array) -> float | None:
    """Return a mean; None where a value is infinite."""
    return float(values.mean()) if np.isfinite(values).all() else None


def difference(after: Array, before: Array) -> Array:
    """Return how much more each place costs; infinite if it is that only after, or only before with a minus."""
    both = np.isinf(after) & np.isinf(before)
    return np.asarray(np.where(both, 0.0, after) - np.where(both, 0.0, before))


def beyond(interval: Interval | None, value: float | None, limit: float, infinite: int) -> bool | None:
    """Whether a figure is above a limit for sure; None where its interval covers that, or is not known.

    What is infinite, `value` None, is above, unless no place is: that is a change from what was infinite.
    """
    if value is None:
        return infinite > 0
    if interval is None:
        return None
    if interval[0] > limit:
        return True
    return None if interval[1] > limit else False


def verdict(support: bool, frequency: bool) -> Verdict:
    """Say which parts were damaged."""
    if support and frequency:
        return "both"
    return "support" if support else "frequency" if frequency else "none"


def share(support: float | None, frequency: float | None) -> float | None:
    """Return the support's part in a change for the worse; None where one of both is no such change."""
    if support is None or frequency is None or support < 0 or frequency < 0 or not support + frequency > 0:
        return None
    return support / (support + frequency)
