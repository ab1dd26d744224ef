"""Views of fields: what stays a class, and how representatives and exponents move."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from math import prod

import numpy as np
import torch

from pathlift.ir import dims as D
from pathlift.ir.primitives import views as V
from pathlift.ir.primitives.base import View
from pathlift.ir.primitives.reshapes import Reinterpretation
from pathlift.passes.fields.field import Field, Labels, joint
from pathlift.passes.fields.scaled import Scaled, common_integer


@functools.singledispatch
def move(v: View, xs: Sequence[Field]) -> Field:
    """Rearrange fields; the default does so position by position."""
    (x,) = xs
    return Field.plain(x.expanded().value.moved(v))


@move.register
def _(v: Reinterpretation, xs: Sequence[Field]) -> Field:
    (x,) = xs
    shape = [n for n in v.shape(x.shape) if isinstance(n, int)]
    kept = {i: j for i in range(x.rank) if x.labels[i] is not None and (j := _same_axis(x.shape, shape, i)) is not None}
    x = x.expanded(i for i in range(x.rank) if i not in kept)
    labels: list[Labels] = [None] * len(shape)
    for i, j in kept.items():
        labels[j], shape[j] = x.labels[i], x.value.m.shape[i]
    return Field(x.value.moved(lambda t: t.reshape(shape)), tuple(labels))


def _same_axis(old: Sequence[int], new: Sequence[int], i: int) -> int | None:
    """The axis that a row-major reshape leaves as it is: of the same extent, with as many elements before and after."""
    before, after = prod(old[:i]), prod(old[i + 1 :])
    for j, n in enumerate(new):
        if n == old[i] and prod(new[:j]) == before and prod(new[j + 1 :]) == after:
            return j
    return None


@move.register(V.Transpose)
@move.register(V.Squeeze)
@move.register(V.Unsqueeze)
def _(v: View, xs: Sequence[Field]) -> Field:
    (x,) = xs
    origins = v.shape(tuple(map(str, range(x.rank))))  # each axis by its number; a new one has extent 1
    labels = tuple(x.labels[int(i)] if isinstance(i, str) else None for i in origins)
    return Field(x.value.moved(v), labels)


@move.register
def _(v: V.Cast, xs: Sequence[Field]) -> Field:
    return xs[0]


@move.register
def _(v: V.Slice, xs: Sequence[Field]) -> Field:
    (x,) = xs
    for axis, start, end, step in zip(v.axes, v.starts, v.ends, v.steps, strict=True):
        picked = D.picked(x.shape[axis], start, end, step)
        x = x.taken(axis % x.rank, np.arange(picked.start, picked.stop, picked.step))
    return x


@move.register
def _(v: V.Take, xs: Sequence[Field]) -> Field:
    return xs[0].taken(v.axis % xs[0].rank, np.array(v.indices, np.int64))


@move.register
def _(v: V.Pad, xs: Sequence[Field]) -> Field:
    (x,) = xs
    for axis, (n, begin, end) in enumerate(zip(x.shape, v.pads[: x.rank], v.pads[x.rank :], strict=True)):
        if begin or end:
            positions = np.arange(-begin, n + end)
            x = x.taken(axis, np.where(positions < n, np.maximum(positions, -1), -1))
    return x


@move.register
def _(v: V.Expand, xs: Sequence[Field]) -> Field:
    x = xs[0].lifted(max(xs[0].rank, len(v.target)))
    for axis, n in enumerate(v.shape(x.shape)):
        if n != x.shape[axis]:
            x = x.taken(axis, np.zeros(n, np.int64))  # type: ignore[arg-type]  # extents of fields are known
    return x


@move.register
def _(v: V.Tile, xs: Sequence[Field]) -> Field:
    (x,) = xs
    for axis, repeats in enumerate(v.repeats):
        if repeats != 1:
            x = x.taken(axis, np.tile(np.arange(x.shape[axis]), repeats))
    return x


@move.register
def _(v: V.Concat, xs: Sequence[Field]) -> Field:
    axis = v.axis % xs[0].rank
    parts = joint(xs, apart=axis)
    value = _concatenated([x.value for x in parts], axis)
    offsets = np.cumsum([0, *(x.value.m.shape[axis] for x in parts)])
    along: Labels = None
    if any(x.labels[axis] is not None for x in parts):
        along = np.concatenate([x.labels_of(axis) + n for x, n in zip(parts, offsets, strict=False)])
    labels = tuple(along if i == axis else s for i, s in enumerate(parts[0].labels))
    return Field(value, labels)


def _concatenated(parts: Sequence[Scaled], axis: int) -> Scaled:
    roundings = max(x.roundings for x in parts)
    if (together := common_integer(parts) or common_integer([x.settled() for x in parts])) is not None:
        values, e = together
        low, high = min(x.low for x in values), max(x.high for x in values)
        return Scaled(torch.cat([x.m for x in values], axis), e, roundings, low, high)
    spread = [x.spread() for x in parts]
    exponents = torch.cat([x.exponents() for x in spread], axis)
    return Scaled(torch.cat([x.m for x in spread], axis), exponents, roundings)


@move.register
def _(v: V.Stack, xs: Sequence[Field]) -> Field:
    rank = max(x.rank for x in xs)
    shape = v.shape(*(x.shape for x in xs))[1:]
    wide = [move(V.Expand(shape), [x.lifted(rank)]) for x in xs]  # type: ignore[arg-type]  # extents of fields are known
    return move(V.Concat(0), [move(V.Unsqueeze((0,)), [x]) for x in wide])
