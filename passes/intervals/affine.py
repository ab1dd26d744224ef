"""Boxes through affine steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch

from pathlift.passes.intervals.box import SMALLEST, Box, gamma
from pathlift.passes.tape.affine import Affine, Constant, Moved, Scaled, Shifted, Sum
from pathlift.passes.tape.coefficients import Coefficients

Tensor = torch.Tensor


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
            if linear_only:
                return Box.zero(step.shape, step.values.values.device)
            return coefficient_box(step.values).expanded(step.shape)
        case Shifted():
            x = boxes[0] if linear_only else boxes[0].plus(coefficient_box(step.shift))
            return x.expanded(step.shape)
        case Scaled():
            relative = step.factor.relative
            return (
                boxes[0].scaled(step.factor.values, relative)
                if relative < 1
                else boxes[0].times(coefficient_box(step.factor))
            )
        case Moved():
            move = step.linear if linear_only else step.run
            return Box(move(*(b.low for b in boxes)), move(*(b.high for b in boxes)))
    return around(*products(step, boxes))


def carried(step: Affine, ds: Sequence[Box]) -> Box:
    """Enclose what a step makes of differences; before the first weights that differ there are none."""
    if all(d.is_zero for d in ds):
        return Box.zero(step.shape, ds[0].low.device if ds else None)
    return affine_box(step, ds, linear_only=True)


def coefficient_box(c: Coefficients) -> Box:
    """Where the real numbers lie that coefficients stand for."""
    return Box.point(c.values) if c.error is None else Box.point(c.values).widened(c.error)


def products(step: Affine, boxes: Sequence[Box]) -> list[tuple[Tensor, Tensor]]:
    """Enclose what a linear step of one operand makes of several boxes, each of which is one value of that operand.

    Returns
    -------
    list
        A centre and a radius for each box; the coefficients are read once for all of them.
    """
    rounding = gamma(step.terms)
    centre = torch.stack([torch.lerp(box.low, box.high, 0.5) for box in boxes])
    reach = torch.stack([box.high for box in boxes]).sub_(centre)
    magnitude = centre.abs()
    # How far the centre is off the middle is a rounding among those that γ counts.
    uncertain = _each(partial(_uncertainty, step), magnitude + reach) if step.uncertain else None
    radius = _each(step.absolute, reach.add_(magnitude, alpha=rounding))
    if uncertain is not None:
        radius += uncertain
    radius = radius.mul_(1 + 4 * rounding).add_(step.terms * SMALLEST)
    return list(zip(_each(step.linear, centre), radius, strict=True))


def around(*parts: tuple[Tensor, Tensor]) -> Box:
    """The box of a sum, of whose terms centres and radii are given."""
    (centre, radius), *others = parts
    for c, r in others:
        centre = centre + c
        radius = (radius + r).add_(centre.abs(), alpha=4 * gamma(0))
    return Box.around(centre, radius)


def _uncertainty(step: Affine, x: Tensor) -> Tensor:
    found = step.uncertainty(x)
    assert found is not None
    return found


def _each(f: Callable[[Tensor], Tensor], stacked: Tensor) -> Tensor:
    # cuDNN may convolve by Fourier transforms, whose rounding is not that of sums of products.
    with torch.backends.cudnn.flags(enabled=False):
        return f(stacked[0])[None] if stacked.shape[0] == 1 else torch.func.vmap(f)(stacked)
