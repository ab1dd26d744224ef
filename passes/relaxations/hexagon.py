"""Piecewise-linear gates over what is known of (z, δ): a hexagon, and on it a lower bound for any slopes.

The known boxes of z_a = z, z_b = z + δ and δ cut a hexagon out of the plane. There A·f_a(z) + B·f_b(z+δ) − p·z − q·δ is
affine on each cell that the bends of f_a and of f_b cut the hexagon into, so its least value is at a corner of a cell:
an intersection of two of the lines that bound boxes or bend curves. That value is the offset that belongs to the slopes
(p, q), whatever they are; all of them together are the dual of the convex hull. Intersections outside the hexagon only
lower the offset, so what lies outside by a rounding error is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf

import torch

from pathlift.passes.intervals.box import SMALLEST, Box, U
from pathlift.passes.intervals.elementwise import Curve, slopes
from pathlift.passes.intervals.pairs import Triple
from pathlift.passes.relaxations.lines import chord

Tensor = torch.Tensor
_NEAR = 1e-9
"""How far outside, relative to the largest coordinate, a corner is still kept."""


@dataclass(frozen=True, eq=False)
class Corners:
    """The corners of the cells of some neurons, and slopes to begin with.

    Parameters
    ----------
    at
        ``(U,)`` positions of the neurons among the gate's elements.
    lines
        ``(U, 2, V)`` or ``(U, 1, V)``: coordinates −z and −δ of each corner.
    values
        Of the same shape: f_a(z), and f_b(z+δ).
    outside
        ``(U, 1, V)``: 0 for a corner, ``inf`` for what is none.
    off
        ``(k, U)``: how far each of the values may be off.
    sizes
        ``(2, U)``: magnitudes of values, and of coordinates, for rounding errors.
    starts
        Pairs of slopes (of z's value, of δ's): each ``(U,)``.
    centre
        ``(U, 2)`` or ``(U, 1)``: where slopes are compared.
    others
        The same in other formats.
    """

    at: Tensor
    lines: Tensor
    values: Tensor
    outside: Tensor
    off: Tensor
    sizes: Tensor
    starts: list[tuple[str, Tensor, Tensor]]
    centre: Tensor
    others: dict[torch.dtype, Corners] = field(default_factory=dict)

    def offsets(self, rows: Tensor, slopes: Tensor) -> Tensor:
        """The offsets, rounded down, that belong to slopes.

        Parameters
        ----------
        rows
            ``(U, R, k)``: P alone, or P and Q, times f_a(z) and f_b(z+δ) − f_a(z).
        slopes
            ``(U, R, k)``: of z, and of δ.

        Returns
        -------
        Tensor
            ``(U, R)``.
        """
        return self._rounded(self.unrounded(rows, slopes), rows, slopes)

    def unrounded(self, rows: Tensor, slopes: Tensor) -> Tensor:
        """The same as they are computed."""
        return self._least(self._heights(rows), slopes)

    def to(self, dtype: torch.dtype) -> Corners:
        """Another format, for what is `unrounded`."""
        if dtype == self.lines.dtype:
            return self
        if dtype not in self.others:
            lines, values, outside = (x.to(dtype) for x in (self.lines, self.values, self.outside))
            self.others[dtype] = replace(self, lines=lines, values=values, outside=outside)
        return self.others[dtype]

    def start(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The slopes, of those to begin with, whose bound is highest at the centre, and their offsets."""
        heights = self._heights(rows)
        best = slopes = offsets = None
        for kind, x, y in self.starts:
            tried = _combined(kind, rows, x, y)
            found = self._least(heights, tried)
            value = found + (tried @ self.centre[:, :, None])[..., 0]
            if best is None or slopes is None or offsets is None:
                best, slopes, offsets = value, tried, found
                continue
            better = value > best
            best = torch.where(better, value, best)
            slopes = torch.where(better[..., None], tried, slopes)
            offsets = torch.where(better, found, offsets)
        assert slopes is not None
        assert offsets is not None
        return slopes, self._rounded(offsets, rows, slopes)

    def _heights(self, rows: Tensor) -> Tensor:
        return torch.baddbmm(self.outside, _of_values(rows), self.values)

    def _least(self, heights: Tensor, slopes: Tensor) -> Tensor:
        return torch.baddbmm(heights, slopes, self.lines).amin(-1)

    def _rounded(self, least: Tensor, rows: Tensor, slopes: Tensor) -> Tensor:
        """Less what a corner, what is computed there and the sum of the four products may be off."""
        error = (_of_values(rows).abs() @ self.off.mT[:, :, None])[..., 0]
        size = _all(rows) * self.sizes[0, :, None] + _all(slopes) * self.sizes[1, :, None]
        return least - (error + 32 * U * size) * (1 + 1e-6) - SMALLEST


def _all(x: Tensor) -> Tensor:
    """|P|, or |P| + |Q|."""
    return x[..., 0].abs() if x.shape[-1] == 1 else x[..., 0].abs() + x[..., 1].abs()


def _of_values(rows: Tensor) -> Tensor:
    """What multiplies f_a(z) and f_b(z+δ): P − Q and Q."""
    if rows.shape[-1] == 1:
        return rows
    return torch.stack([rows[..., 0] - rows[..., 1], rows[..., 1]], -1)


def _combined(kind: str, rows: Tensor, x: Tensor, y: Tensor) -> Tensor:
    x = x[:, None]
    if rows.shape[-1] == 1:
        return rows * x[..., None]
    y = y[:, None]
    p, q = rows[..., 0], rows[..., 1]
    if kind == "twin":  # a slope for each network's gate
        return torch.stack([p * x + q * (y - x), q * y], -1)
    return torch.stack([p * x, q * y], -1)


def interval_corners(curve: Curve, box: Box, at: Tensor) -> Corners:
    """Corners of one network's neurons: the ends of intervals and the bends within."""
    xs = curve.points(box)
    ys = curve(xs)
    s = slopes(curve, box)
    zs, fs, off, low, high, straight = (
        v.reshape(*v.shape[: v.ndim - box.low.ndim], -1)[..., at]
        for v in (xs, ys, curve.error(xs, ys).amax(0) + curve.f.jump, s.low, s.high, chord(curve, box))
    )
    size = zs.abs().amax(0)
    steep = torch.maximum(low.abs(), high.abs())
    return Corners(
        at, -zs.T[:, None], fs.T[:, None], torch.zeros_like(zs.T[:, None]), off[None],
        torch.stack([fs.abs().amax(0) + steep * size, size]),
        [("slope", v, v) for v in (straight, low, high)],
        0.5 * (zs[0] + zs[-1])[:, None],
    )  # fmt: skip


def pair_corners(ours: Curve, theirs: Curve, t: Triple, at: Tensor) -> Corners:
    """Corners of two networks' neurons."""
    shape = t.a.low.shape
    za, zb = ours.points(t.a), theirs.points(t.b)
    d = torch.stack([t.d.low, t.d.high])
    na, nb = len(za), len(zb)
    a = torch.cat(
        [za.repeat_interleave(nb, 0), za.repeat_interleave(2, 0), (zb[:, None] - d[None]).reshape(-1, *shape)]
    )
    b = torch.cat(
        [zb.repeat(na, *[1] * len(shape)), (za[:, None] + d[None]).reshape(-1, *shape), zb.repeat_interleave(2, 0)]
    )
    delta = torch.cat([
        (zb[None] - za[:, None]).reshape(-1, *shape),
        d.repeat(na, *[1] * len(shape)),
        d.repeat(nb, *[1] * len(shape)),
    ])  # fmt: skip
    size = torch.maximum(torch.maximum(t.a.magnitude, t.b.magnitude), t.d.magnitude)
    near = _NEAR * size
    held = torch.ones_like(a, dtype=torch.bool)
    for x, box in ((a, t.a), (b, t.b), (delta, t.d)):
        held &= (x >= box.low - near) & (x <= box.high + near)
    held |= ~held.any(0)
    fa, fb = ours(a), theirs(b)
    off_a = ours.error(a, fa).amax(0) + ours.f.jump
    off_b = theirs.error(b, fb).amax(0) + theirs.f.jump
    sa, both = slopes(ours, t.a), slopes(theirs, t.both)
    steep = torch.maximum(slopes(ours, t.both).magnitude, both.magnitude)
    top, bottom = _cone(both, t.d)
    chord_a, chord_b, steepest, flattest = chord(ours, t.a), chord(theirs, t.b), sa.high, sa.low
    starts = [
        ("slope", chord_a, top), ("slope", chord_a, bottom), ("twin", chord_a, chord_b),
        ("slope", steepest, both.high), ("slope", flattest, top), ("slope", steepest, top),
    ]  # fmt: skip

    def flat(v: Tensor) -> Tensor:
        return v.reshape(*v.shape[: v.ndim - len(shape)], -1)[..., at]

    a, delta, fa, fb, held, size, steep = map(flat, (a, delta, fa, fb, held, size, steep))
    weights = held.double()
    centre = torch.stack([(v * weights).sum(0) / weights.sum(0) for v in (a, delta)], -1)
    # Only so many columns as the neuron with the most corners has.
    order = (~held).to(torch.int8).sort(dim=0, stable=True).indices[: int(held.sum(0).amax()) if held.numel() else 0]
    a, delta, fa, fb, held = (v.gather(0, order).T for v in (a, delta, fa, fb, held))
    outside = torch.zeros_like(a).masked_fill(~held, inf)
    return Corners(
        at, torch.stack([-a, -delta], 1), torch.stack([fa, fb], 1), outside[:, None],
        torch.stack([flat(off_a), flat(off_b)]),
        torch.stack([fa.abs().amax(-1) + fb.abs().amax(-1) + 2 * steep * size, 2 * size]),
        [(kind, flat(x), flat(y)) for kind, x, y in starts], centre,
    )  # fmt: skip


def _cone(s: Box, d: Box) -> tuple[Tensor, Tensor]:
    """The slopes of the chords above and below all σ·δ with σ in a box."""
    steepest = [torch.maximum(s.low * x, s.high * x) for x in (d.low, d.high)]
    flattest = [torch.minimum(s.low * x, s.high * x) for x in (d.low, d.high)]
    top, bottom = ((y[1] - y[0]) / (d.high - d.low) for y in (steepest, flattest))
    return torch.where(top.isfinite(), top, s.high), torch.where(bottom.isfinite(), bottom, s.low)
