"""Plans of two tapes, and of one: each step, and what it does to the values on a sheet."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.passes.ellipsoids.gates import forgotten, gated, multiplied
from pathlift.passes.ellipsoids.moves import Widened
from pathlift.passes.ellipsoids.plan import LARGEST, Networks, Plan, Sheet, rest_of
from pathlift.passes.ellipsoids.tournament import selected
from pathlift.passes.intervals.affine import affine_box
from pathlift.passes.intervals.box import Box
from pathlift.passes.tape.steps import Affine, Bilinear, Gate, Select, Step, Within

Tensor = torch.Tensor


def differences(networks: Networks, domain: Sequence[Box]) -> Plan:
    """Plan how to bound the difference of two networks over a box that both read.

    Raises
    ------
    UnsupportedError
        If there are too many values, or one is neither tracked nor bounded.
    """
    sheet = Sheet(True)
    shapes = list(networks.first.inputs.values())
    size = sum(torch.Size(s).numel() for s in shapes) + 1
    _check_size(size)
    place = sheet.begin(shapes, False)
    radius = [b.minus(Box.point(c.low)).magnitude.reshape(-1) for b, c in zip(domain, networks.centre, strict=False)]
    sheet.moves.append(Widened("input", torch.arange(place.start, place.stop), torch.cat(radius)))
    return _written(sheet, networks, size)


def increments(networks: Networks, radius: Tensor | None) -> Plan:
    """Plan how to bound what one network makes of the difference of two inputs.

    Parameters
    ----------
    networks
        One and the same tape twice.
    radius
        Of a box around zero in which the inputs' difference lies; ``None``: whoever executes the plan starts from an
        ellipsoid of the inputs' difference.

    Raises
    ------
    UnsupportedError
        If there are too many values, or one that has no Lipschitz constant.
    """
    sheet = Sheet(False)
    shapes = list(networks.first.inputs.values())
    size = sum(torch.Size(s).numel() for s in shapes)
    _check_size(size)
    place = sheet.begin(shapes, True)
    if radius is not None:
        sheet.moves.append(Widened("input", torch.arange(place.start, place.stop), radius, alone=True))
    return _written(sheet, networks, size)


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise UnsupportedError(
            "1392", f"{size} inputs are read, and ellipsoids are made of at most {LARGEST} values",
            hint="other methods bound such networks",
        )  # fmt: skip


def _written(sheet: Sheet, networks: Networks, size: int) -> Plan:
    tape = networks.first
    last, offsets = _uses(networks)
    for (value, ours), theirs in zip(tape.numbered(), networks.second.steps, strict=True):
        if last.get(value, -1) < 0:
            continue
        live = {v for v, end in last.items() if v < value and end >= value}
        sheet.keep(live)
        _write(sheet, networks, value, ours, theirs, (value in offsets, live - _gone(last, value)))
    outputs = list(tape.outputs.values())
    sheet.rows = {k: b for k, b in sheet.rows.items() if k[1] and k[0] in outputs}
    places = sheet.settle(-1, None, "outputs")
    sizes = tuple(torch.Size(tape.shapes[v]).numel() for v in outputs)
    return Plan(
        size, sheet.constant, tuple(sheet.moves), tuple(sheet.readings),
        tuple(places.get((v, True)) for v in outputs), sizes,
    )  # fmt: skip


def _gone(last: dict[int, int], value: int) -> set[int]:
    return {v for v, end in last.items() if end == value}


def _uses(networks: Networks) -> tuple[dict[int, int], set[int]]:
    """When each value is read for the last time, and which are read as what they are, not only as differences."""
    tape = networks.first
    end = len(tape.shapes)
    last = dict.fromkeys(tape.outputs.values(), end)
    offsets: set[int] = set()
    for (value, ours), theirs in reversed(list(zip(tape.numbered(), networks.second.steps, strict=True))):
        if value not in last:
            continue
        for i in ours.inputs:
            last.setdefault(i, value)
        rest = rest_of(ours, theirs)
        if value in offsets or (rest is not None and rest.inputs):
            offsets.update(ours.inputs)
    return last, offsets


def _write(
    sheet: Sheet, networks: Networks, value: int, first: Step, second: Step, needed: tuple[bool, set[int]]
) -> None:
    offset, behind = needed
    triples = [networks.triples[i] for i in first.inputs]
    centre = [networks.centre[i] for i in first.inputs] if networks.centre else []
    match first, second:
        case Affine(), Affine():
            rest = rest_of(first, second)
            parts = [sheet.pushed(second, [(i, True) for i in first.inputs])]
            if rest is not None:
                parts.append(sheet.pushed(rest, [(i, False) for i in rest.inputs]))
                parts.append(sheet.fixed(affine_box(rest, centre[: len(rest.inputs)])))
            sheet.put((value, True), *parts)
            if offset:
                sheet.put((value, False), sheet.pushed(first, [(i, False) for i in first.inputs]))
        case Within(), Within():
            for kind in (False, True):
                sheet.put((value, kind), sheet.rows.get((first.inputs[0], kind)))
        case Gate(), Gate():
            gated(sheet, networks, value, first, second, offset, behind)
        case Select(), Select():
            done = selected(sheet, value, first, triples[0], centre[0] if centre else None, offset, behind)
            if not done:
                forgotten(sheet, networks, value, first, offset, behind)
        case Bilinear(), Bilinear():
            multiplied(sheet, networks, value, first, offset, behind)
        case _:
            raise AssertionError(first)
