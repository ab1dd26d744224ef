"""Readings: boxes of the values that an ellipsoid holds."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pathlift.passes.ellipsoids.evaluation import Projection
from pathlift.passes.ellipsoids.plan import Reading
from pathlift.passes.intervals.box import Box, U
from pathlift.passes.intervals.pairs import Triple

Tensor = torch.Tensor


def triple_of(reading: Reading, m: Tensor, centre: Box) -> Triple:
    """Where a value is in two networks, and their difference.

    Parameters
    ----------
    reading
        Where it is among the coordinates, of which the first is 1.
    m
        Ellipsoids ``(R, n, n)`` that all hold it.
    centre
        The first network's value at the point that offsets are taken from.
    """
    shape = tuple(centre.low.shape)
    anything = Box(torch.full(shape, -torch.inf, dtype=m.dtype), torch.full(shape, torch.inf, dtype=m.dtype))
    z, d = reading.offsets, reading.differences
    a = anything if z is None else _box(m, [z], shape).plus(centre)
    difference = Box.zero(shape) if d is None else _box(m, [d], shape)
    both = [s for s in (z, d) if s is not None]
    b = anything if z is None else _box(m, both, shape).plus(centre)
    return Triple(a, b, difference)


def _box(m: Tensor, places: Sequence[slice], shape: tuple[int, ...]) -> Box:
    """Of sums of coordinates, one of each place."""
    diagonals = [m[:, p, p].diagonal(dim1=-2, dim2=-1) for p in places]
    square, size = sum(diagonals[1:], diagonals[0]), sum(x.clamp(min=0).sqrt() for x in diagonals)
    if len(places) == 2:
        square = square + 2 * m[:, places[0], places[1]].diagonal(dim1=-2, dim2=-1)
    mean = sum((m[:, 0, p] for p in places[1:]), m[:, 0, places[0]])
    assert isinstance(size, Tensor)
    low, high = Projection(square, size * (1 + 8 * U), 4, mean, m[:, 0, :1]).ends()
    return Box(low.amax(0).reshape(shape), high.amin(0).reshape(shape)).known()
