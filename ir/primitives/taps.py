"""Taps: what each position of an output reads along one axis of its input: windows, interpolations, whole axes.

A convolution, a pool and a resize are separable in this respect: which inputs meet in an output is decided axis by
axis. `Taps` is that decision, for one axis of known extent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathlift.ir.types import Array


@dataclass(frozen=True, eq=False)
class Taps:
    """Input positions, and their fixed coefficients, per output position.

    Parameters
    ----------
    sources
        ``(out, k)`` int64; −1 where an output reads nothing (padding).
    coefficients
        ``(out, k)`` float64; ``None`` where all are 1.
    """

    sources: Array
    coefficients: Array | None = None


def window_taps(size: int, count: int, kernel: int, stride: int, begin: int, dilation: int) -> Array:
    """Sources of `count` windows over an axis of extent `size`, the first of which starts at ``−begin``."""
    sources = np.arange(count)[:, None] * stride - begin + np.arange(kernel) * dilation
    return np.where((sources >= 0) & (sources < size), sources, -1)


def transposed_taps(size: int, count: int, kernel: int, stride: int, begin: int, dilation: int) -> Array:
    """Sources of a transposed convolution: input i and weight t meet at output ``i·stride + t·dilation − begin``."""
    position = np.arange(count)[:, None] + begin - np.arange(kernel) * dilation
    sources = position // stride
    return np.where((position % stride == 0) & (sources >= 0) & (sources < size), sources, -1)


def whole_axis(size: int, count: int = 1) -> Array:
    """Sources of `count` outputs that all read the whole axis; one row in memory."""
    return np.broadcast_to(np.arange(size), (count, size))


def merged(sources: Array, coefficients: Array) -> Array:
    """Coefficients with those of one source in one row added up in its first tap; the others become 0."""
    result = coefficients.copy()
    for j in range(1, sources.shape[1]):
        for i in range(j):
            same = sources[:, i] == sources[:, j]
            result[same, i] += result[same, j]
            result[same, j] = 0
    return result
