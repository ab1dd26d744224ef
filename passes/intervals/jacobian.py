"""Boxes of Jacobians, by one fold over a tape from its outputs to its inputs, and the Lipschitz constants they give.

Between any two points of a box, an activation rises by a slope times their distance, an order statistic by an average
over its pool of theirs, and a product by x'y' - xy = (x' - x)y' + x(y' - y). So f(x') - f(x) = J·(x' - x), where J is
a product of matrices whose entries are in boxes, and rows of J are folded through their transposes: a chain rule
without derivatives, which kinks do not trouble. Where slopes are those of gates that are open or shut, this is
Fast-Lip (Weng et al., Towards fast computation of certified robustness for ReLU networks, 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.selections import Sort
from pathlift.passes.intervals.box import SMALLEST, Box, gamma
from pathlift.passes.intervals.elementwise import Curve, slopes
from pathlift.passes.tape.steps import Affine, Bilinear, Gate, Select, Step, Within
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor
MEMORY = 2.0**27
"""Bytes that the rows of one value may take; more of them are folded one part after another."""


def jacobian(tape: Tape, known: Sequence[Box], rows: Tensor | None = None) -> list[Box]:
    """Enclose R·J for all J with f(x') - f(x) = J·(x' - x), x and x' in the domain that the boxes are of.

    Parameters
    ----------
    tape
        The network.
    known
        A box for each of its values, from `intervals`; infinite ones stand for all of ℝⁿ.
    rows
        R, ``(rows, elements of all outputs)``, float64; by default the identity.

    Returns
    -------
    list
        Per input ``(rows, *shape)``, rounded outward.

    Raises
    ------
    UnsupportedError
        If an activation's slopes are not bounded there; names the node.
    """
    shapes = tape.shapes
    sizes = [torch.Size(shapes[value]).numel() for value in tape.outputs.values()]
    rows = torch.eye(sum(sizes), dtype=torch.float64) if rows is None else rows
    widest = max((torch.Size(s).numel() for s in shapes), default=1)
    parts = [_folded(tape, known, part, sizes) for part in torch.split(rows, max(1, int(MEMORY / 8 / max(1, widest))))]
    return [
        Box(torch.cat([p[i].low for p in parts]), torch.cat([p[i].high for p in parts]))
        for i in range(len(tape.inputs))
    ]


def _folded(tape: Tape, known: Sequence[Box], rows: Tensor, sizes: Sequence[int]) -> list[Box]:
    waiting: dict[int, Box] = {}

    def add(value: int, box: Box) -> None:
        waiting[value] = waiting[value].plus(box) if value in waiting else box

    for value, part in zip(tape.outputs.values(), torch.split(rows, list(sizes), 1), strict=True):
        add(value, Box.point(part.reshape(len(rows), *tape.shapes[value])))
    for value, step in reversed(tape.numbered()):
        if value in waiting:
            pulled = transposed(step, waiting.pop(value), [known[i] for i in step.inputs])
            for operand, box in zip(step.inputs, pulled, strict=True):
                add(operand, box.known())
    zeros = (torch.zeros(len(rows), *shape, dtype=torch.float64) for shape in tape.inputs.values())
    return [waiting.get(i, Box.point(zero)) for i, zero in enumerate(zeros)]


def transposed(step: Step, rows: Box, operands: Sequence[Box]) -> list[Box]:
    """Enclose what rows of a step's result are as rows of its operands.

    Parameters
    ----------
    step
        The step.
    rows
        ``(R, *shape)``.
    operands
        Where the operands are.
    """
    match step:
        case Affine():
            return _affine(step, rows)
        case Gate():
            return [rows.times(_bounded(step, operands[0]))]
        case Select():
            return [_select(step, rows, operands[0])]
        case Bilinear():
            x, y = operands
            shapes = step.shapes
            return [
                _product(lambda a, b: step.product(a, b), rows, y, shapes[0], step),
                _product(lambda a, b: step.product(b, a), rows, x, shapes[1], step),
            ]
        case Within():
            return [rows]
    raise AssertionError(step)


def _bounded(step: Gate, operand: Box) -> Box:
    found = slopes(Curve.of(step), operand)
    if step.f.jump or not found.bounded:
        raise UnsupportedError(
            "1514", "its slopes are not bounded there, which leaves no Lipschitz constant",
            hint="a smaller domain may bound them", node=step.node, op=step.f.name,
        )  # fmt: skip
    return found


def _pulled(f: Callable[..., Tensor], rows: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Apply the transpose of a linear function."""
    pull = torch.func.vjp(f, *(torch.zeros(s, dtype=rows.dtype) for s in shapes))[1]
    return list(torch.func.vmap(pull)(rows))


def _affine(step: Affine, rows: Box) -> list[Box]:
    if not step.inputs:
        return []
    centre, radius = rows.centre_radius()
    # An element of a transpose adds up at most as many products as the result has elements, each rounded a few times.
    rounding = gamma(torch.Size(step.shape).numel() + step.terms + 8)
    magnitude = centre.abs() + radius
    reach = _pulled(step.absolute, radius + rounding * magnitude, step.shapes)
    if step.uncertainty(*(torch.zeros(s, dtype=torch.float64) for s in step.shapes)) is not None:
        reach = [r + u for r, u in zip(reach, _pulled(_certain(step), magnitude, step.shapes), strict=True)]
    return [
        Box.point(c).widened(r * (1 + 4 * rounding) + torch.Size(step.shape).numel() * SMALLEST)
        for c, r in zip(step.transpose(centre), reach, strict=True)
    ]


def _certain(step: Affine) -> Callable[..., Tensor]:
    def off(*xs: Tensor) -> Tensor:
        found = step.uncertainty(*xs)
        assert found is not None
        return found

    return off


def _product(
    product: Callable[[Tensor, Tensor], Tensor], rows: Box, other: Box, shape: tuple[int, ...], step: Bilinear
) -> Box:
    """Rows of one operand: rows of the result times the other operand, centres and radii."""
    if not other.bounded:
        raise UnsupportedError(
            "1514", "its slopes are not bounded there, which leaves no Lipschitz constant",
            hint="a smaller domain may bound them", node=step.node, op="product",
        )  # fmt: skip
    (centre, radius), (point, around) = rows.centre_radius(), other.centre_radius()
    rounding = gamma(torch.Size(step.shape).numel() + 8)
    magnitude = centre.abs() + radius

    def pull(x: Tensor, y: Tensor) -> Tensor:
        return _pulled(lambda a: product(a, y), x, [shape])[0]

    reach = pull(magnitude, around + rounding * point.abs()) + pull(radius, point.abs())
    return Box.point(pull(centre, point)).widened(
        reach * (1 + 8 * rounding) + torch.Size(step.shape).numel() * SMALLEST
    )


def _select(step: Select, rows: Box, operand: Box) -> Box:
    """Rows of what order statistics choose from.

    The result moves by an average of how far the operand's elements do, with weights for those only that can be chosen
    somewhere in the box. A pool over several axes is one over each in turn.
    """
    statistic, rank = step.statistic, operand.low.ndim
    if isinstance(statistic, Sort):
        (axis,) = statistic.mixed_axes(rank)
        return _sorted(statistic, rows, operand, axis)
    negative = not getattr(statistic, "largest", True)
    box = Box(-operand.high, -operand.low) if negative else operand
    stages = []
    for axis in statistic.mixed_axes(rank):
        pools = torch.from_numpy(statistic.pools(axis, box.low.shape[axis]).copy())
        stages.append((axis, pools, box))
        box = Box(*(_taken(side, axis, pools).amax(axis + 1) for side in (box.low, box.high)))
    rows = Box(*(side.reshape(-1, *box.low.shape) for side in (rows.low, rows.high)))
    for axis, pools, before in reversed(stages):
        rows = _chosen(rows, before, axis, pools)
    return rows


def _taken(x: Tensor, axis: int, pools: Tensor) -> Tensor:
    """What pools along an axis hold, ``(…, pools, k, …)``; -∞ for padding."""
    taken = x.index_select(axis, pools.clamp(min=0).reshape(-1))
    taken = taken.reshape(*x.shape[:axis], *pools.shape, *x.shape[axis + 1 :])
    return torch.where((pools >= 0).reshape(*pools.shape, *[1] * (x.ndim - axis - 1)), taken, -torch.inf)


def _chosen(rows: Box, box: Box, axis: int, pools: Tensor) -> Box:
    """Rows of what maxima along one axis choose from."""
    low, high = (_taken(side, axis, pools) for side in (box.low, box.high))
    able = high >= low.amax(axis + 1, keepdim=True)
    able &= (pools >= 0).reshape(*pools.shape, *[1] * (box.low.ndim - axis - 1))
    alone = able.sum(axis + 1, keepdim=True) == 1
    sums = [torch.zeros(len(rows.low), *box.low.shape, dtype=torch.float64) for _ in range(3)]
    for k in range(pools.shape[1]):
        mine, only = able.select(axis + 1, k), alone.squeeze(axis + 1)
        ends = (
            torch.where(only, rows.low, rows.low.clamp(max=0)),
            torch.where(only, rows.high, rows.high.clamp(min=0)),
        )
        ends = (torch.where(mine, ends[0], 0.0), torch.where(mine, ends[1], 0.0))
        index = pools[:, k].clamp(min=0)
        for total, part in zip(sums, (*ends, torch.maximum(ends[0].abs(), ends[1].abs())), strict=True):
            total.index_add_(axis + 1, index, part)
    off = gamma(pools.numel()) * sums[2]
    return Box(sums[0], sums[1]).widened(off)


def _sorted(statistic: Sort, rows: Box, operand: Box, axis: int) -> Box:
    """Rows of what is sorted: each element is at one rank, of those that it can have, or beyond the first k."""
    low, high = (side.movedim(axis, -1) for side in (operand.low, operand.high))
    if not statistic.largest:
        low, high = -high, -low
    above = (low[..., None, :] > high[..., :, None]).sum(-1)  # how many are larger whatever happens
    below = (high[..., None, :] < low[..., :, None]).sum(-1)
    first, last = above, low.shape[-1] - 1 - below
    p = [side.movedim(axis + 1, -1) for side in (rows.low, rows.high)]
    beyond = last >= statistic.k
    least = torch.where(beyond, 0.0, torch.inf).expand(len(p[0]), *first.shape).clone()
    most = -least
    for rank in range(statistic.k):
        held = (first <= rank) & (rank <= last)
        least = torch.where(held, torch.minimum(least, p[0][..., rank : rank + 1]), least)
        most = torch.where(held, torch.maximum(most, p[1][..., rank : rank + 1]), most)
    return Box(least.movedim(-1, axis + 1), most.movedim(-1, axis + 1))
