"""Plans of two tapes, and of one: each step, and what it does to the values on a sheet."""

from __future__ import annotations

import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.passes.ellipsoids.gates import forgotten, gated, multiplied
from pathlift.passes.ellipsoids.moves import Widened
from pathlift.passes.ellipsoids.plan import Networks, Plan, Sheet, rest_of
from pathlift.passes.ellipsoids.tournament import selected
from pathlift.passes.intervals.affine import affine_box
from pathlift.passes.intervals.box import Box
from pathlift.passes.tape.affine import Affine
from pathlift.passes.tape.steps import Bilinear, Gate, Select, Step, Within

Tensor = torch.Tensor
LARGEST = 6000
"""Coordinates."""


def differences(networks: Networks, begin: int = 0) -> Plan:
    """Plan how to bound the difference of two networks over a box that both read.

    Parameters
    ----------
    networks
        The two, with what is known of their values.
    begin
        The number of the first value that is followed. Of those before, what is known is that they are in their boxes.

    Raises
    ------
    UnsupportedError
        If there are too many values, or one is neither tracked nor bounded.
    """
    check_width(networks, True, begin)
    sheet, last, offsets = Sheet(True), *_uses(networks)
    begin = max(begin, len(networks.first.inputs))
    boxes: dict[tuple[int, bool], Box] = {}
    for value in (v for v in range(begin) if last.get(v, -1) >= begin):
        t = networks.triples[value]
        if value in offsets or value < len(networks.first.inputs):
            boxes[value, False] = Box.point(t.a.minus(networks.centre[value]).magnitude)
        if bool((t.d.magnitude > 0).any()):
            boxes[value, True] = t.d
    sheet.begin({key: tuple(box.low.shape) for key, box in boxes.items()})
    size = sheet.size
    radii: list[Tensor] = []
    for key, box in boxes.items():
        centre, radius = box.centre_radius() if key[1] else (torch.zeros_like(box.low), box.high)
        radii.append(radius.reshape(-1))
        if bool((centre != 0).any()):
            sheet.put(key, sheet.rows[key], sheet.fixed(Box.point(centre)))
    radius = torch.cat(radii) if radii else torch.zeros(0, dtype=torch.float64)
    if not bool(radius.isfinite().all()):
        raise UnsupportedError("1391", "nothing is known that bounds the values that it begins with")
    sheet.moves.append(Widened("input", torch.arange(1, size), radius))
    return _written(sheet, networks, size, begin)


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
    check_width(networks, False)
    sheet = Sheet(False)
    sheet.begin({(i, True): shape for i, shape in enumerate(networks.first.inputs.values())})
    size = sheet.size
    if radius is not None:
        sheet.moves.append(Widened("input", torch.arange(size), radius, alone=True))
    return _written(sheet, networks, size, len(networks.first.inputs))


def _written(sheet: Sheet, networks: Networks, size: int, begin: int) -> Plan:
    tape = networks.first
    last, offsets = _uses(networks)
    for (value, ours), theirs in zip(tape.numbered(), networks.second.steps, strict=True):
        if value < begin or last.get(value, -1) < 0:
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


def widths(networks: Networks, constant: bool) -> list[tuple[int, int, bool]]:
    """Per value of the tapes: how many coordinates are live where it is computed, of which how many may pass a gate.

    Whether something is computed there by other than linear steps comes third.
    """
    tape = networks.first
    last, offsets = _uses(networks)

    def extent(value: int) -> int:
        return torch.Size(tape.shapes[value]).numel() * (1 + (constant and value in offsets))

    found = [(int(constant) + sum(extent(v) for v in range(len(tape.inputs))), 0, False)] * len(tape.inputs)
    for value, step in tape.numbered():
        if value not in last:
            found.append((0, 0, False))
            continue
        behind = sum(extent(v) for v, end in last.items() if v < value and end > value)
        own = max(extent(value), *(extent(i) for i in step.inputs)) if isinstance(step, Select) else extent(value)
        found.append((int(constant) + behind + own, own, not isinstance(step, Affine)))
    return found


def check_width(networks: Networks, constant: bool, begin: int = 0) -> None:
    """Refuse what would take too much memory, before any of it is taken.

    Raises
    ------
    UnsupportedError
        If there are too many values.
    """
    tape = networks.first
    nodes = ["the inputs"] * len(tape.inputs) + [step.node for step in tape.steps]
    for value, (width, _, _) in enumerate(widths(networks, constant)):
        if value >= begin and width > LARGEST:
            raise UnsupportedError(
                "1392", f"{width} values are live at once, and ellipsoids are made of at most {LARGEST} "
                f"(a matrix of these alone takes {8e-9 * width**2:.1f} GB)",
                hint="other methods bound such networks", node=nodes[value], op="step",
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
