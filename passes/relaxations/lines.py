"""Lines below and above an activation on an interval.

Between its bends an activation is convex or concave. For any slope s, the least value of f(x) − s·x on a concave piece
is at its ends; on a convex one it is where f' = s, and the tangent at any point close to that bounds it. So slopes are
free, and only the offset that belongs to a slope must be right.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import inf

import torch

from pathlift.passes.intervals.box import SMALLEST, Box, U
from pathlift.passes.intervals.elementwise import Curve, slopes

Tensor = torch.Tensor
_CANDIDATES = 17
"""How many slopes are tried at once, in each of two rounds."""
_HALVINGS = 26
_TANGENT = 1e-12
"""How far a computed derivative may be off, relative to its size and that of the slope."""


@dataclass(frozen=True, eq=False)
class Line:
    """slope·x + offset, elementwise."""

    slope: Tensor
    offset: Tensor

    def to(self, dtype: torch.dtype) -> Line:
        """In another format."""
        return Line(self.slope.to(dtype), self.offset.to(dtype))

    def where(self, held: Tensor) -> Line:
        """The same where this holds, and zero elsewhere."""
        return Line(torch.where(held, self.slope, 0.0), torch.where(held, self.offset, 0.0))


def lines(curve: Curve, box: Box) -> tuple[Line, Line]:
    """Return a line below and a line above an activation on a box, close to it at the centre.

    Parameters
    ----------
    curve
        The activation.
    box
        Of any shape; where it is unbounded or holds a pole, offsets may be infinite or NaN.
    """
    below, above = _below(curve, box, 1.0), _below(curve, box, -1.0)
    return below, Line(-above.slope, -above.offset)


def linear_on(curve: Curve, box: Box) -> Tensor:
    """Where an activation is affine on a box."""
    if not curve.f.affine:
        return torch.zeros_like(box.low, dtype=torch.bool)
    bent = torch.zeros_like(box.low, dtype=torch.bool)
    for t in curve.bends:
        bent = bent | ((box.low < t) & (t < box.high))
    return ~bent


def chord(curve: Curve, box: Box) -> Tensor:
    """The slope of the chord over a box; some slope where the box is a point."""
    ys = curve(torch.stack([box.low, box.high]))
    width = box.high - box.low
    slope = (ys[1] - ys[0]) / width
    return torch.where(slope.isfinite(), slope, slopes(curve, box).low)


def _below(curve: Curve, box: Box, sign: float) -> Line:
    """The line below ``sign``·f that is highest at the centre, of some."""
    among = slopes(curve, box)
    low, high = (among.low, among.high) if sign > 0 else (-among.high, -among.low)
    straight = sign * chord(curve, box)
    centre = 0.5 * box.low + 0.5 * box.high
    if curve.f.affine:
        return _highest(curve, box, sign, torch.stack([straight, low, high]), centre)
    steps = torch.linspace(0, 1, _CANDIDATES, dtype=torch.float64, device=low.device)
    steps = steps.reshape(-1, *[1] * low.ndim)
    first = _highest(curve, box, sign, torch.cat([low + (high - low) * steps, straight[None]]), centre)
    reach = (high - low) / (_CANDIDATES - 1)
    around = first.slope + reach * (2 * steps - 1)
    return _highest(curve, box, sign, torch.cat([around, first.slope[None]]), centre)


def _highest(curve: Curve, box: Box, sign: float, candidates: Tensor, centre: Tensor) -> Line:
    offsets = _offset(curve, box, candidates, sign)
    values = (candidates * centre + offsets).nan_to_num(-inf)
    best = values.argmax(0, keepdim=True)
    return Line(candidates.gather(0, best)[0], offsets.gather(0, best)[0])


def _offset(curve: Curve, box: Box, slope: Tensor, sign: float) -> Tensor:
    """Return t, rounded down, such that ``sign``·f(x) ≥ slope·x + t on the box; slopes are stacked in front."""
    xs = curve.points(box)
    ys = curve(xs)
    ends = (sign * ys)[:, None] - slope[None] * xs[:, None]
    if curve.f.affine:
        least = ends.amin(0)
    else:
        least = torch.full_like(slope, inf)
        for i, (left, right) in enumerate(pairwise(xs)):
            inner = _tangent(curve, left, right, slope, sign)
            found = torch.where(_convex(curve, i, sign, left), inner, torch.minimum(ends[i], ends[i + 1]))
            least = torch.minimum(least, found)
    size = xs.abs().amax(0)
    jump = curve.f.jump
    off = curve.error(xs, ys).amax(0) + 16 * U * (ys.abs().amax(0) + slope.abs() * size + jump)
    return least - jump - off * (1 + 1e-6) - SMALLEST


def _convex(curve: Curve, piece: int, sign: float, like: Tensor) -> Tensor:
    """Whether ``sign``·f is convex on the piece behind so many bends, looked up well inside it."""
    ends = [-inf, *curve.bends, inf]
    left, right = ends[piece], ends[piece + 1]
    if left == -inf and right == inf:
        points = (-1.0, 0.0, 1.0)
    elif left == -inf:
        points = (right - 1.5, right - 1.0, right - 0.5)
    elif right == inf:
        points = (left + 0.5, left + 1.0, left + 1.5)
    else:
        points = tuple(left + (right - left) * part for part in (0.25, 0.5, 0.75))  # type: ignore[assignment]  # three of them
    y = [sign * curve(torch.full_like(like, p)) for p in points]
    return y[1] <= 0.5 * y[0] + 0.5 * y[2]


def _tangent(curve: Curve, left: Tensor, right: Tensor, slope: Tensor, sign: float) -> Tensor:
    """Bound f(x) − slope·x from below on a convex piece, by the tangent where the slope is f's."""
    low, high = left.expand_as(slope), right.expand_as(slope)
    for _ in range(_HALVINGS):
        middle = 0.5 * low + 0.5 * high
        lower = sign * curve.derivative(middle) < slope
        low, high = torch.where(lower, middle, low), torch.where(lower, high, middle)
    inside = 1e-9 * (right - left)
    point = torch.minimum(torch.maximum(0.5 * low + 0.5 * high, left + inside), right - inside)
    rise = sign * curve.derivative(point)
    y = sign * curve(point)
    excess = rise - slope
    away = torch.minimum(excess * (left - point), excess * (right - point))
    slack = (_TANGENT * (1 + rise.abs() + slope.abs())) * (right - left)
    found = y - slope * point + away - slack
    # At a bend, the derivative may be that of the other side: there f is only known to be monotone.
    ends = sign * curve(torch.stack([left, right]))
    least = ends.amin(0) - torch.maximum(slope * left, slope * right)
    bent = torch.zeros_like(point, dtype=torch.bool)
    for t in curve.bends:
        bent = bent | (point == t)
    return torch.where(bent, least, found)
