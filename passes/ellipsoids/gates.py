"""Steps that are not affine, on a sheet: activations, products, and what is only known to be in a box."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.passes.ellipsoids.plan import Networks, Sheet
from pathlift.passes.ellipsoids.sectors import chords
from pathlift.passes.intervals.box import Box, gamma
from pathlift.passes.intervals.elementwise import Curve, gap, slopes
from pathlift.passes.intervals.intervals import bilinear_box
from pathlift.passes.tape.steps import Bilinear, Gate, Step

Tensor = torch.Tensor


def gated(
    sheet: Sheet, networks: Networks, value: int, first: Gate, second: Gate, offset: bool, behind: set[int]
) -> None:
    """Send a value through an activation: a sector, and a box for what jumps, differs, or has no bounded slope.

    Raises
    ------
    UnsupportedError
        If nothing bounds the result, or, where increments are followed, there is no Lipschitz constant.
    """
    (operand,) = first.inputs
    ours, theirs = Curve.of(first), Curve.of(second)
    t, out = networks.triples[operand], networks.triples[value]
    centres: list[Box | None] = [None, None]
    radii: list[Tensor | None] = [None, None]
    sectors: list[Box | None] = [None, None]
    difference = (operand, True) in sheet.rows
    apart = None if ours.same(theirs) and not ours.f.jump else gap(ours, theirs, t.a)
    if not sheet.constant and not ours.jumps(t.both):
        apart = None if ours.same(theirs) else apart
    if not sheet.constant and apart is not None:
        raise UnsupportedError("1393", "it jumps, and has no Lipschitz constant", node=first.node, op=ours.f.name)
    if offset:
        assert networks.centre
        sector = chords(ours, networks.centre[operand], t.a)
        jumps = torch.full_like(t.a.low, 2 * ours.f.jump)
        fresh = out.a.minus(networks.centre[value])
        sectors[0], centres[0], radii[0] = _bounded(sector, Box.zero(first.shape), jumps, fresh)
    if difference or apart is not None:
        sector = slopes(theirs, t.both)
        if not sheet.constant:
            if not bool((sector.high - sector.low).isfinite().all()):
                raise UnsupportedError(
                    "1393", "its slope is not bounded, so it has no Lipschitz constant",
                    hint="a smaller domain may bound it", node=first.node, op=ours.f.name,
                )  # fmt: skip
            sectors[1] = sector
        else:
            apart = Box.zero(first.shape) if apart is None else apart
            centre, radius = apart.centre_radius()
            radius = torch.where(apart.low == apart.high, 0.0, radius)
            sectors[1], centres[1], radii[1] = _bounded(sector, Box.point(centre), radius, out.d)
    for kind in (False, True):
        sector_ = sectors[kind]
        if sector_ is not None:
            zero = Box.zero((sheet.size, *first.shape))
            sheet.put((value, kind), sheet.rows.get((operand, kind), zero))
    sheet.keep(behind | {value})
    places = sheet.settle(value, operand, first.node)
    if not any(k[0] == value for k in places):
        return
    sheet.gate(f"gate{value}", first.node, places, value, sectors[0], sectors[1])
    _finish(sheet, value, first, places, centres, radii)


def _finish(
    sheet: Sheet, value: int, step: Step, places: dict[tuple[int, bool], slice], centres: Sequence[Box | None],
    radii: Sequence[Tensor | None],
) -> None:  # fmt: skip
    """Add boxes and constants to a value's coordinates."""
    for kind in (False, True):
        radius, centre = radii[kind], centres[kind]
        if radius is not None:
            sheet.widen(f"box{value}{'d' if kind else ''}", places[value, kind], radius, step.node)
        if centre is not None and bool((centre.magnitude > 0).any()):
            sheet.put((value, kind), sheet.rows[value, kind], sheet.fixed(centre))
    if all(c is None or not bool((c.magnitude > 0).any()) for c in centres):
        sheet.read(value, value, places)


def _bounded(sector: Box, centre: Box, radius: Tensor, fresh: Box) -> tuple[Box, Box, Tensor]:
    """Where a sector is not finite: no sector, and a box of the result."""
    wild = ~(sector.low.isfinite() & sector.high.isfinite())
    c, r = fresh.centre_radius()
    return (
        Box(torch.where(wild, 0.0, sector.low), torch.where(wild, 0.0, sector.high)),
        Box(torch.where(wild, c, centre.low), torch.where(wild, c, centre.high)),
        torch.where(wild, r, radius),
    )


def forgotten(sheet: Sheet, networks: Networks, value: int, step: Step, offset: bool, behind: set[int]) -> None:
    """Forget where a value comes from, and keep the box that it is in.

    Raises
    ------
    UnsupportedError
        If there is none.
    """
    if not sheet.constant:
        raise UnsupportedError("1393", "its Lipschitz constant is not tracked", node=step.node, op="Sort")
    zero = Box.zero((sheet.size, *step.shape))
    boxes = [networks.triples[value].a.minus(networks.centre[value]) if offset else None, networks.triples[value].d]
    _replace(sheet, value, step, [zero if offset else None, zero], boxes, behind)


def _replace(
    sheet: Sheet, value: int, step: Step, rows: Sequence[Box | None], boxes: Sequence[Box | None], behind: set[int]
) -> None:
    """Write a value down as what is linear in others, plus something in a box."""
    for kind in (False, True):
        row = rows[kind]
        if row is not None:
            sheet.put((value, kind), row)
    sheet.keep(behind | {value})
    places = sheet.settle(value, None, step.node)
    parts = [None if b is None else b.centre_radius() for b in boxes]
    centres = [None if p is None else Box.point(p[0]) for p in parts]
    _finish(sheet, value, step, places, centres, [None if p is None else p[1] for p in parts])


def multiplied(sheet: Sheet, networks: Networks, value: int, step: Bilinear, offset: bool, behind: set[int]) -> None:
    """A product of two values, each a centre plus something: linear in what is added, plus a box for their product.

    With centres c and d of x and y, ξ = x − c, η = y − d: xy − x₀y₀ = cη + ξd + [ξη − (x₀ − c)… ] and, for the
    differences, x_b·y_b − x_a·y_a = δx·d + c·δy + [δx·(y_b − d) + (x_a − c)·δy]. What is in brackets is a box.
    """
    if not sheet.constant:
        raise UnsupportedError("1393", "a product has no Lipschitz constant that is tracked", node=step.node, op="Mul")
    x, y = step.inputs
    tx, ty = networks.triples[x], networks.triples[y]
    cx, cy = (networks.centre[i].centre_radius()[0] for i in (x, y))

    def times(left: bool, point: Tensor) -> Callable[[Box], Box]:
        def product(box: Box) -> Box:
            centre, radius = box.centre_radius()
            grown = radius + gamma(step.terms) * (centre.abs() + radius)
            pair = (centre, point) if left else (point, centre)
            bound = (grown, point.abs()) if left else (point.abs(), grown)
            middle = step.product(*pair)
            return Box(middle, middle).widened(step.product(*bound) * (1 + 4 * gamma(step.terms)))

        return product

    rows: list[Box | None] = []
    boxes: list[Box | None] = []
    zero = Box.zero((sheet.size, *step.shape))
    for kind in (False, True):
        if not kind and not offset:
            rows.append(None)
            boxes.append(None)
            continue
        left = sheet.mapped(times(True, cy), [(x, kind)], [step.shapes[0]])
        right = sheet.mapped(times(False, cx), [(y, kind)], [step.shapes[1]])
        there = [p for p in (left, right) if p is not None]
        rows.append(there[0].plus(there[1]) if len(there) == 2 else (there[0] if there else zero))
        px, py = Box.point(cx), Box.point(cy)
        if kind:
            extra = bilinear_box(step, tx.d, ty.b.minus(py)).plus(bilinear_box(step, tx.a.minus(px), ty.d))
        else:  # with x = x₀ + ξ: xy − x₀y₀ − cη − ξd = ξη + (x₀ − c)η + ξ(y₀ − d)
            x0, y0 = networks.centre[x], networks.centre[y]
            xi, eta = tx.a.minus(x0), ty.a.minus(y0)
            extra = bilinear_box(step, xi, eta)
            extra = extra.plus(bilinear_box(step, x0.minus(px), eta)).plus(bilinear_box(step, xi, y0.minus(py)))
        if not extra.bounded:
            raise UnsupportedError("1391", "nothing is known that bounds its operands", node=step.node, op="product")
        boxes.append(extra)
    _replace(sheet, value, step, rows, boxes, behind)
