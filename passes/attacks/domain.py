"""Boxes of inputs."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import torch

from pathlift.ir.errors import UsageError

Tensor = torch.Tensor
Point = Mapping[str, Tensor]
"""Inputs by name, ``(batch, *shape)`` each."""


@dataclass(frozen=True, eq=False)
class Domain:
    """A box of inputs, closed.

    Parameters
    ----------
    low, high
        By an input's name: float64, of the input's shape with a batch of one, ``(1, *shape)``; low ≤ high, and their
        distance is a finite number.

    Raises
    ------
    UsageError
        If they are no box.
    """

    low: Point
    high: Point

    def __post_init__(self) -> None:
        if self.low.keys() != self.high.keys():
            raise UsageError(
                "1485", f"the bounds are of different inputs: {sorted(self.low.keys() ^ self.high.keys())}"
            )
        for name, low in self.low.items():
            high = self.high[name]
            if low.shape != high.shape or low.shape[:1] != (1,):
                shapes = f"{list(low.shape)} and {list(high.shape)}"
                raise UsageError("1485", f"the bounds of {name!r} have shapes {shapes}, not both [1, …]")
            if low.dtype != torch.float64 or high.dtype != torch.float64:
                raise UsageError("1485", f"the bounds of {name!r} are not float64")
            if not bool(((high - low).isfinite() & (low <= high)).all()):
                raise UsageError("1485", f"the box of {name!r} is not finite, or a lower bound above its upper one")

    @classmethod
    def from_interval(cls, shapes: Mapping[str, tuple[int, ...]], low: float, high: float) -> Domain:
        """Return the box in which every element of every input has the same bounds; shapes are ``(1, …)``."""
        sides = [{n: torch.full(s, side, dtype=torch.float64) for n, s in shapes.items()} for side in (low, high)]
        return cls(sides[0], sides[1])

    @classmethod
    def ball(cls, at: Point, radius: float, limits: Domain | None = None, *, outward: bool = False) -> Domain:
        """Return the ball of a point in the maximum norm, ``|x - at| ≤ radius`` for every element.

        Parameters
        ----------
        at
            The centre, ``(1, *shape)``; converted to float64.
        radius
            Not negative.
        limits
            What the ball is cut to.
        outward
            Whether the box holds all real points of the ball. By default it holds all those of its points that are
            numbers of float64, and no other: what is found in it is in the ball.

        Raises
        ------
        UsageError
            If nothing of the ball is within the limits, or it is no box.
        """
        centre = {name: x.double() for name, x in at.items()}
        low = {n: -_sum(-x, radius, upward=outward) for n, x in centre.items()}
        high = {n: _sum(x, radius, upward=outward) for n, x in centre.items()}
        if limits is not None:
            if limits.low.keys() != low.keys():
                raise UsageError("1485", f"the limits are of inputs {sorted(limits.low)}, the point of {sorted(low)}")
            low = {n: torch.maximum(x, limits.low[n]) for n, x in low.items()}
            high = {n: torch.minimum(x, limits.high[n]) for n, x in high.items()}
        return cls(low, high)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The inputs' shapes without the batch."""
        return {name: tuple(x.shape[1:]) for name, x in self.low.items()}

    @property
    def centre(self) -> dict[str, Tensor]:
        """The middle of the box, ``(1, *shape)``."""
        return self.unflat(self.flat_low + (self.flat_high / 2 - self.flat_low / 2))

    @functools.cached_property
    def flat_low(self) -> Tensor:
        """The lower bounds of all elements of all inputs, ``(1, elements)``."""
        return self.flat(self.low)

    @functools.cached_property
    def flat_high(self) -> Tensor:
        """The upper bounds of all elements of all inputs, ``(1, elements)``."""
        return self.flat(self.high)

    @property
    def elements(self) -> int:
        """How many numbers a point is."""
        return sum(x.numel() for x in self.low.values())

    @property
    def open(self) -> tuple[int, ...]:
        """Places, in a flat point, of the elements that have more than one value in the box."""
        return tuple((self.flat_high > self.flat_low)[0].nonzero()[:, 0].tolist())

    def contains(self, point: Point) -> bool:
        """Whether all points of a batch are in the box; what is NaN is not."""
        if point.keys() != self.low.keys():
            return False
        return all(bool(((x >= self.low[n]) & (x <= self.high[n])).all()) for n, x in point.items())

    def clip(self, point: Point) -> dict[str, Tensor]:
        """Return the nearest points in the box."""
        return {name: torch.clamp(x, self.low[name], self.high[name]) for name, x in point.items()}

    def corners(self) -> Iterator[dict[str, Tensor]]:
        """Yield each corner once, ``(1, *shape)``: two to the power of the number of `open` elements."""
        places = list(self.open)
        for chosen in itertools.product((False, True), repeat=len(places)):
            corner = self.flat_low.clone()
            corner[0, places] = torch.where(
                torch.tensor(chosen, dtype=torch.bool), self.flat_high[0, places], corner[0, places]
            )
            yield self.unflat(corner)

    def split(self, place: int | None = None) -> tuple[Domain, Domain]:
        """Return the halves below and above the middle of one element, by default of the widest; they share it."""
        place = int((self.flat_high - self.flat_low).argmax()) if place is None else place
        middle = self.flat(self.centre)[0, place]
        below, above = self.flat_high.clone(), self.flat_low.clone()
        below[0, place] = above[0, place] = middle
        return Domain(self.low, self.unflat(below)), Domain(self.unflat(above), self.high)

    def flat(self, point: Point) -> Tensor:
        """Return a batch of points as ``(batch, elements)``, input after input."""
        return torch.cat([point[name].flatten(1) for name in self.low], 1)

    def unflat(self, flat: Tensor) -> dict[str, Tensor]:
        """Return points, ``(batch, *shape)``, of what `flat` makes of them."""
        shapes = self.shapes
        ends = list(itertools.accumulate(prod(shape) for shape in shapes.values()))
        parts = torch.tensor_split(flat, ends[:-1], 1)
        return {n: part.reshape(len(flat), *shape) for (n, shape), part in zip(shapes.items(), parts, strict=True)}


def _sum(x: Tensor, radius: float, *, upward: bool) -> Tensor:
    """``x + radius``, rounded upward or downward: the rounding error of a sum is a number that is found exactly."""
    r = torch.full_like(x, radius)
    total = x + r
    part = total - x
    error = (x - (total - part)) + (r - part)  # Knuth's two-sum: x + r = total + error
    if upward:
        return torch.where(error > 0, torch.nextafter(total, torch.full_like(x, torch.inf)), total)
    return torch.where(error < 0, torch.nextafter(total, torch.full_like(x, -torch.inf)), total)
