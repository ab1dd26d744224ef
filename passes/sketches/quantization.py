"""Ranges for quantizers, read off counts: percentiles, and the clipping that loses least information."""

from __future__ import annotations

import numpy as np

from pathlift.ir.types import Array
from pathlift.passes.sketches.bit_counts import BitCounts, edges

BINS, LEVELS, _STEP = 2048, 128, 8


def entropy_range(counts: BitCounts) -> float:
    """Return the |x| at which to clip so that 8 bits lose least, in the sense of Kullback and Leibler.

    The histogram of |x| with 2,048 equal bins is cut after each of a number of them, the rest added to the last one,
    and compared with what 128 levels make of it (Migacz, "8-bit inference with TensorRT", GTC 2017). Equal bins are
    filled from counts by leading bits as if numbers were spread evenly within those.

    Parameters
    ----------
    counts
        Of a tensor's numbers.

    Returns
    -------
    float
        0 of nothing, and of zeros.
    """
    largest = counts.largest
    if not largest:
        return 0.0
    histogram = linear_histogram(counts, BINS)
    divergences = {cut: _divergence(histogram, cut) for cut in range(LEVELS, BINS + 1, _STEP)}
    return largest * min(divergences, key=divergences.__getitem__) / BINS


def linear_histogram(counts: BitCounts, bins: int) -> Array:
    """Return how many |x| lie in equal bins from 0 to the largest; float64, for a bin of the counts is shared out."""
    magnitudes, ends = counts.magnitudes.astype(np.float64), edges()
    cumulative = np.concatenate([[0.0], np.cumsum(magnitudes)])
    used = int(np.flatnonzero(magnitudes)[-1]) + 1
    ends = np.minimum(ends[: used + 1], counts.largest)
    ends[-1] = counts.largest
    inner = np.interp(np.linspace(0.0, counts.largest, bins + 1), ends, cumulative[: used + 1])
    return np.diff(inner)


def _divergence(histogram: Array, cut: int) -> float:
    """KL divergence of a histogram that is clipped from the same on 128 levels."""
    kept = histogram[:cut]
    p = kept.copy()
    p[-1] += histogram[cut:].sum()
    level = np.arange(cut) * LEVELS // cut
    filled = kept > 0
    sums = np.bincount(level, kept, LEVELS)
    numbers = np.bincount(level, filled.astype(np.float64), LEVELS)
    q = np.where(filled, (sums / np.maximum(numbers, 1.0))[level], 0.0)
    if not q.sum():
        return np.inf
    p, q = p / p.sum(), q / q.sum()
    q = np.where(q > 0, q, 1e-12)
    some = p > 0
    return float((p[some] * np.log(p[some] / q[some])).sum())
