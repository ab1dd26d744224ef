"""Feature maps of cells, and what views make of them. An axis along which all cells are the same has extent 1."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from pathlift.ir import dims as D
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives import views as V
from pathlift.ir.primitives.base import View
from pathlift.ir.primitives.reshapes import Reinterpretation
from pathlift.ir.types import Array, Dim, Dims


@dataclass(frozen=True)
class CellMap:
    """The cells of a value.

    Parameters
    ----------
    cells
        int64; along each axis of the value's own extent, or of extent 1 if the cells do not depend on the position.
    dims
        The value's shape, which may be symbolic.
    """

    cells: Array
    dims: Dims

    @classmethod
    def uniform(cls, cell: int, dims: Dims) -> CellMap:
        """One cell everywhere."""
        return cls(np.full((1,) * len(dims), cell), dims)

    def spread(self, axes: Sequence[int]) -> Array:
        """Return the cells at full extent along some axes.

        Raises
        ------
        UnsupportedError
            If an extent is not known, or zero.
        """
        shape = list(self.cells.shape)
        for axis in axes:
            n = self.dims[axis]
            if shape[axis] == 1 and n != 1:
                if not isinstance(n, int) or n == 0:
                    raise UnsupportedError("0330", f"the extent of axis {axis} is {n}", hint="fix it in the file")
                shape[axis] = n
        return np.broadcast_to(self.cells, shape)


def broadcast_along(x: CellMap, axis: int | None, rank: int) -> CellMap:
    """A vector, so that it broadcasts along `axis` of a value of this rank; itself, without an axis."""
    return x if axis is None else move(V.Unsqueeze(tuple(range(1, rank - axis % rank))), [x])


@functools.singledispatch
def move(v: View, xs: Sequence[CellMap]) -> CellMap:
    """Rearrange maps of cells; padding of a channel axis is not handled here, since it makes new cells."""
    raise UnsupportedError("0331", f"there is no rule for a {type(v).__name__}")


@move.register
def _(v: V.Cast, xs: Sequence[CellMap]) -> CellMap:
    return xs[0]


@move.register(V.Transpose)
@move.register(V.Squeeze)
@move.register(V.Unsqueeze)
def _(v: View, xs: Sequence[CellMap]) -> CellMap:
    (x,) = xs
    origins = v.shape(tuple(map(str, range(len(x.dims)))))  # each axis by its number; a new one has extent 1
    kept = [int(i) for i in origins if isinstance(i, str)]
    gone = [i for i in range(len(x.dims)) if i not in kept]
    cells = x.cells.transpose(kept + gone)
    extents = iter(cells.shape)
    return CellMap(cells.reshape([next(extents) if isinstance(i, str) else 1 for i in origins]), v.shape(x.dims))


@move.register
def _(v: V.Slice, xs: Sequence[CellMap]) -> CellMap:
    (x,) = xs
    cells = x.cells
    for axis, start, end, step in zip(v.axes, v.starts, v.ends, v.steps, strict=True):
        if (size := cells.shape[axis]) > 1:
            picked = D.picked(size, start, end, step)
            cells = cells.take(np.arange(picked.start, picked.stop, picked.step), axis)
    return CellMap(cells, v.shape(x.dims))


@move.register
def _(v: V.Take, xs: Sequence[CellMap]) -> CellMap:
    (x,) = xs
    cells = x.cells.take(v.indices, v.axis) if x.cells.shape[v.axis] > 1 else x.cells
    return CellMap(cells, v.shape(x.dims))


@move.register
def _(v: V.Expand, xs: Sequence[CellMap]) -> CellMap:
    (x,) = xs
    dims = v.shape(x.dims)
    return CellMap(x.cells.reshape((1,) * (len(dims) - x.cells.ndim) + x.cells.shape), dims)


@move.register
def _(v: V.Tile, xs: Sequence[CellMap]) -> CellMap:
    (x,) = xs
    repeats = [n if size > 1 else 1 for n, size in zip(v.repeats, x.cells.shape, strict=True)]
    return CellMap(np.tile(x.cells, repeats), v.shape(x.dims))


@move.register
def _(v: V.Concat, xs: Sequence[CellMap]) -> CellMap:
    dims = v.shape(*(x.dims for x in xs))
    return CellMap(_joined(xs, v.axis % len(dims)), dims)


@move.register
def _(v: V.Stack, xs: Sequence[CellMap]) -> CellMap:
    dims = v.shape(*(x.dims for x in xs))
    rank = len(dims) - 1
    lifted = [CellMap(x.cells.reshape((1,) * (rank - x.cells.ndim + 1) + x.cells.shape), (1, *dims[1:])) for x in xs]
    return CellMap(_joined(lifted, 0), dims)


def _joined(xs: Sequence[CellMap], axis: int) -> Array:
    first = xs[0].cells
    if first.shape[axis] == 1 and all(x.cells.shape == first.shape and (x.cells == first).all() for x in xs):
        return first
    parts = [x.spread([axis]) for x in xs if x.dims[axis] != 0]
    rest = np.broadcast_shapes(*(p.take([0], axis).shape for p in parts))
    return np.concatenate([np.broadcast_to(p, (*rest[:axis], p.shape[axis], *rest[axis + 1 :])) for p in parts], axis)


@move.register
def _(v: Reinterpretation, xs: Sequence[CellMap]) -> CellMap:
    (x,) = xs
    dims = v.shape(x.dims)
    shape: list[int] = []
    wide: list[int] = []
    for old, new in independent_axes(x.dims, dims):
        if all(x.cells.shape[i] == 1 for i in old):
            shape += [1] * len(new)
        else:
            wide += old
            extents = [dims[j] for j in new]
            if len(extents) == len(old) == 1:
                extents = [x.cells.shape[old[0]]]
            if not all(isinstance(n, int) for n in extents):
                where = ", ".join(map(str, x.dims))
                raise UnsupportedError("0330", f"channels of [{where}] are reshaped by unknown extents")
            shape += [n for n in extents if isinstance(n, int)]
    return CellMap(_compact(x.spread(wide).reshape(shape)), dims)


def _compact(cells: Array) -> Array:
    for axis in range(cells.ndim):
        first = cells.take([0], axis)
        if cells.shape[axis] > 1 and (cells == first).all():
            cells = first
    return cells


def independent_axes(old: Dims, new: Dims) -> list[tuple[list[int], list[int]]]:
    """Cut a row-major reshape into independent ones: pairs of axes before and after, with as many elements."""
    head = 0
    while head < min(len(old), len(new)) and _agree(old, new, head):
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail] is not None:
        tail += 1
    middle = _aligned(list(range(head, len(old) - tail)), list(range(head, len(new) - tail)), old, new)
    ends = [([len(old) - i], [len(new) - i]) for i in range(tail, 0, -1)]
    return [([i], [i]) for i in range(head)] + middle + ends


def _agree(old: Dims, new: Dims, i: int) -> bool:
    """Whether the i-th axis is the same, those before it being so."""
    if old[i] is not None and old[i] == new[i]:
        return True
    rest = [d for d in (*old[i + 1 :], *new[i + 1 :]) if not isinstance(d, int)]
    return not rest and _product(old[i + 1 :]) == _product(new[i + 1 :])


def _product(dims: Sequence[Dim]) -> int:
    return prod(d for d in dims if isinstance(d, int))


def _aligned(left: list[int], right: list[int], old: Dims, new: Dims) -> list[tuple[list[int], list[int]]]:
    """Cut where the products of extents meet; one piece where an extent is not known."""
    if any(not isinstance(d, int) or d == 0 for d in [*(old[i] for i in left), *(new[j] for j in right)]):
        return [(left, right)]
    pieces: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(left) or j < len(right):
        a, b = left[i : i + 1], right[j : j + 1]
        i, j = i + len(a), j + len(b)
        while (m := _product([old[k] for k in a])) != (n := _product([new[k] for k in b])):
            if m < n:
                a, i = [*a, left[i]], i + 1
            else:
                b, j = [*b, right[j]], j + 1
        pieces.append((a, b))
    return pieces
