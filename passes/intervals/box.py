"""Boxes: a lower and an upper bound for each element of a tensor. Every operation is rounded outward.

Sums of products are computed as a centre and a radius. The centre's rounding errors are at most γₙ = n·u/(1−n·u) times
the sum of the magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, §3.1), whatever the order of the sum,
and are added to the radius before it is multiplied by the absolute coefficients, which is needed anyway.
"""

from __future__ import annotations

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
        return cls.point(torch.zeros(shape, dtype=torch.float64, device=device))

    @property
    def magnitude(self) -> Tensor:
        """The largest absolute values."""
        return torch.maximum(self.low.abs(), self.high.abs())

    @property
    def bounded(self) -> bool:
        """Whether all bounds are finite."""
        return bool(self.low.isfinite().all() and self.high.isfinite().all())

    def centre_radius(self) -> tuple[Tensor, Tensor]:
        """A centre and a radius around it that cover the box."""
        centre = 0.5 * self.low + 0.5 * self.high
        return centre, up(torch.maximum(self.high - centre, centre - self.low))

    def known(self) -> Box:
        """The same, with nothing known where a bound is NaN."""
        return Box(self.low.nan_to_num(-inf, inf, -inf), self.high.nan_to_num(inf, inf, -inf))

    def plus(self, other: Box) -> Box:
        """All sums."""
        return Box(down(self.low + other.low), up(self.high + other.high)).known()

    def minus(self, other: Box) -> Box:
        """All differences."""
        return Box(down(self.low - other.high), up(self.high - other.low)).known()

    def times(self, other: Box) -> Box:
        """All products."""
        products = [x * y for x in (self.low, self.high) for y in (other.low, other.high)]
        products = [torch.where(p.isnan(), 0.0, p) for p in products]  # 0 · ∞: the bound is not attained, 0 is
        low = torch.minimum(torch.minimum(products[0], products[1]), torch.minimum(products[2], products[3]))
        high = torch.maximum(torch.maximum(products[0], products[1]), torch.maximum(products[2], products[3]))
        return Box(down(low), up(high))

    def hull(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(torch.minimum(self.low, other.low), torch.maximum(self.high, other.high))

    def meet(self, other: Box) -> Box:
        """What is in both. Of two true statements: where rounding has left nothing in common, the first holds."""
        low, high = torch.maximum(self.low, other.low), torch.minimum(self.high, other.high)
        empty = low > high
        if bool(empty.any()):
            low, high = torch.where(empty, self.low, low), torch.where(empty, self.high, high)
        return Box(low, high)

    def widened(self, by: Tensor | float) -> Box:
        """By this much to either side."""
        return Box(down(self.low - by), up(self.high + by)).known()


def up(x: Tensor) -> Tensor:
    """The next float64 above."""
    return torch.nextafter(x, torch.full((), inf, dtype=x.dtype, device=x.device))


def down(x: Tensor) -> Tensor:
    """The next float64 below."""
    return torch.nextafter(x, torch.full((), -inf, dtype=x.dtype, device=x.device))


def gamma(n: int) -> float:
    """γₙ, and a little more: the relative error of a sum of n products, in any order."""
    return 1.01 * (n + 2) * U
