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
from pathlift.passes.intervals.box import SMALLEST, Box, gamma
from pathlift.passes.intervals.choices import pulled
from pathlift.passes.intervals.elementwise import Curve, slopes
from pathlift.passes.tape.affine import Affine
from pathlift.passes.tape.steps import Bilinear, Gate, Select, Step, Within
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
    sizes = [torch.Size(tape.shapes[value]).numel() for value in tape.outputs.values()]
    rows = torch.eye(sum(sizes), dtype=torch.float64) if rows is None else rows
    widest = max((torch.Size(s).numel() for s in tape.shapes), default=1)
    parts = [fold(tape, known, part) for part in torch.split(rows, max(1, int(MEMORY / 8 / max(1, widest))))]
    return [
        Box(torch.cat([p[i].low for p in parts]), torch.cat([p[i].high for p in parts]))
        for i in range(len(tape.inputs))
    ]


def fold(tape: Tape, known: Sequence[Box], rows: Tensor, visit: Callable[[int, Box], Box] | None = None) -> list[Box]:
    """Fold all rows at once.

    Parameters
    ----------
    tape, known, rows
        As `jacobian` has them.
    visit
        Given the number of a value, an input's too, and its rows, all of them; what it returns takes their place.
    """
    waiting: dict[int, Box] = {}

    def add(value: int, box: Box) -> None:
        waiting[value] = waiting[value].plus(box) if value in waiting else box

    for value, part in zip(tape.outputs.values(), by_output(tape, rows), strict=True):
        add(value, Box.point(part))
    for value, step in reversed(tape.numbered()):
        if value in waiting:
            box = waiting.pop(value)
            box = box if visit is None else visit(value, box)
            pulled_back = transposed(step, box, [known[i] for i in step.inputs])
            for operand, pulled_box in zip(step.inputs, pulled_back, strict=True):
                add(operand, pulled_box.known())
    zeros = (torch.zeros(len(rows), *shape, dtype=torch.float64) for shape in tape.inputs.values())
    found = [waiting.get(i, Box.point(zero)) for i, zero in enumerate(zeros)]
    return found if visit is None else [visit(i, box) for i, box in enumerate(found)]


def by_output(tape: Tape, rows: Tensor) -> list[Tensor]:
    """Rows over all outputs as ``(rows, *shape)`` per output."""
    shapes = [tape.shapes[value] for value in tape.outputs.values()]
    parts = torch.split(rows, [torch.Size(s).numel() for s in shapes], 1)
    return [part.reshape(len(rows), *s) for part, s in zip(parts, shapes, strict=True)]


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
            return [rows.times(bounded_slopes(step, operands[0]))]
        case Select():
            return [pulled(step, rows, operands[0])]
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


def bounded_slopes(step: Gate, operand: Box) -> Box:
    """Enclose the slopes of a gate's chords.

    Raises
    ------
    UnsupportedError
        If they are not bounded.
    """
    curve = Curve.of(step)
    found = slopes(curve, operand)
    check_bounded(step, found, jumps=curve.jumps(operand))
    return found


def check_bounded(step: Gate | Bilinear, box: Box, *, jumps: bool = False) -> None:
    """Check that slopes are bounded.

    Raises
    ------
    UnsupportedError
        If they are not.
    """
    if jumps or not box.bounded:
        raise UnsupportedError(
            "1395", "its slopes are not bounded there, which leaves no Lipschitz constant",
            hint="a smaller domain may bound them", node=step.node,
            op=step.f.name if isinstance(step, Gate) else "product",
        )  # fmt: skip


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
    uncertainty = uncertainty_of(step)
    if uncertainty is not None:
        reach = [r + u for r, u in zip(reach, _pulled(uncertainty, magnitude, step.shapes), strict=True)]
    return [
        Box.point(c).widened(r * (1 + 4 * rounding) + torch.Size(step.shape).numel() * SMALLEST)
        for c, r in zip(step.transpose(centre), reach, strict=True)
    ]


def uncertainty_of(step: Affine) -> Callable[..., Tensor] | None:
    """What errors of a step's coefficients add, as a linear function; ``None`` if they are exact."""
    if step.uncertainty(*(torch.zeros(s, dtype=torch.float64) for s in step.shapes)) is None:
        return None

    def off(*xs: Tensor) -> Tensor:
        found = step.uncertainty(*xs)
        assert found is not None
        return found

    return off


def _product(
    product: Callable[[Tensor, Tensor], Tensor], rows: Box, other: Box, shape: tuple[int, ...], step: Bilinear
) -> Box:
    """Rows of one operand: rows of the result times the other operand, centres and radii."""
    check_bounded(step, other)
    (centre, radius), (point, around) = rows.centre_radius(), other.centre_radius()
    rounding = gamma(torch.Size(step.shape).numel() + 8)
    magnitude = centre.abs() + radius

    def pull(x: Tensor, y: Tensor) -> Tensor:
        return _pulled(lambda a: product(a, y), x, [shape])[0]

    reach = pull(magnitude, around + rounding * point.abs()) + pull(radius, point.abs())
    return Box.point(pull(centre, point)).widened(
        reach * (1 + 8 * rounding) + torch.Size(step.shape).numel() * SMALLEST
    )
