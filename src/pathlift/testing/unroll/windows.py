"""Windows of convolutions and poolings: where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor

import numpy as np

from pathlift.ir.types import Ints


def window_counts(sizes: Ints, kernel: Ints, strides: Ints, pads: Ints, dilations: Ints, ceil_mode: bool) -> Ints:
    """Number of windows per spatial axis; `pads`: all begins, then all ends."""
    counts = []
    for d, size in enumerate(sizes):
        span = (size + pads[d] + pads[d + len(sizes)] - dilations[d] * (kernel[d] - 1) - 1) / strides[d]
        count = (ceil if ceil_mode else floor)(span) + 1
        # A last window may not start in the end padding.
        counts.append(count - 1 if ceil_mode and (count - 1) * strides[d] >= size + pads[d] else count)
    return tuple(counts)


def windows_of(
    sizes: Ints, kernel: Ints, strides: Ints, pads: Ints, dilations: Ints, ceil_mode: bool = False
) -> Iterator[tuple[Ints, list[Ints], int]]:
    """Yield place, positions within the input, and the number of positions within input and padding."""
    n = len(sizes)
    for place in np.ndindex(*window_counts(sizes, kernel, strides, pads, dilations, ceil_mode)):
        start = [place[d] * strides[d] - pads[d] for d in range(n)]
        taps = [tuple(start[d] + tap[d] * dilations[d] for d in range(n)) for tap in np.ndindex(*kernel)]
        inside = [at for at in taps if all(0 <= at[d] < sizes[d] for d in range(n))]
        padded = [at for at in taps if all(-pads[d] <= at[d] < sizes[d] + pads[d + n] for d in range(n))]
        yield place, inside, len(padded)
