"""Rows through a gate: for each neuron the relaxation that is highest at the centre of what is known.

Neurons that do not bend within their boxes are exact. Of the others, piecewise-linear ones go by the corners of their
hexagon; curved ones by a line for each network's gate, or by a line for the first one's and a chord of the slopes for
the difference, σ·δ with σ between the least and the largest slope. Where a box is unbounded, the box of the result is
what is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pathlift.passes.intervals.box import SMALLEST, U
from pathlift.passes.intervals.elementwise import Curve, gap, slopes
from pathlift.passes.intervals.pairs import Triple
from pathlift.passes.relaxations.hexagon import Corners, interval_corners, pair_corners
from pathlift.passes.relaxations.lines import Line, linear_on, lines
from pathlift.passes.relaxations.rounding import MORE, flat, floor, total

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class Chosen:
    """Slopes of some neurons of a gate, one per row.

    Parameters
    ----------
    at
        ``(U,)`` positions of the neurons.
    slopes
        ``(U, R, k)``: of z, and, for two networks, of δ.
    """

    at: Tensor
    slopes: Tensor


class GateRelaxation:
    """Lower bounds of P·f_a(z) + Q·(f_b(z+δ) − f_a(z)).

    Parameters
    ----------
    ours, theirs
        The activations; ``theirs`` is ``None`` for one network alone.
    operand, result
        What is known of z and of the gate's values; for one network alone, ``a`` is it.
    """

    def __init__(self, ours: Curve, theirs: Curve | None, operand: Triple, result: Triple) -> None:
        self.theirs, self.result = theirs, result
        boxes = [operand.a] if theirs is None else [operand.a, operand.b, operand.d]
        finite = torch.ones_like(operand.a.low, dtype=torch.bool)
        for box in boxes:
            finite &= box.low.isfinite() & box.high.isfinite()
        curves = [(ours, operand.a)] if theirs is None else [(ours, operand.a), (theirs, operand.b)]
        straight = torch.ones_like(finite)
        self.lines: list[tuple[Line, Line]] = []
        for curve, box in curves:
            pair = lines(curve, box)
            for line in pair:
                finite &= line.slope.isfinite() & line.offset.isfinite()
            straight &= linear_on(curve, box)
            self.lines.append(pair)
        if theirs is not None and not (ours.f.affine and theirs.f.affine):
            difference = _difference(ours, theirs, operand)
            self.lines.append(difference)
            for line in difference:
                finite &= line.slope.isfinite() & line.offset.isfinite()
        self.unknown = ~finite
        self.lines = [(line.where(finite), other.where(finite)) for line, other in self.lines]
        self.piecewise = ours.f.affine and (theirs is None or theirs.f.affine)
        at = (finite & ~straight).flatten().nonzero()[:, 0] if self.piecewise else torch.zeros(0, dtype=torch.int64)
        self.corners: Corners | None = None
        if len(at) and theirs is None:
            self.corners = interval_corners(ours, operand.a, at)
        elif len(at) and theirs is not None:
            self.corners = pair_corners(ours, theirs, operand, at)
        bends = torch.zeros_like(straight).flatten().index_fill(0, at, True).reshape(straight.shape)
        self.straight = [line.where(~bends) for line, _ in self.lines]
        self.sizes = [torch.where(self.unknown, 0.0, box.magnitude) for box in boxes]
        self.centres = [torch.where(self.unknown, 0.0, 0.5 * b.low + 0.5 * b.high) for b in boxes]

    def rows(
        self, p: Tensor, q: Tensor | None, chosen: Chosen | None
    ) -> tuple[Tensor, Tensor | None, Tensor, Chosen | None]:
        """Return slopes of z and of δ, the offset, rounded down, and the slopes where they were free.

        Parameters
        ----------
        p, q
            ``(R, *shape)``; ``q`` is ``None`` for one network alone.
        chosen
            Slopes to use; neurons that it does not name get those that look best.
        """
        slopes, offset = self._by_lines(p, q)
        if q is not None and len(self.lines) == 3:
            slopes, offset = self._better(slopes, offset, *self._by_slopes(p, q))
        if bool(self.unknown.any()):
            lowest = floor(p, q, self.result)
            slopes = [torch.where(self.unknown, 0.0, s) for s in slopes]
            offset = torch.where(self.unknown, lowest, offset)
        used = None
        if self.corners is not None:
            used, offsets = self._by_corners(p, q, chosen)
            slopes = [
                flat(s).index_copy(1, used.at, used.slopes[..., i].T).reshape(s.shape) for i, s in enumerate(slopes)
            ]
            offset = flat(offset).index_copy(1, used.at, offsets.T).reshape(offset.shape)
        return slopes[0], slopes[1] if q is not None else None, total(offset), used

    def unrounded(
        self, p: Tensor, q: Tensor | None, chosen: Chosen | None
    ) -> tuple[Tensor, Tensor | None, Tensor, Chosen | None]:
        """The same as `rows`, but cheaper, and rounded anyhow, where all neurons that bend have slopes given."""
        corners = self.corners
        if not self.piecewise or bool(self.unknown.any()):
            return self.rows(p, q, chosen)
        if corners is not None and (chosen is None or chosen.slopes.shape[0] != len(corners.at)):
            return self.rows(p, q, chosen)
        ours, theirs = (line.to(p.dtype) for line in (self.straight[0], self.straight[-1]))
        offset = flat(p if q is None else p - q) @ ours.offset.flatten()
        if q is not None:
            offset = offset + flat(q) @ theirs.offset.flatten()
        slopes = [p * ours.slope] if q is None else [p * ours.slope + q * (theirs.slope - ours.slope), q * theirs.slope]
        if corners is not None and chosen is not None:
            rows = torch.stack([flat(r)[:, corners.at].T for r in ([p] if q is None else [p, q])], -1)
            slopes = [
                flat(s).index_copy(1, corners.at, chosen.slopes[..., i].T).reshape(s.shape)
                for i, s in enumerate(slopes)
            ]
            offset = offset + corners.to(p.dtype).unrounded(rows, chosen.slopes).sum(0)
        return slopes[0], slopes[1] if q is not None else None, offset, chosen

    def _by_corners(self, p: Tensor, q: Tensor | None, chosen: Chosen | None) -> tuple[Chosen, Tensor]:
        corners = self.corners
        assert corners is not None
        rows = torch.stack([flat(r)[:, corners.at].T for r in ([p] if q is None else [p, q])], -1)
        if chosen is not None and torch.equal(chosen.at, corners.at):
            return chosen, corners.offsets(rows, chosen.slopes)
        slopes, offsets = corners.start(rows)
        if chosen is not None:
            slopes = slopes.clone()
            where = {int(n): i for i, n in enumerate(chosen.at)}
            for i, n in enumerate(corners.at.tolist()):
                if n in where:
                    slopes[i] = chosen.slopes[where[n]]
            offsets = corners.offsets(rows, slopes)
        return Chosen(corners.at, slopes), offsets

    def _by_lines(self, p: Tensor, q: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """A line for each network's gate."""
        if q is None:
            line = _of_sign(p, self.lines[0])
            return self._rounded(
                [p * line.slope], p * line.offset, [p.abs() * line.slope.abs()], p.abs() * line.offset.abs()
            )
        a = p - q
        x, y = _of_sign(a, self.lines[0]), _of_sign(q, self.lines[1])
        offset = a * x.offset + q * y.offset
        size = p.abs() * x.slope.abs() + q.abs() * (x.slope.abs() + y.slope.abs())
        return self._rounded(
            [p * x.slope + q * (y.slope - x.slope), q * y.slope], offset, [size, q.abs() * y.slope.abs()],
            a.abs() * x.offset.abs() + q.abs() * y.offset.abs(),
        )  # fmt: skip

    def _by_slopes(self, p: Tensor, q: Tensor) -> tuple[list[Tensor], Tensor]:
        """A line for the first network's gate, and one for the difference."""
        x, y = _of_sign(p, self.lines[0]), _of_sign(q, self.lines[2])
        return self._rounded(
            [p * x.slope, q * y.slope], p * x.offset + q * y.offset,
            [p.abs() * x.slope.abs(), q.abs() * y.slope.abs()],
            p.abs() * x.offset.abs() + q.abs() * y.offset.abs(),
        )  # fmt: skip

    def _rounded(
        self, slopes: list[Tensor], offset: Tensor, sizes: list[Tensor], size: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """Take from the offset what slopes, products of two or three numbers, and itself may be off."""
        magnitudes = [self.sizes[0]] if len(slopes) == 1 else [self.sizes[0], self.sizes[2]]
        error = size
        for s, m in zip(sizes, magnitudes, strict=True):
            error = error + s * m
        return slopes, offset - (8 * U * MORE) * error - SMALLEST

    def _better(self, s: list[Tensor], x: Tensor, t: list[Tensor], y: Tensor) -> tuple[list[Tensor], Tensor]:
        """Of two relaxations, elementwise the one that is higher at the centre."""
        centres = [self.centres[0], self.centres[2]]
        mine, other = (v + sum(k * c for k, c in zip(ks, centres, strict=True)) for ks, v in ((s, x), (t, y)))
        better = other > mine
        return [torch.where(better, j, i) for i, j in zip(s, t, strict=True)], torch.where(better, y, x)


def _of_sign(rows: Tensor, pair: tuple[Line, Line]) -> Line:
    """The line below where rows are not negative, the one above elsewhere."""
    low, high = pair
    up = rows >= 0
    return Line(torch.where(up, low.slope, high.slope), torch.where(up, low.offset, high.offset))


def _difference(ours: Curve, theirs: Curve, t: Triple) -> tuple[Line, Line]:
    """Lines in δ below and above f_b(z+δ) − f_a(z) = σ·δ + (f_b − f_a)(z)."""
    s, rest = slopes(theirs, t.both), gap(ours, theirs, t.a)
    ends = (t.d.low, t.d.high)
    width = t.d.high - t.d.low
    found = []
    for pick, sign in ((torch.minimum, 1.0), (torch.maximum, -1.0)):
        y = [pick(s.low * x, s.high * x) for x in ends]  # concave below, convex above: its chord is a bound
        slope = (y[1] - y[0]) / width
        slope = torch.where(slope.isfinite(), slope, s.low)
        error = 8 * U * torch.maximum(slope.abs(), s.magnitude) * t.d.magnitude
        gaps = [sign * (v - slope * x) for v, x in zip(y, ends, strict=True)]
        offset = torch.minimum(gaps[0], gaps[1]) - error + (rest.low if sign > 0 else -rest.high)
        offset = offset - 4 * U * offset.abs() - SMALLEST
        found.append(Line(slope, sign * offset))
    return found[0], found[1]
