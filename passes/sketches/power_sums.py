"""Sums of the first four powers per channel, and the extremes: means, kurtosis, and which channels stand out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathlift.ir.types import Array

_BLOCK = 2**15
"""Numbers at a time, which a cache holds with their squares."""


@dataclass(frozen=True, eq=False)
class PowerSums:
    """Σx, Σx², Σx³, Σx⁴, and the extremes, per channel.

    Parameters
    ----------
    sums
        ``(4, channels)``, float64: in float32, fourth powers of 1e10 overflow.
    low, high
        ``(channels,)``, float64; ±∞ before the first row.
    """

    sums: Array
    low: Array
    high: Array

    @classmethod
    def zero(cls, channels: int) -> PowerSums:
        """Return sums of nothing."""
        return cls(np.zeros((4, channels)), np.full(channels, np.inf), np.full(channels, -np.inf))

    @classmethod
    def of(cls, rows: Array) -> PowerSums:
        """Return sums of rows ``(n, channels)``, float64."""
        found, step = cls.zero(rows.shape[1]), max(1, _BLOCK // max(rows.shape[1], 1))
        for start in range(0, len(rows), step):
            x = rows[start : start + step]
            ones, square = np.ones(len(x)), x * x
            found.sums[0] += ones @ x
            found.sums[1] += ones @ square
            found.sums[2] += ones @ (square * x)
            found.sums[3] += ones @ np.square(square, out=square)
        if not len(rows):
            return found
        return cls(found.sums, rows.min(0), rows.max(0))

    def __add__(self, other: PowerSums) -> PowerSums:
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return PowerSums(self.sums + other.sums, low, high)

    def kurtosis(self, count: int) -> Array:
        """Return E[(x − μ)⁴]/E[(x − μ)²]² per channel: 3 for normal numbers, 0 where a channel is constant.

        The moments about the mean are differences of sums, the fourth of terms that are (mean/deviation)⁴ as large: a
        channel whose deviation is below 1e-3 of its mean has none that float64 could tell to a few digits, and counts
        as constant.
        """
        m1, m2, m3, m4 = self.sums / max(count, 1)
        variance = m2 - m1 * m1
        fourth = m4 - 4 * m1 * m3 + 6 * m1 * m1 * m2 - 3 * m1**4
        varies = variance > 1e-6 * m2
        return np.where(varies, np.maximum(fourth, 0.0) / np.where(varies, variance, 1.0) ** 2, 0.0)
