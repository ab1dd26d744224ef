"""Linear relaxation of the fold that makes Jacobians: tighter rows, and sums of their magnitudes.

The fold computes an adjoint p_v for each value v, from the outputs to the inputs. For numbers a, Σ a·p over the inputs
is pushed back to where it came from, which is forward through the network:

    an affine step made Lᵀp_c of the adjoint p_c of its result, and a·Lᵀp_c = (L·a)·p_c;
    any other made Tᵀp_c, with T from a set of matrices, and a·Tᵀp_c = (T·a)·p_c, where each element of T·a is in an
    interval [B, A]. If p_c is in [l, u], (T·a)·p ≤ max(A·p, B·p), which is convex in p, so that a chord is above it,
    and no line that is above it on [l, u] is below the chord: λ·p + c.

At the outputs, p is known. So the relaxation has nothing to choose; intervals [l, u] are from the fold itself, and
where they hold both signs, from relaxations of their own. Between ReLUs this is what Shi et al. do (Efficiently
computing local Lipschitz constants of neural networks via bound propagation, 2022); here a pool's weights are one
choice, too.

Rounding. a is of our choice at every step, so it counts only how far the two sides are apart: for affine steps
γₙ·(|L||a|)·|p|, and what the coefficients' own errors add.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from pathlift.passes.intervals.box import SMALLEST, Box, U, gamma, up
from pathlift.passes.intervals.choices import pushed
from pathlift.passes.intervals.jacobian import MEMORY, bounded_slopes, by_output, check_bounded, fold, uncertainty_of
from pathlift.passes.tape.affine import Affine
from pathlift.passes.tape.steps import Bilinear, Gate, Select, Step, Within
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor
Wanted = Callable[[int], bool]
MORE = 1 + 1e-6
"""What sums of fewer than 2**32 magnitudes are off by, and more."""


class Adjoints:
    """Adjoints of all values of a tape, for some rows of its outputs.

    Parameters
    ----------
    tape, known, rows
        As `jacobian` has them.
    wanted
        Asked, with how many numbers are to be computed, whether to tighten a value's adjoints.

    Attributes
    ----------
    inputs
        Boxes of rows of Jacobians, ``(rows, *shape)`` per input, none wider than those of `jacobian`.
    """

    def __init__(self, tape: Tape, known: Sequence[Box], rows: Tensor, wanted: Wanted) -> None:
        self.tape, self.known, self.rows, self.wanted = tape, known, rows, wanted
        self.boxes: dict[int, Box] = {}
        self.numbers = sum(torch.Size(s).numel() for s in tape.shapes)
        self.inputs = fold(tape, known, rows, self._visit)

    def sums(self, moving: Sequence[Tensor]) -> Tensor:
        """Bound Σ|p| over the elements of the inputs that move, per row, from above.

        Parameters
        ----------
        moving
            Per input, a mask.
        """
        starts, total = {}, torch.zeros(len(self.rows), 1, dtype=torch.float64)
        for i, (box, mask) in enumerate(zip(self.inputs, moving, strict=True)):
            one = mask.double().expand_as(box.low)
            slope, offset = chord(Box(-one, one), box)
            starts[i] = slope[:, None]
            total = raised(total, summed(offset[:, None]))
        return self.above(starts, total)[:, 0]

    def above(self, starts: Mapping[int, Tensor], total: Tensor) -> Tensor:
        """Bound Σ a·p over some values from above, plus what is given.

        Parameters
        ----------
        starts
            a by value, ``(rows, M, *shape)``, of values of which none is made of another one.
        total
            ``(rows, M)``.
        """
        places = dict(starts)
        for value, step in self.tape.numbered():
            if value in starts or value not in self.boxes or not any(i in places for i in step.inputs):
                continue
            first = next(iter(starts.values()))
            xs = [
                places.get(i, torch.zeros(*first.shape[:2], *s, dtype=torch.float64))
                for i, s in zip(step.inputs, step.shapes, strict=True)
            ]
            places[value], added = self._step(step, xs, self.boxes[value])
            total = raised(total, added)
        for value, part in zip(self.tape.outputs.values(), by_output(self.tape, self.rows), strict=True):
            if value in places:
                total = raised(total, summed(places[value] * part[:, None]))
        return total

    def _visit(self, value: int, box: Box) -> Box:
        """Keep a value's adjoints, tightened where that matters: before what is not affine, and at the inputs."""
        inputs = len(self.tape.inputs)
        step = self.tape.steps[value - inputs] if value >= inputs else None
        if not isinstance(step, Affine | Within):
            loose = ((box.low < 0) & (box.high > 0)).any(0)
            if isinstance(step, Gate):
                s = bounded_slopes(step, self.known[step.inputs[0]])
                loose &= s.low < s.high
            where = loose.flatten().nonzero()[:, 0]
            if len(where) and self.boxes and self.wanted(2 * len(where) * len(self.rows) * self.numbers):
                box = self._tightened(value, where, box)
        self.boxes[value] = box
        return box

    def _tightened(self, value: int, where: Tensor, box: Box) -> Box:
        rows, shape = len(self.rows), box.low.shape[1:]
        widest = max(torch.Size(s).numel() for s in self.tape.shapes)
        high = box.high.flatten(1).clone()
        low = box.low.flatten(1).clone()
        for part in torch.split(where, max(1, int(MEMORY / 8 / widest / rows / 4))):
            ends = []
            for sign in (1.0, -1.0):
                start = torch.zeros(1, len(part), shape.numel(), dtype=torch.float64)
                start[0, torch.arange(len(part)), part] = sign
                start = start.expand(rows, -1, -1).reshape(rows, len(part), *shape)
                ends.append(self.above({value: start}, torch.zeros(rows, len(part), dtype=torch.float64)))
            high[:, part], low[:, part] = ends[0], -ends[1]
        return box.meet(Box(low.reshape(box.low.shape), high.reshape(box.low.shape)))

    def _step(self, step: Step, xs: Sequence[Tensor], p: Box) -> tuple[Tensor, Tensor]:
        """Push numbers through a step; return them, and what is to be added, ``(rows, M)``."""
        rows, count = xs[0].shape[:2]
        flat = [x.flatten(0, 1) for x in xs]

        def back(y: Tensor) -> Tensor:
            return y.reshape(rows, count, *step.shape)

        if isinstance(step, Within):
            return xs[0], torch.zeros(rows, count, dtype=torch.float64)
        if isinstance(step, Affine):
            off = gamma(step.terms + 4) * torch.func.vmap(step.absolute)(*(x.abs() for x in flat))
            if (uncertainty := uncertainty_of(step)) is not None:
                off = off + torch.func.vmap(uncertainty)(*(x.abs() for x in flat))
            error = back(off) * p.magnitude[:, None]
            added = error.nan_to_num(torch.inf, torch.inf).flatten(2).sum(2) * MORE
            return back(torch.func.vmap(step.linear)(*flat)), added + error[0, 0].numel() * SMALLEST
        image = self._image(step, flat)
        slope, offset = chord(Box(back(image.low), back(image.high)), Box(p.low[:, None], p.high[:, None]))
        return slope, summed(offset)

    def _image(self, step: Step, flat: Sequence[Tensor]) -> Box:
        """Enclose T·a for all T."""
        operands = [self.known[i] for i in step.inputs]
        match step:
            case Gate():
                return Box.point(flat[0]).times(bounded_slopes(step, operands[0]))
            case Select():
                return pushed(step, flat[0], operands[0])
            case Bilinear():
                return _product(step, flat, operands)
        raise AssertionError(step)


def _product(step: Bilinear, flat: Sequence[Tensor], operands: Sequence[Box]) -> Box:
    """a_x·y + x·a_y for all x and y."""
    for box in operands:
        check_bounded(step, box)
    (cx, rx), (cy, ry) = (box.centre_radius() for box in operands)
    rounding = gamma(step.terms + 4)

    def both(x: Tensor, y: Tensor, left: Tensor, right: Tensor) -> Tensor:
        return torch.func.vmap(lambda a, b: step.product(a, right) + step.product(left, b))(x, y)

    ax, ay = flat
    reach = both(ax.abs(), ay.abs(), rx + 2 * rounding * cx.abs(), ry + 2 * rounding * cy.abs())
    return Box.point(both(ax, ay, cx, cy)).widened(reach * (1 + 8 * rounding) + 2 * step.terms * SMALLEST)


def chord(factor: Box, p: Box) -> tuple[Tensor, Tensor]:
    """Return λ and c with c·p ≤ λ·p + c for all factors c and all p in their boxes, the least at both ends of p's."""

    def most(x: Tensor) -> Tensor:
        return torch.maximum(factor.low * x, factor.high * x)

    width = p.high - p.low
    ends = most(p.low), most(p.high)
    steep = (ends[1] - ends[0]) / torch.where(width > 0, width, 1.0)
    slope = torch.where(width > 0, steep, torch.where(p.high > 0, factor.high, factor.low))
    slope = slope.nan_to_num(0.0, 0.0, 0.0)
    # Whatever the slope is, max(A·p, B·p) - λ·p is convex, and so largest at an end.
    over = [y - slope * x for y, x in zip(ends, (p.low, p.high), strict=True)]
    off = [4 * U * (y.abs() + (slope * x).abs()) + SMALLEST for y, x in zip(ends, (p.low, p.high), strict=True)]
    offset = torch.maximum(over[0] + off[0], over[1] + off[1])
    nothing = (p.low == 0) & (p.high == 0)
    return slope, torch.where(nothing, 0.0, offset.nan_to_num(torch.inf, torch.inf, torch.inf))


def summed(x: Tensor) -> Tensor:
    """Σ over all but the first two axes, rounded up."""
    flat = x.flatten(2)
    total = flat.sum(2) + gamma(flat.shape[2]) * MORE * flat.abs().nan_to_num(torch.inf).sum(2)
    return raised(total, torch.zeros_like(total)).nan_to_num(torch.inf, torch.inf)


def raised(x: Tensor, y: Tensor) -> Tensor:
    """x + y, rounded up."""
    return up(x + y)
