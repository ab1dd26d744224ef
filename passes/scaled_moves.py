"""Views of scaled tensors: mantissas move like any tensor, exponents along with them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch

from pathlift.ir import views as V
from pathlift.ir.primitives import View
from pathlift.passes.scaled import Scaled


@functools.singledispatch
def move(v: View, xs: Sequence[Scaled]) -> Scaled:
    """Rearrange scaled tensors; the default gives every element its own exponent first."""
    (x,) = xs
    if x.e.numel() == 1:
        m = v(x.m)
        return Scaled(m, x.e.reshape([1] * m.ndim), x.roundings)
    return Scaled(v(x.m), v(x.e.expand(x.m.shape)), x.roundings).compressed()


@move.register(V.Transpose)
@move.register(V.Squeeze)
@move.register(V.Unsqueeze)
def _(v: View, xs: Sequence[Scaled]) -> Scaled:
    (x,) = xs
    return Scaled(v(x.m), v(x.e), x.roundings)


@move.register
def _(v: V.Cast, xs: Sequence[Scaled]) -> Scaled:
    return xs[0]


@move.register
def _(v: V.Slice, xs: Sequence[Scaled]) -> Scaled:
    (x,) = xs
    rows = zip(v.axes, v.starts, v.ends, v.steps, strict=True)
    kept = [row for row in rows if x.e.shape[row[0]] != 1]
    e = V.Slice(*(tuple(column) for column in zip(*kept, strict=True)))(x.e) if kept else x.e
    return Scaled(v(x.m), e, x.roundings)


@move.register
def _(v: V.Take, xs: Sequence[Scaled]) -> Scaled:
    (x,) = xs
    return Scaled(v(x.m), v(x.e) if x.e.shape[v.axis] != 1 else x.e, x.roundings)


@move.register
def _(v: V.Pad, xs: Sequence[Scaled]) -> Scaled:
    (x,) = xs
    pads = [p if x.e.shape[i % x.rank] != 1 else 0 for i, p in enumerate(v.pads)]
    return Scaled(V.Pad(v.pads)(x.m), V.Pad(tuple(pads))(x.e), x.roundings)


@move.register
def _(v: V.Expand, xs: Sequence[Scaled]) -> Scaled:
    (x,) = xs
    m = v(x.m)
    return Scaled(m, x.lifted(m.ndim).e, x.roundings)


@move.register
def _(v: V.Tile, xs: Sequence[Scaled]) -> Scaled:
    (x,) = xs
    repeats = [r if n != 1 else 1 for r, n in zip(v.repeats, x.e.shape, strict=True)]
    return Scaled(v(x.m), x.e.repeat(repeats), x.roundings)


@move.register
def _(v: V.Concat, xs: Sequence[Scaled]) -> Scaled:
    axis = v.axis % xs[0].rank
    common = torch.broadcast_shapes(*(_without(x.e.shape, axis) for x in xs))  # type: ignore[no-untyped-call]
    parts = [x.e.expand([x.m.shape[axis] if i == axis else n for i, n in enumerate(common)]) for x in xs]
    return Scaled(v(*(x.m for x in xs)), torch.cat(parts, axis), max(x.roundings for x in xs))


def _without(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return tuple(1 if i == axis else n for i, n in enumerate(shape))


@move.register
def _(v: V.Stack, xs: Sequence[Scaled]) -> Scaled:
    rank = max(x.rank for x in xs)
    exponents = [x.lifted(rank).e for x in xs]
    return Scaled(v(*(x.m for x in xs)), v(*exponents), max(x.roundings for x in xs))
