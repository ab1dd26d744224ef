"""Terms that an element of a tensor over paths combines, and which of them is the largest.

Terms lie in a box: an index is one integer or array per axis of the tensor that is read, as numpy broadcasts them.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import NamedTuple

import numpy as np
import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.base import LinearMap, OrderStatistic, SeparableMap, View
from pathlift.ir.primitives.maps import Contract, Conv, ConvTranspose
from pathlift.ir.primitives.taps import Taps
from pathlift.ir.primitives.views import Pad
from pathlift.ir.types import Array
from pathlift.passes.fields.field import Field
from pathlift.passes.heaviest_path.result import Position

Index = tuple[Array | int, ...]
"""Where the terms of a box are read; −1 where one reads nothing."""


class Magnitude(NamedTuple):
    """``mantissa · 2**exponent``, with a mantissa in [1/2, 1): compared as numbers are. A zero's exponent is least."""

    exponent: int
    mantissa: float


def heaviest(x: Field, index: Index, factors: Array | float = 1.0) -> tuple[Position, Magnitude]:
    """Find the largest product of an element and a factor, of equal ones the first in the order of the box.

    Parameters
    ----------
    x
        The tensor that is read.
    index
        Where; not empty.
    factors
        Of either sign, float32 or float64. Where they broadcast, the box is their common shape.

    Returns
    -------
    tuple
        The place of the term in the box, and its magnitude.
    """
    at = tuple(x.labels_of(axis)[i] for axis, i in enumerate(index))
    m = x.value.m.numpy()
    e = np.broadcast_to(np.asarray(x.value.e), m.shape)
    read = functools.reduce(operator.and_, (np.asarray(i) >= 0 for i in index), np.True_)
    m, k = np.frexp(np.where(read, m[at], 0.0))
    factor, j = np.frexp(np.abs(np.asarray(factors, np.float64)))
    m, i = np.frexp(m * factor)
    exponents = np.where(m > 0, e[at] + k + j + i, np.iinfo(np.int64).min)
    top = exponents.max()
    winner = np.unravel_index(np.where(exponents == top, m, -1.0).argmax(), m.shape)
    return tuple(map(int, winner)), Magnitude(int(top), float(m[winner]))


def place(index: Index, term: Position) -> Position:
    """Return where a term of the box is read."""
    return tuple(int(np.asarray(i)[broadcast_source(np.shape(i), term)]) for i in index)


@functools.singledispatch
def linear_terms(f: LinearMap, x: Position, w: Position, at: Position) -> tuple[Index, Index]:
    """Return where the terms of an output element are read, in the input and in the weights.

    Parameters
    ----------
    f
        A map with weights.
    x, w
        Shapes of the input and the weights.
    at
        The output element.

    Raises
    ------
    UnsupportedError
        If there is no rule for the map.
    """
    raise UnsupportedError("0313", f"there is no rule for the linear map {type(f).__name__}")


@linear_terms.register
def _(f: Conv, x: Position, w: Position, at: Position) -> tuple[Index, Index]:
    out, per_group, *kernel = w
    batch, o, *pixel = at
    first = o // (out // f.groups) * per_group
    taps = [f.taps(i, x[i + 2], k)[pixel[i]] for i, k in enumerate(kernel)]
    channels = np.arange(first, first + per_group)
    return (batch, *np.ix_(channels, *taps)), (o, *_grid(per_group, *kernel))


@linear_terms.register
def _(f: ConvTranspose, x: Position, w: Position, at: Position) -> tuple[Index, Index]:
    channels, per_group, *kernel = w
    batch, o, *pixel = at
    group, column = divmod(o, per_group)
    rows = np.arange(channels // f.groups) + group * (channels // f.groups)
    taps = [f.taps(i, x[i + 2], k)[pixel[i]] for i, k in enumerate(kernel)]
    row, *tap = np.ix_(rows, *map(np.arange, kernel))
    return (batch, *np.ix_(rows, *taps)), (row, column, *tap)


@linear_terms.register
def _(f: Contract, x: Position, w: Position, at: Position) -> tuple[Index, Index]:
    xs, ws, out = f.letters(len(x))
    extents = dict(zip(ws, w, strict=True)) | dict(zip(xs, x, strict=True))
    places: dict[str, Array | int] = dict(zip(out, at, strict=True))
    summed = [c for c in dict.fromkeys(xs + ws) if c not in places]
    places |= dict(zip(summed, _grid(*(extents[c] for c in summed)), strict=True))
    return tuple(places[c] for c in xs), tuple(places[c] for c in ws)


def _grid(*extents: int) -> tuple[Array, ...]:
    return np.ix_(*map(np.arange, extents))


def separable_terms(f: SeparableMap | OrderStatistic, x: Position, at: Position) -> tuple[Index, Array]:
    """Return where the terms of an output element are read, and their coefficients.

    Parameters
    ----------
    f
        A map with fixed coefficients, or an order statistic: an element then is the largest of its pool.
    x
        Shape of the input.
    at
        The output element.
    """
    taps: Callable[[int, int], Taps]
    if isinstance(f, SeparableMap):
        axes, taps = f.mixed_axes(x), f.taps
    else:
        pools = f.pools
        axes, taps = f.mixed_axes(len(x)), lambda axis, size: Taps(pools(axis, size))
    full = list(at)
    if len(at) < len(x):
        for axis in axes:
            full.insert(axis, 0)
    rows, coefficients = [np.array([p]) for p in full], np.ones(())
    for axis in axes:
        read = taps(axis, x[axis])
        rows[axis] = read.sources[full[axis]]
        if read.coefficients is not None:
            coefficients = coefficients * _along(read.coefficients[full[axis]], axis, len(x))
    return np.ix_(*rows), coefficients


def _along(row: Array, axis: int, rank: int) -> Array:
    return row.reshape([-1 if i == axis else 1 for i in range(rank)])


def view_source(v: View, shapes: list[Position], at: Position) -> tuple[int, Position] | None:
    """Return which operand of a view, and which element of it, lies at a position; ``None`` for padding."""
    ends = np.cumsum([prod(shape) for shape in shapes])
    numbered = [torch.arange(end - prod(s), end).reshape(s) for s, end in zip(shapes, ends.tolist(), strict=True)]
    number = int((replace(v, value=-1.0) if isinstance(v, Pad) else v)(*numbered)[at])
    if number < 0:
        return None
    operand = int(np.searchsorted(ends, number, "right"))
    first = ends[operand] - prod(shapes[operand])
    return operand, tuple(map(int, np.unravel_index(number - first, shapes[operand])))


def broadcast_source(shape: Position, at: Position, axis: int | None = None) -> Position:
    """Return which element of an operand of this shape broadcasting (or, along `axis`, a vector) puts at a position."""
    if axis is not None:
        return (at[axis],)
    return tuple(0 if n == 1 else p for n, p in zip(shape, at[len(at) - len(shape) :], strict=True))
