"""Boxes through affine steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pathlift.passes.intervals.box import SMALLEST, Box, gamma
from pathlift.passes.tape.steps import Affine, Constant, Moved, Scaled, Shifted, Step, Sum


def affine_box(step: Affine, boxes: Sequence[Box], *, linear_only: bool = False) -> Box:
    """Enclose what an affine step makes of boxes.

    Parameters
    ----------
    step
        The step; of its coefficients, all values within their errors are meant.
    boxes
        One per operand.
    linear_only
        Leave out what the step adds: of two networks' difference, it is gone.
    """
    match step:
        case Sum():
            return boxes[0].plus(boxes[1])
        case Constant():
            return Box.zero(step.shape, step.values.values.device) if linear_only else coefficient_box(step, ())
        case Shifted():
            x = Box(boxes[0].low.expand(step.shape), boxes[0].high.expand(step.shape))
            return x if linear_only else x.plus(_box(step.shift.values, step.shift.error))
        case Scaled():
            return boxes[0].times(_box(step.factor.values, step.factor.error))
        case Moved():
            lows, highs = [b.low for b in boxes], [b.high for b in boxes]
            move = step.linear if linear_only else step.view
            return Box(move(*lows), move(*highs))
    return _product(step, boxes)


def coefficient_box(step: Constant, shape: tuple[int, ...]) -> Box:
    """The box of a constant."""
    del shape
    return _box(step.values.values, step.values.error)


def _box(values: torch.Tensor, error: torch.Tensor | None) -> Box:
    return Box.point(values) if error is None else Box.point(values).widened(error)


def _product(step: Step, boxes: Sequence[Box]) -> Box:
    assert isinstance(step, Affine)
    parts = [box.centre_radius() for box in boxes]
    centre = step.linear(*(c for c, _ in parts))
    rounding = gamma(step.terms)
    magnitudes = [c.abs() + r for c, r in parts]
    radius = step.absolute(*(r + rounding * m for (_, r), m in zip(parts, magnitudes, strict=True)))
    uncertain = step.uncertainty(*magnitudes)
    if uncertain is not None:
        radius = radius + uncertain
    radius = radius * (1 + 4 * rounding) + step.terms * SMALLEST
    return Box(centre, centre).widened(radius)
