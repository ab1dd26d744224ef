"""Parts that programs have in common: products, sums over axes, numbers, and what theorems say of values."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from pathlift.ir import dims as D
from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.base import Nonlinear, normalized_axes
from pathlift.ir.primitives.maps import Reduce
from pathlift.ir.primitives.reshapes import Reshape
from pathlift.ir.primitives.views import Transpose
from pathlift.ir.types import Array, Dims, Ints, Param


def times(alg: Algebra[T], x: T, y: T) -> T:
    """x·y, with broadcasting."""
    return _product(alg, x, y, D.broadcast, operator.mul)


def bilinear(alg: Algebra[T], x: T, y: T, f: Callable[..., Any]) -> T:
    """A function that is linear in each of two operands, whose absolute values bound it on absolute values."""

    def shape(*dims: Dims) -> Dims:
        import torch

        return tuple(f(*(torch.empty([int(d) for d in s if d is not None], device="meta") for s in dims)).shape)

    return _product(alg, x, y, shape, f)


def _product(alg: Algebra[T], x: T, y: T, shape: Callable[..., Dims], f: Callable[..., Any]) -> T:
    assert alg.node is not None
    (z,) = alg.apply(Nonlinear(alg.node, "", shape=shape, execute=f, bilinear=True), (x, y), alg.node.types[:1])
    return z


def within(alg: Algebra[T], x: T, low: float, high: float) -> T:
    """The value itself, of which a theorem says that it is between two numbers."""
    assert alg.node is not None
    f = Nonlinear(alg.node, "", program=lambda _, x: x, within=(low, high))
    (y,) = alg.apply(f, (x,), alg.node.types[:1])
    return y


def constant(alg: Algebra[T], values: Array | float) -> T:
    """Numbers as a parameter, in float64."""
    return alg.param(Param.of(np.asarray(values, np.float64)))


def plus(alg: Algebra[T], x: T, number: float) -> T:
    """x plus a number."""
    return alg.add(x, constant(alg, number))


def minus(alg: Algebra[T], x: T, y: T) -> T:
    """x − y, with broadcasting."""
    return alg.add(x, alg.scale(y, -1.0))


def total(alg: Algebra[T], x: T, axes: Sequence[int], *, mean: bool = False, keepdims: bool = True) -> T:
    """The sum, or the mean, over axes; all, if none is named."""
    return alg.linear(Reduce(tuple(axes), keepdims, mean=mean), x)


def extent(alg: Algebra[T], x: T, axes: Sequence[int]) -> int:
    """How many elements are along axes; all, if none is named."""
    shape = alg.extents(x)
    return prod(shape[axis] for axis in normalized_axes(axes, len(shape)))


def reshaped(alg: Algebra[T], x: T, shape: Sequence[int]) -> T:
    """The same elements in another shape."""
    if 0 in shape:
        raise UnsupportedError("0304", "there is no element in it")
    return alg.move((x,), Reshape(tuple(shape)))


def along(alg: Algebra[T], vector: T, axis: int, rank: int) -> T:
    """A vector that broadcasts along an axis."""
    n = extent(alg, vector, ())
    return reshaped(alg, vector, [n if i == axis % rank else 1 for i in range(rank)])


def moved(alg: Algebra[T], x: T, axis: int, to: int) -> T:
    """The same with one axis in another place."""
    perm = list(range(len(alg.extents(x))))
    perm.insert(to % len(perm), perm.pop(axis % len(perm)))
    return x if perm == sorted(perm) else alg.move((x,), Transpose(tuple(perm)))


def ints(alg: Algebra[T], x: T) -> Ints:
    """The elements of a parameter that are whole numbers."""
    return tuple(int(i) for i in alg.numbers(x).reshape(-1))


def number(alg: Algebra[T], x: T) -> float:
    """The one number of a parameter.

    Raises
    ------
    UnsupportedError
        If it has several.
    """
    values = np.unique(alg.numbers(x))
    if len(values) != 1:
        raise UnsupportedError("0304", "a parameter of this node is not one number")
    return float(values[0])
