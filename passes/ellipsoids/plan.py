"""From two tapes to moves: which values an ellipsoid holds at each point, and what happens to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.passes.ellipsoids.moves import Gated, Linear, Move, Widened
from pathlift.passes.intervals.affine import affine_box
from pathlift.passes.intervals.box import Box, up
from pathlift.passes.intervals.pairs import Triple
from pathlift.passes.tape.affine import Affine
from pathlift.passes.tape.steps import Step
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor
Key = tuple[int, bool]
"""A value's number (below 0 if no tape has it), and whether the difference is meant, or the value less its centre."""


@dataclass(frozen=True, eq=False)
class Networks:
    """Two tapes that agree step by step, and what is known of their values.

    Parameters
    ----------
    first, second
        The tapes.
    triples
        What is known of every value over the domain.
    centre
        Every value of the first at one point of the domain; empty where only differences matter.
    """

    first: Tape
    second: Tape
    triples: Sequence[Triple]
    centre: Sequence[Box]


@dataclass(frozen=True, eq=False)
class Reading:
    """Where a value's coordinates are, once so many moves are made.

    Parameters
    ----------
    moves
        How many moves.
    value
        Number on the tape.
    offsets, differences
        Coordinates of the value in the first network less its centre, and of the difference; ``None`` where there are
        none.
    """

    moves: int
    value: int
    offsets: slice | None
    differences: slice | None


@dataclass(frozen=True, eq=False)
class Plan:
    """What to do with an ellipsoid.

    Parameters
    ----------
    size
        Of its matrix at the start.
    constant
        Whether coordinate 0 is the number 1, all there is at the start; otherwise it starts from zero.
    moves
        In order.
    readings
        In order.
    outputs
        Coordinates of the outputs' differences at the end; ``None`` for an output without a difference.
    sizes
        Of the outputs.
    """

    size: int
    constant: bool
    moves: tuple[Move, ...]
    readings: tuple[Reading, ...]
    outputs: tuple[slice | None, ...]
    sizes: tuple[int, ...]

    def start(self) -> Tensor:
        """The matrix to start from."""
        m = torch.zeros(1, self.size, self.size, dtype=torch.float64)
        if self.constant:
            m[0, 0, 0] = 1
        return m


@dataclass(eq=False)
class Sheet:
    """Moves as they are written down.

    The values are linear in the coordinates there are: what affine steps do waits until a move needs its operand to be
    coordinates (`settle`).

    Parameters
    ----------
    constant
        Whether there is a coordinate that is 1.
    """

    constant: bool
    size: int = 0
    rows: dict[Key, Box] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)

    def begin(self, shapes: Mapping[Key, tuple[int, ...]]) -> dict[Key, slice]:
        """Make coordinates of values; return which."""
        at, places = int(self.constant), {}
        for key, shape in shapes.items():
            places[key] = slice(at, at + torch.Size(shape).numel())
            at = places[key].stop
        self.size = at
        self.rows = {key: self._unit(places[key], shape) for key, shape in shapes.items()}
        return places

    def pushed(self, step: Affine, keys: Sequence[Key]) -> Box | None:
        """What the linear part of a step makes of values."""
        return self.mapped(lambda *boxes: affine_box(step, boxes, linear_only=True), keys, step.shapes)

    def mapped(self, f: Callable[..., Box], keys: Sequence[Key], shapes: Sequence[tuple[int, ...]]) -> Box | None:
        """What a linear function makes of values, row by row; ``None`` for zero."""
        if not any(k in self.rows for k in keys):
            return None
        zero = [torch.zeros(self.size, *s, dtype=torch.float64) for s in shapes]
        boxes = [self.rows.get(k, Box(z, z)) for k, z in zip(keys, zero, strict=True)]

        def ends(*xs: Tensor) -> tuple[Tensor, Tensor]:
            half = len(xs) // 2
            box = f(*(Box(low, high) for low, high in zip(xs[:half], xs[half:], strict=True)))
            return box.low, box.high

        pushed: Any = torch.func.vmap(ends)(*(b.low for b in boxes), *(b.high for b in boxes))
        return Box(*pushed)

    def put(self, key: Key, *parts: Box | None) -> None:
        """Write a value down as a sum."""
        there = [p for p in parts if p is not None]
        if there:
            total = there[0]
            for p in there[1:]:
                total = total.plus(p)
            self.rows[key] = total

    def fixed(self, box: Box) -> Box:
        """A constant, as a row."""
        assert self.constant
        zero = torch.zeros(self.size, *box.low.shape, dtype=torch.float64)
        low, high = zero, zero.clone()
        low[0], high[0] = box.low, box.high
        return Box(low, high)

    def keep(self, live: set[int]) -> None:
        """Forget all values but these."""
        self.rows = {k: b for k, b in self.rows.items() if k[0] in live}

    def settle(self, key: int, operand: int | None, node: str) -> dict[Key, slice]:
        """Make all values coordinates; `key` is a copy of `operand`, from the tape. Return where they are."""
        keys = sorted(self.rows)
        at, places = int(self.constant), {}
        for k in keys:
            n = self.rows[k].low[0].numel()
            places[k] = slice(at, at + n)
            at += n
        if not (at == self.size and self._settled(keys, places)):
            low = torch.cat([self._one(), *(self.rows[k].low.reshape(self.size, -1) for k in keys)], 1)
            high = torch.cat([self._one(), *(self.rows[k].high.reshape(self.size, -1) for k in keys)], 1)
            centre, radius = Box(low, high).centre_radius()
            radius = torch.where(low == high, 0.0, radius)
            self.moves.append(Linear(centre.T.contiguous(), radius.T.contiguous()))
            shapes = {k: tuple(self.rows[k].low.shape[1:]) for k in keys}
            self.size = at
            self.rows = {k: self._unit(places[k], shapes[k]) for k in keys}
        for number in sorted({k[0] for k in keys}):
            read = operand if number == key else number
            if read is not None and read >= 0:
                self.read(read, number, places)
        return places

    def read(self, value: int, number: int, places: dict[Key, slice]) -> None:
        """Note where a value is."""
        self.readings.append(Reading(len(self.moves), value, places.get((number, False)), places.get((number, True))))

    def widen(self, name: str, place: slice, radius: Tensor, node: str) -> None:
        """Add a box to coordinates.

        Raises
        ------
        UnsupportedError
            If it is not bounded.
        """
        if not bool(radius.isfinite().all()):
            raise UnsupportedError("1391", "nothing is known that bounds its result", node=node, op="step")
        if bool((radius > 0).any()):
            index = torch.arange(place.start, place.stop)
            self.moves.append(Widened(name, index, radius.reshape(-1)))

    def gate(
        self, name: str, node: str, places: dict[Key, slice], number: int, offsets: Box | None, differences: Box | None
    ) -> None:
        """Send a value's coordinates through gates of these sectors."""
        alpha, kappa = torch.ones(self.size, dtype=torch.float64), torch.zeros(self.size, dtype=torch.float64)
        index = []
        for difference, sector in ((False, offsets), (True, differences)):
            if (number, difference) in places and sector is not None:
                place = places[number, difference]
                alpha[place] = sector.low.reshape(-1)
                width = (sector.high - sector.low).reshape(-1)
                kappa[place] = torch.where(width > 0, up(width), width)
                index.append(torch.arange(place.start, place.stop))
        first = len(index[0]) if (number, False) in places and offsets is not None else 0
        if index:
            self.moves.append(Gated(name, node, torch.cat(index), first, alpha, kappa))

    def _one(self) -> Tensor:
        one = torch.zeros(self.size, int(self.constant), dtype=torch.float64)
        if self.constant:
            one[0, 0] = 1
        return one

    def _unit(self, place: slice, shape: tuple[int, ...]) -> Box:
        n = place.stop - place.start
        rows = torch.zeros(self.size, n, dtype=torch.float64)
        rows[place] = torch.eye(n, dtype=torch.float64)
        return Box.point(rows.reshape(self.size, *shape))

    def _settled(self, keys: Sequence[Key], places: dict[Key, slice]) -> bool:
        for k in keys:
            unit = self._unit(places[k], tuple(self.rows[k].low.shape[1:]))
            if not (torch.equal(self.rows[k].low, unit.low) and torch.equal(self.rows[k].high, unit.high)):
                return False
        return True


def rest_of(first: Step, second: Step) -> Affine | None:
    """What the second of two affine steps has that the first has not."""
    if first is second or not isinstance(first, Affine) or not isinstance(second, Affine):
        return None
    return second.minus(first)
