"""Counts of numbers by the leading bits of their float32 form: quantiles within 0.8 %, and sums that are exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathlift.ir.types import Array

SHIFT = 17
"""Bits of a float32 that are left out: 8 of the exponent and 6 of the mantissa stay, and the sign."""
BINS = 1 << (32 - SHIFT)
_SIGN = BINS // 2


@dataclass(frozen=True, eq=False)
class BitCounts:
    """How many numbers have which leading bits.

    Bins are 1/64 of their octave wide, so that the middle of one is off by 0.8 % at most; they need no range that is
    known beforehand, and no logarithm. Signs are apart. Zero has its own bin, with numbers below 1.9e-40.

    Parameters
    ----------
    counts
        ``(BINS,)``, int64: those of positive numbers, upwards from 0, then of negative ones, downwards.
    low, high
        The extremes; ±∞ before the first number.
    """

    counts: Array
    low: float = np.inf
    high: float = -np.inf

    @classmethod
    def zero(cls) -> BitCounts:
        """Return counts of nothing."""
        return cls(np.zeros(BINS, np.int64))

    @classmethod
    def of(cls, values: Array) -> BitCounts:
        """Return counts of finite numbers, float32, of any shape."""
        x = np.ascontiguousarray(values, np.float32).reshape(-1)
        if not x.size:
            return cls.zero()
        counts = np.bincount(x.view(np.uint32) >> SHIFT, minlength=BINS)
        counts[0] += counts[_SIGN]  # −0 is 0
        counts[_SIGN] = 0
        return cls(counts, float(x.min()) + 0.0, float(x.max()) + 0.0)  # −0 + 0 is 0

    def __add__(self, other: BitCounts) -> BitCounts:
        return BitCounts(self.counts + other.counts, min(self.low, other.low), max(self.high, other.high))

    @property
    def total(self) -> int:
        """How many numbers were counted."""
        return int(self.counts.sum())

    @property
    def magnitudes(self) -> Array:
        """Counts by |x|, ``(BINS / 2,)``."""
        both: Array = self.counts[:_SIGN] + self.counts[_SIGN:]
        return both

    @property
    def largest(self) -> float:
        """The largest |x|; 0 of nothing."""
        return max(-self.low, self.high, 0.0) if self.total else 0.0

    def quantile(self, q: float) -> float:
        """Return the least |x| that a share q of all does not pass, within 0.8 %; 0 of nothing."""
        cumulative = np.cumsum(self.magnitudes)
        if not cumulative[-1]:
            return 0.0
        at = int(np.searchsorted(cumulative, max(int(np.ceil(q * float(cumulative[-1]))), 1)))
        return min(float(middles()[at]), self.largest)


def edges() -> Array:
    """Return where the bins of |x| start, and where the last one ends, ``(BINS / 2 + 1,)``, float64."""
    bits = np.arange(_FINITE, dtype=np.uint32) << np.uint32(SHIFT)
    infinite = np.full(_SIGN + 1 - _FINITE, np.inf)
    return np.concatenate([bits.view(np.float32).astype(np.float64), infinite])


_FINITE = 255 << (23 - SHIFT)
"""Bins of finite |x|: the exponent of all ones is for ∞ and NaN."""


def middles() -> Array:
    """Return the middles of the bins of |x|, ``(BINS / 2,)``, float64; that of zero is 0."""
    found = edges()
    found[_FINITE] = 2.0**128
    with np.errstate(invalid="ignore"):
        middle: Array = (found[:-1] + found[1:]) / 2
    middle[0] = 0.0
    return middle
