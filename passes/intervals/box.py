"""Boxes: a lower and an upper bound for each element of a tensor. Every operation is rounded outward.

Sums of products are computed as a centre and a radius. The centre's rounding errors are at most γₙ = n·u/(1−n·u) times
the sum of the magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, §3.1), whatever the order of the sum,
and are added to the radius before it is multiplied by the absolute coefficients, which is needed anyway.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from math import inf

import torch

Tensor = torch.Tensor
U = 2.0**-53
SMALLEST = 2.0**-1060
"""More than what underflow may take from one operation."""


@dataclass(frozen=True, eq=False)
class Box:
    """Lower and upper bounds, elementwise.

    Parameters
    ----------
    low, high
        float64, of one shape; infinite where nothing is known.
    """

    low: Tensor
    high: Tensor

    @classmethod
    def point(cls, x: Tensor) -> Box:
        """One point."""
        return cls(x, x)

    @classmethod
    def zero(cls, shape: tuple[int, ...], device: torch.device | None = None) -> Box:
        """The origin."""
        return cls.point(torch.zeros((), dtype=torch.float64, device=device).expand(shape))

    @classmethod
    def anything(cls, shape: tuple[int, ...], device: torch.device | None = None) -> Box:
        """Where nothing is known."""
        unknown = torch.full((), inf, dtype=torch.float64, device=device).expand(shape)
        return cls(-unknown, unknown)

    @classmethod
    def around(cls, centre: Tensor, radius: Tensor) -> Box:
        """All that is no further than a radius from a centre; anything, where one of them has overflowed."""
        return _outward(centre - radius, centre + radius)

    @property
    def magnitude(self) -> Tensor:
        """The largest absolute values."""
        return torch.maximum(self.low.abs(), self.high.abs())

    @property
    def bounded(self) -> bool:
        """Whether all bounds are finite."""
        return bool(self.low.isfinite().all() and self.high.isfinite().all())

    @functools.cached_property
    def is_zero(self) -> bool:
        """Whether it is the origin."""
        return not self.low.numel() or bool(self.low.amin() == 0 == self.high.amax())

    def expanded(self, shape: tuple[int, ...]) -> Box:
        """Broadcast to a shape."""
        return Box(self.low.expand(shape), self.high.expand(shape))

    def centre_radius(self) -> tuple[Tensor, Tensor]:
        """A centre and a radius around it that cover the box."""
        centre = 0.5 * self.low + 0.5 * self.high
        return centre, up(torch.maximum(self.high - centre, centre - self.low))

    def known(self) -> Box:
        """The same, with nothing known where a bound is NaN."""
        return Box(self.low.nan_to_num(-inf, inf, -inf), self.high.nan_to_num(inf, inf, -inf))

    def plus(self, other: Box) -> Box:
        """All sums."""
        return _outward(self.low + other.low, self.high + other.high)

    def minus(self, other: Box) -> Box:
        """All differences."""
        return _outward(self.low - other.high, self.high - other.low)

    def times(self, other: Box) -> Box:
        """All products."""
        low, high = _ends(self, other.low)
        if other.low is not other.high:
            lower, higher = _ends(self, other.high)
            low, high = torch.minimum(low, lower), torch.maximum(high, higher)
        return _outward(low, high)

    def scaled(self, c: Tensor, relative: float) -> Box:
        """All products with numbers, each of which may be off by a share of itself."""
        low, high = _ends(self, c)
        share = relative * (1 + 4 * U) + 4 * U
        return _outward(low.sub_(low.abs(), alpha=share), high.add_(high.abs(), alpha=share))

    def hull(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(torch.minimum(self.low, other.low), torch.maximum(self.high, other.high))

    def meet(self, other: Box) -> Box:
        """What is in both, two true statements; where they contradict each other, the nearest point of this one."""
        return Box(other.low.clamp(self.low, self.high), other.high.clamp(self.low, self.high))

    def moved_into(self, other: Box) -> Box:
        """The other's meet with this one, which is made of tensors that nobody else holds, and is changed in place."""
        return Box(self.low.clamp_(other.low, other.high), self.high.clamp_(other.low, other.high))

    def widened(self, by: Tensor | float) -> Box:
        """By this much to either side."""
        return _outward(self.low - by, self.high + by)


def up(x: Tensor) -> Tensor:
    """The next float64 above."""
    return torch.nextafter(x, torch.full((), inf, dtype=x.dtype, device=x.device))


def down(x: Tensor) -> Tensor:
    """The next float64 below."""
    return torch.nextafter(x, torch.full((), -inf, dtype=x.dtype, device=x.device))


def _ends(box: Box, c: Tensor) -> tuple[Tensor, Tensor]:
    """The smaller and the larger of the products of both bounds, as they are computed."""
    # 0 · ∞: the bound is not attained, 0 is.
    x, y = ((bound * c).nan_to_num_(0.0, inf, -inf) for bound in (box.low, box.high))
    return torch.minimum(x, y), torch.maximum(x, y)


def _outward(low: Tensor, high: Tensor) -> Box:
    """The box of bounds just computed, which are changed in place; a lower bound of ∞ is an overflow."""
    below, above = (torch.full((), end, dtype=low.dtype, device=low.device) for end in (-inf, inf))
    return Box(low.nan_to_num_(-inf, -inf, -inf).nextafter_(below), high.nan_to_num_(inf, inf, inf).nextafter_(above))


def gamma(n: int) -> float:
    """γₙ, and a little more: the relative error of a sum of n products, in any order, and of six more operations."""
    return 1.01 * (n + 6) * U
