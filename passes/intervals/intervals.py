"""Boxes of all values of a tape, from boxes of its inputs."""

from __future__ import annotations

from collections.abc import Sequence

from pathlift.passes.intervals.affine import affine_box
from pathlift.passes.intervals.box import SMALLEST, Box, gamma
from pathlift.passes.intervals.elementwise import Curve, image
from pathlift.passes.intervals.rectifiers import is_relu, relu
from pathlift.passes.tape.affine import Affine
from pathlift.passes.tape.steps import Bilinear, Gate, Select, Step, Within
from pathlift.passes.tape.tape import Tape


def intervals(tape: Tape, domain: Sequence[Box]) -> list[Box]:
    """Enclose every value of a tape over a domain.

    Parameters
    ----------
    tape
        The network.
    domain
        One box per input.

    Returns
    -------
    list
        One box per value; infinite where nothing is known.
    """
    boxes = list(domain)
    for step in tape.steps:
        boxes.append(enclose(step, [boxes[i] for i in step.inputs]))
    return boxes


def enclose(step: Step, boxes: Sequence[Box]) -> Box:
    """Enclose what a step makes of boxes."""
    match step:
        case Affine():
            return affine_box(step, boxes)
        case Gate():
            return relu(boxes[0]) if is_relu(step) else image(Curve.of(step), boxes[0])
        case Select():  # an order statistic is monotone in each operand
            return Box(step.statistic(boxes[0].low), step.statistic(boxes[0].high))
        case Bilinear():
            return bilinear_box(step, *boxes, square=step.inputs[0] == step.inputs[1])
        case Within():
            return Box(*(bound.clamp(min=step.low, max=step.high) for bound in (boxes[0].low, boxes[0].high)))
    raise AssertionError(step)


def bilinear_box(step: Bilinear, x: Box, y: Box, *, square: bool = False) -> Box:
    """Enclose a bilinear step, by centres and radii: xy = cx·cy + cx·(±ry) + (±rx)·cy ± rx·ry."""
    if step.terms == 1:  # elementwise
        product = x.expanded(step.shape).times(y.expanded(step.shape))
        return Box(product.low.clamp(min=0.0), product.high) if square else product
    (cx, rx), (cy, ry) = x.centre_radius(), y.centre_radius()
    rounding = gamma(step.terms)
    mx, my = cx.abs() + rx, cy.abs() + ry
    # |xy − cx·cy| ≤ rx·my + |cx|·ry, since |y| ≤ my.
    radius = step.product(rx + rounding * mx, my) + step.product(cx.abs(), ry)
    return Box.around(step.product(cx, cy), radius * (1 + 8 * rounding) + step.terms * SMALLEST)
