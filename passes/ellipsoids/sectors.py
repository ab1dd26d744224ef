"""Sectors: between which slopes an activation's chords are, from a fixed point and between any two."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch

from pathlift.passes.intervals.box import Box, down, up
from pathlift.passes.intervals.elementwise import Curve, image, slopes

Tensor = torch.Tensor
_PARTS = 16
"""Into how many parts a curved piece is cut."""


def chords(curve: Curve, point: Box, box: Box) -> Box:
    """Enclose the slopes of chords from a point to all others of a box.

    On a piece that the point is not in, an affine function's chords have slopes between those to the piece's two ends
    (a quotient of affine functions is monotone). A curved piece is cut into parts, on each of which the slope is a
    quotient of intervals. Where the point is near, the slopes of the function itself are taken.

    Parameters
    ----------
    curve
        The activation.
    point
        Encloses the point.
    box
        Where the others are.
    """
    curve = Curve(replace(curve.f, jump=0.0), curve.slopes)
    every = slopes(curve, box.hull(point))
    ends = curve.points(box)
    if not bool(ends.isfinite().all()):
        return every
    if not curve.f.affine:
        steps = torch.linspace(0, 1, _PARTS + 1, dtype=ends.dtype, device=ends.device)
        cuts = [left + (right - left) * s for left, right in pairwise(ends) for s in steps]
        ends = torch.stack([torch.minimum(torch.maximum(c, box.low), box.high) for c in cuts])
    left, right = ends[:-1], ends[1:]
    around = Box(point.low.expand(left.shape), point.high.expand(left.shape))
    found = slopes(curve, Box(left, right).hull(around))
    if curve.f.affine:
        quotient = _slope(curve, around, Box.point(left)).hull(_slope(curve, around, Box.point(right)))
    else:
        quotient = _slope(curve, around, Box(left, right))
    both = found.meet(quotient)
    away = (around.low > right) | (around.high < left)
    low, high = torch.where(away, both.low, found.low), torch.where(away, both.high, found.high)
    return every.meet(Box(low.amin(0), high.amax(0)))


def _slope(curve: Curve, point: Box, other: Box) -> Box:
    """(f(y) − f(x))/(y − x), for all x of a point's box and all y of another one; anything where the two meet."""
    rise = image(curve, other).minus(image(curve, point))
    run = other.minus(point)
    return rise.times(Box(down(1 / run.high), up(1 / run.low)))
