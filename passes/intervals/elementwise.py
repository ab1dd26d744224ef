"""Activations over boxes: what values they take there, and what slopes.

Between its bends, an activation is monotone, and convex or concave. So its extreme values on an interval are at the
ends of the interval or at bends within it, and its slopes between the one-sided slopes there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import inf

import torch

from pathlift.ir.primitives.base import Activation
from pathlift.passes.intervals.box import Box, U, down, up
from pathlift.passes.tape.coefficients import Coefficients
from pathlift.passes.tape.steps import Gate

Tensor = torch.Tensor
_NEAR = 1e-9
"""Where an inner one-sided slope is read off, relative to the size of the point."""
_LOST = 2.0**-1020
"""More than what underflow may take from a value."""
_FAR = 1e6
"""How far from 0 a bend may be that is a multiple of a period: it is off by less than 1e-8 there."""


@dataclass(frozen=True, eq=False)
class Curve:
    """An activation with its slopes as numbers, or, where it jumps, the continuous function near it.

    Parameters
    ----------
    f
        The activation.
    slopes
        Its parameters.
    """

    f: Activation
    slopes: tuple[Coefficients, ...] = ()

    @classmethod
    def of(cls, gate: Gate) -> Curve:
        """The curve of a gate."""
        return cls(gate.f, gate.slopes)

    @property
    def function(self) -> Callable[..., Tensor]:
        """What is followed: the activation, or the continuous function that it stays near."""
        return self.f.smooth or self.f.torch

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x, *(s.values for s in self.slopes))

    @property
    def bends(self) -> tuple[float, ...]:
        """Points between which it is monotone, and convex or concave."""
        assert self.f.bends is not None
        if self.f.period:  # of two periods, so that one begins wherever an interval does
            return (*self.f.bends, *(t + self.f.period for t in self.f.bends))
        return self.f.bends

    def jumps(self, box: Box) -> bool:
        """Whether it may jump somewhere on a box."""
        return self.f.jump > 0 and not bool((box.low > self.f.steady).all())

    def same(self, other: Curve) -> bool:
        """Whether another curve is the same function."""
        if (self.f.name, self.f.bends, self.f.slopes, self.f.at_zero, self.f.jump) != (
            other.f.name, other.f.bends, other.f.slopes, other.f.at_zero, other.f.jump
        ):  # fmt: skip
            return False
        pairs = zip(self.slopes, other.slopes, strict=True)
        return all(x.error is None and y.error is None and torch.equal(x.values, y.values) for x, y in pairs)

    def error(self, x: Tensor, y: Tensor) -> Tensor:
        """How far the computed y = f(x) may be off, the jump apart."""
        if self.f.relative:
            error = 32 * U * y.abs() + _LOST
        else:
            error = 4 * U * y.abs() if self.f.affine else 32 * U * (1 + x.abs() + y.abs())
        for s in self.slopes:
            if s.error is not None:
                error = error + s.error * x.abs()
        return error

    def derivative(self, x: Tensor) -> Tensor:
        """The slope at a point, some one-sided slope where it bends, by differentiating the function itself."""
        with torch.enable_grad():
            point = x.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(self(point).sum(), point)
        return slope

    def points(self, box: Box) -> Tensor:
        """The ends of each interval and the bends within, in order: ``(bends + 2, *shape)``.

        All are NaN where a periodic function has more bends within than these.
        """
        bends = [torch.full_like(box.low, t) for t in self.bends]
        if self.f.period:
            start = self.f.period * (box.low / self.f.period - 2.0**-20).floor()
            bends = [start + t for t in bends]
            beyond = ~((box.high <= start + 2 * self.f.period) & (box.low.abs() < _FAR))
            bends = [torch.where(beyond, torch.nan, t) for t in bends]
        return torch.stack([box.low, *(torch.minimum(torch.maximum(t, box.low), box.high) for t in bends), box.high])

    def has_pole(self, box: Box) -> Tensor:
        """Where an interval holds a point around which the function is not bounded, or where it is none."""
        held = torch.zeros_like(box.low, dtype=torch.bool)
        for pole in self.f.poles:
            held = held | ((box.low <= pole) & (box.high >= pole))
        return held


def image(curve: Curve, box: Box) -> Box:
    """Enclose the values on a box."""
    xs = curve.points(box)
    ys = curve(xs)
    limit = torch.where(xs.isinf() & ys.isnan(), 0.0, ys)  # an activation of infinity that torch has no number for
    unknown = ys.isnan().any(0) | curve.has_pole(box)
    error = torch.where(limit.isinf(), 0.0, curve.error(torch.where(xs.isinf(), 0.0, xs), limit))
    low, high = (limit - error).amin(0), (limit + error).amax(0)
    jump = curve.f.jump
    if jump:
        low, high = down(low - jump), up(high + jump)
    if not curve.f.affine or jump or any(s.error is not None for s in curve.slopes):
        low, high = down(low), up(high)
    return Box(torch.where(unknown, -inf, low), torch.where(unknown, inf, high))


def slopes(curve: Curve, box: Box) -> Box:
    """Enclose all slopes of chords between two points of a box."""
    if curve.f.affine:
        return _everywhere(curve, box, _affine_slopes(curve, box))
    xs = curve.points(box)
    left, right = xs[:-1], xs[1:]
    near = _NEAR * (1 + xs.abs())
    candidates = torch.cat([curve.derivative(p) for p in (xs, left + near[:-1], right - near[1:])])
    slack = 1e-8 * (1 + candidates.abs())
    return _everywhere(curve, box, Box((candidates - slack).amin(0), (candidates + slack).amax(0)))


def _affine_slopes(curve: Curve, box: Box) -> Box:
    """The slopes of the pieces that a box reaches into; at a point that is a bend, those of both sides."""
    ends = [-inf, *curve.bends, inf]
    low, high = torch.full_like(box.low, inf), torch.full_like(box.low, -inf)
    thin = box.low >= box.high
    for left, right in pairwise(ends):
        at = inside(left, right) if curve.bends else 0.0
        slope = curve.derivative(torch.full_like(box.low, at))
        reached = torch.where(thin, (box.low <= right) & (box.high >= left), (box.low < right) & (box.high > left))
        low = torch.where(reached, torch.minimum(low, slope), low)
        high = torch.where(reached, torch.maximum(high, slope), high)
    for s in curve.slopes:
        if s.error is not None:
            low, high = down(low - s.error), up(high + s.error)
    return Box(low, high)


def inside(left: float, right: float) -> float:
    """A point between two bends."""
    if left == -inf:
        return right - 1 - abs(right)
    return left + 1 + abs(left) if right == inf else 0.5 * left + 0.5 * right


def _everywhere(curve: Curve, box: Box, found: Box) -> Box:
    """The slopes found, where they mean something, within those that the activation has anywhere."""
    least, most = curve.f.slopes
    wrong = found.low.isnan() | found.high.isnan() | curve.has_pole(box)
    low, high = torch.where(wrong, least, found.low), torch.where(wrong, most, found.high)
    if curve.slopes or curve.f.jump:
        return Box(low, high)
    return Box(low.clamp(min=least, max=most), high.clamp(min=least, max=most))


def gap(first: Curve, second: Curve, box: Box) -> Box:
    """Enclose second(x) − first(x) on a box."""
    if first.same(second):
        jump = first.f.jump + second.f.jump
        return (
            Box.zero(tuple(box.low.shape), box.low.device).widened(jump)
            if jump
            else Box.zero(tuple(box.low.shape), box.low.device)
        )
    if first.f.period or second.f.period:
        return image(second, box).minus(image(first, box))
    inner = [torch.clamp(torch.full_like(box.low, t), box.low, box.high) for t in sorted({*first.bends, *second.bends})]
    xs = torch.stack([box.low, *inner, box.high])
    ys = [c(xs) for c in (first, second)]
    error = first.error(xs, ys[0]) + second.error(xs, ys[1])
    ends = Box(ys[1] - ys[0] - error, ys[1] - ys[0] + error)
    result = Box(ends.low.amin(0), ends.high.amax(0))
    if not (first.f.affine and second.f.affine):  # between the ends, the difference may go further
        for left, right in pairwise(xs):
            piece = Box(left, right)
            s = slopes(second, piece).minus(slopes(first, piece))
            reach = up(torch.where(right > left, s.magnitude * (0.5 * (right - left)), 0.0))
            turning = (s.low < 0) & (s.high > 0)
            reach = torch.where(turning, reach, 0.0)
            result = Box(result.low - reach, result.high + reach)
    jump = first.f.jump + second.f.jump
    whole = image(second, box).minus(image(first, box))
    return result.widened(jump).known().meet(whole) if bool(result.low.isfinite().all()) else whole
