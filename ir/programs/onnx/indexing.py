"""Elements picked at places that a parameter names, and sums up to a place."""

from __future__ import annotations

import numpy as np

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.maps import Contract
from pathlift.ir.primitives.views import Concat, Expand, Take
from pathlift.ir.programs.onnx.registry import program
from pathlift.ir.programs.parts import constant, ints, moved, reshaped
from pathlift.ir.types import Array, Param

MOST = 2**20
"""So many places at most."""


@program("CumSum")
def cum_sum(alg: Algebra[T], x: T, axis: T, *, exclusive: int = 0, reverse: int = 0) -> T:
    """The sum of all elements before a place."""
    (along,) = ints(alg, axis)
    n = alg.extents(x)[along]
    matrix = np.triu(np.ones((n, n)), 1 if exclusive else 0)
    y = alg.linear(Contract("...i,io->...o"), moved(alg, x, along, -1), constant(alg, matrix.T if reverse else matrix))
    return moved(alg, y, -1, along)


@program("GatherElements")
def gather_elements(alg: Algebra[T], x: T, indices: T, *, axis: int = 0) -> T:
    """Elements whose places along an axis are named one by one."""
    shape = alg.extents(x)
    places = _places(alg, shape, alg.numbers(indices), axis)
    return _taken(alg, x, places)


@program("ScatterElements")
def scatter_elements(alg: Algebra[T], x: T, indices: T, updates: T, *, axis: int = 0, reduction: str = "none") -> T:
    """Elements with others in their places, which are named one by one."""
    if reduction != "none":
        raise UnsupportedError("0304", f"a scatter with the reduction {reduction}")
    shape = alg.extents(x)
    named = _places(alg, shape, alg.numbers(indices), axis)
    n = int(np.prod(shape))
    places = np.arange(n)
    places[named.reshape(-1)] = n + np.arange(named.size)
    both = alg.move((reshaped(alg, x, (n,)), reshaped(alg, updates, (named.size,))), Concat(0))
    return _taken(alg, both, places.reshape(shape))


@program("Where")
def where(alg: Algebra[T], mask: T, x: T, y: T) -> T:
    """Elements of one or the other, as a parameter says."""
    chosen = alg.numbers(mask).astype(bool)
    shape = np.broadcast_shapes(chosen.shape, alg.extents(x), alg.extents(y))
    if chosen.all() or not chosen.any():
        return alg.move((x if chosen.all() else y,), Expand(shape))
    n = int(np.prod(shape))
    flat = [reshaped(alg, alg.move((side,), Expand(shape)), (n,)) for side in (x, y)]
    places = np.arange(n).reshape(shape) + np.where(np.broadcast_to(chosen, shape), 0, n)
    return _taken(alg, alg.move(flat, Concat(0)), places)


@program("IsNaN")
def is_nan(alg: Algebra[T], x: T) -> T:
    """False, of what is a number: real arithmetic has no other."""
    if not alg.is_defined(x):
        raise UnsupportedError("0304", "a value that may not be a number is asked whether it is one")
    return alg.param(Param.of(np.zeros(alg.extents(x), bool)))


def _places(alg: Algebra[T], shape: tuple[int, ...], indices: Array, axis: int) -> Array:
    """Positions among all elements, in order."""
    axis %= len(shape)
    grid: list[Array] = list(np.indices(indices.shape))
    grid[axis] = np.where(indices < 0, indices + shape[axis], indices)
    places: Array = np.asarray(np.ravel_multi_index(tuple(g.astype(np.int64) for g in grid), shape))
    return places


def _taken(alg: Algebra[T], x: T, places: Array) -> T:
    if places.size > MOST:
        raise UnsupportedError("0304", f"more than {MOST} indices")
    flat = reshaped(alg, x, (int(np.prod(alg.extents(x))),))
    return reshaped(alg, alg.move((flat,), Take(0, tuple(places.reshape(-1).tolist()))), places.shape)
