"""Maxima as gates: max(p, q) = q + relu(p − q), in rounds, until one is left of each pool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

import torch

from pathlift.ir.primitives.base import Activation
from pathlift.ir.primitives.selections import Extremum, WindowMax
from pathlift.passes.ellipsoids.plan import Sheet
from pathlift.passes.ellipsoids.sectors import chords
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.elementwise import Curve, slopes
from pathlift.passes.intervals.pairs import Triple
from pathlift.passes.tape.steps import Select

Tensor = torch.Tensor
Change = Callable[[Tensor], Tensor]
RELU = Curve(Activation("Relu", (0.0, 1.0), lambda x: x.clamp(min=0), homogeneous=True, bends=(0.0,), affine=True))


@dataclass(frozen=True, eq=False)
class Player:
    """One entrant of each pool.

    Parameters
    ----------
    rows
        As offset and as difference, of shape ``(size, *shape)``.
    triple
        Where it is in the two networks.
    centre
        Its value at the centre, if that matters.
    """

    rows: tuple[Box | None, Box | None]
    triple: Triple
    centre: Box | None


def selected(
    sheet: Sheet, value: int, step: Select, triple: Triple, centre: Box | None, offset: bool, behind: set[int]
) -> bool:
    """Write a maximum or a minimum down; return whether it is one.

    A pool is a product over axes, so its maximum is one over each axis in turn. A minimum is the maximum of negatives.
    Where pools are of different lengths, some entrants play against themselves.
    """
    statistic = step.statistic
    if not isinstance(statistic, WindowMax | Extremum):
        return False
    (operand,) = step.inputs
    negative = isinstance(statistic, Extremum) and not statistic.largest
    rows = (sheet.rows.get((operand, False)) if offset else None, sheet.rows.get((operand, True)))
    player = Player(rows, triple, centre if offset else None)
    if negative:
        player = _negated(player)
    name = -2
    for axis in statistic.mixed_axes(len(step.shapes[0])):
        pools = torch.from_numpy(statistic.pools(axis, player.triple.a.low.shape[axis]).copy())
        first = pools.amax(1, keepdim=True)
        entrants = [_taken(player, axis, p) for p in torch.where(pools < 0, first, pools).T]
        number = 0
        while len(entrants) > 1:
            number += 1
            label = f"select{value}.{axis}.{number}"
            entrants = _round(sheet, entrants, behind, label, name, step.node)
        player = entrants[0]
    if negative:
        player = _negated(player)
    for kind, row in ((False, player.rows[0]), (True, player.rows[1])):
        if row is not None:
            sheet.put((value, kind), Box(row.low.reshape(-1, *step.shape), row.high.reshape(-1, *step.shape)))
    return True


def _round(sheet: Sheet, entrants: list[Player], behind: set[int], label: str, name: int, node: str) -> list[Player]:
    """Half of the entrants play the other half."""
    half = len(entrants) // 2
    left, right = _stacked(entrants[:half]), _stacked(entrants[half : 2 * half])
    bye = entrants[2 * half :]
    p, q = left.triple, right.triple
    apart = Triple(p.a.minus(q.a), p.b.minus(q.b), p.d.minus(q.d)).closed()
    centre = None if left.centre is None or right.centre is None else left.centre.minus(right.centre)
    groups = [_minus(left, right), right.rows, *(b.rows for b in bye)]
    sheet.keep(behind)
    for i, rows in enumerate(groups):
        for kind in (False, True):
            row = rows[kind]
            if row is not None:
                sheet.rows[name - i, kind] = row
    places = sheet.settle(name, None, node)
    offsets = None if centre is None else chords(RELU, centre, apart.a)
    sheet.gate(label, node, places, name, offsets, slopes(RELU, apart.both))
    settled = [
        (sheet.rows.pop((name - i, False), None), sheet.rows.pop((name - i, True), None)) for i in range(len(groups))
    ]
    won = (_plus(settled[0][0], settled[1][0]), _plus(settled[0][1], settled[1][1]))
    best = Triple(_best(p.a, q.a), _best(p.b, q.b), p.d.hull(q.d)).closed()
    middle = None if centre is None or left.centre is None or right.centre is None else _best(left.centre, right.centre)
    winners = _unstacked(Player(won, best, middle), half)
    return [*winners, *(Player(r, b.triple, b.centre) for r, b in zip(settled[2:], bye, strict=True))]


def _minus(p: Player, q: Player) -> tuple[Box | None, Box | None]:
    pairs = zip(p.rows, q.rows, strict=True)
    a, b = (None if x is None or y is None else x.minus(y) for x, y in pairs)
    return a, b


def _plus(x: Box | None, y: Box | None) -> Box | None:
    return None if x is None or y is None else x.plus(y)


def _best(p: Box, q: Box) -> Box:
    return Box(torch.maximum(p.low, q.low), torch.maximum(p.high, q.high))


def _each(player: Player, rows: Change, box: Change) -> Player:
    t = player.triple
    a, b = (None if r is None else Box(rows(r.low), rows(r.high)) for r in player.rows)
    a_, b_, d_ = (Box(box(x.low), box(x.high)) for x in (t.a, t.b, t.d))
    c = player.centre
    return Player((a, b), Triple(a_, b_, d_), None if c is None else Box(box(c.low), box(c.high)))


def _taken(player: Player, axis: int, index: Tensor) -> Player:
    return _each(player, lambda x: x.index_select(axis + 1, index), lambda x: x.index_select(axis, index))


def _stacked(players: list[Player]) -> Player:
    def stack(boxes: list[Box], dim: int) -> Box:
        return Box(torch.stack([b.low for b in boxes], dim), torch.stack([b.high for b in boxes], dim))

    rows = []
    for kind in (0, 1):
        parts = [p.rows[kind] for p in players]
        there = [p for p in parts if p is not None]
        rows.append(stack(there, 1) if there else None)
    t = [p.triple for p in players]
    triple = Triple(stack([x.a for x in t], 0), stack([x.b for x in t], 0), stack([x.d for x in t], 0))
    centres = [p.centre for p in players if p.centre is not None]
    return Player((rows[0], rows[1]), triple, stack(centres, 0) if centres else None)


def _unstacked(player: Player, count: int) -> list[Player]:
    return [_each(player, itemgetter((slice(None), i)), itemgetter(i)) for i in range(count)]


def _negated(player: Player) -> Player:
    def negative(box: Box | None) -> Box | None:
        return None if box is None else Box(-box.high, -box.low)

    t = player.triple
    a, b, d = (Box(-x.high, -x.low) for x in (t.a, t.b, t.d))
    return Player((negative(player.rows[0]), negative(player.rows[1])), Triple(a, b, d), negative(player.centre))
