"""Softmax and its kin. Whatever is taken away from all elements cancels, so exponentials are of differences.

Along a short axis these are xⱼ − xᵢ, which depends on x linearly: softmaxᵢ = 1/(1 + Σ exp(xⱼ − xᵢ)). There are n² of
them, so that along a longer axis the maximum is taken away instead: the sum is between 1 and n then.

Exponentials of differences are capped, so that a mask of large negative numbers does not overflow: where the cap has a
say, softmaxᵢ is less than 1e-260 with it and without.

Where -∞ was added to an element, its exponential is 0, whatever else it is. For the maximum, such an element is
replaced by one of those that are left.
"""

from __future__ import annotations

from math import inf, prod

import numpy as np

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.base import Activation
from pathlift.ir.primitives.maps import Contract
from pathlift.ir.primitives.selections import Extremum
from pathlift.ir.programs.gates import CAPPED_EXP, EXP, LOG, NEXT_TO_NOTHING, RECIPROCAL, exp
from pathlift.ir.programs.parts import constant, extent, minus, moved, plus, reshaped, times, total, within
from pathlift.ir.types import Array

SHORT = 32
"""The longest axis of which all differences are taken."""
MOST = 2**20
"""So many of them at most."""


def softmax(alg: Algebra[T], x: T, axis: int) -> T:
    """exp(x) normalized along an axis."""
    x, seen = _shown(alg, x, axis)
    if extent(alg, x, (axis,)) == 1:
        return plus(alg, alg.scale(x, 0.0), 1.0)
    if _is_short(alg, x, axis):
        y = alg.gate(_relative(alg, x, axis, seen, CAPPED_EXP), RECIPROCAL)
        y = moved(alg, alg.add(y, alg.gate(y, NEXT_TO_NOTHING)), -1, axis)
        return within(alg, _kept(alg, y, seen), 0.0, 1.0)
    e, s = _shifted(alg, x, (axis,), seen)[:2]
    return within(alg, times(alg, e, alg.gate(s, RECIPROCAL)), 0.0, 1.0)


def log_softmax(alg: Algebra[T], x: T, axis: int) -> T:
    """The logarithm of that."""
    if extent(alg, x, (axis,)) == 1:
        return alg.scale(x, 0.0)
    if _is_short(alg, x, axis):
        y = alg.scale(alg.gate(_relative(alg, x, axis), LOG), -1.0)
        return within(alg, moved(alg, y, -1, axis), -inf, 0.0)
    _, s, away, _ = _shifted(alg, x, (axis,))
    return within(alg, minus(alg, away, alg.gate(s, LOG)), -inf, 0.0)


def log_sum_exp(alg: Algebra[T], x: T, axes: tuple[int, ...]) -> T:
    """log Σ exp(x) over axes, which stay."""
    _, s, _, most = _shifted(alg, x, axes)
    return alg.add(most, alg.gate(s, LOG))


def _is_short(alg: Algebra[T], x: T, axis: int) -> bool:
    n = extent(alg, x, (axis,))
    return n <= SHORT and prod(alg.extents(x)) * (n - 1) <= MOST


def _shown(alg: Algebra[T], x: T, axis: int) -> tuple[T, Array | None]:
    """The elements, and which of them no mask hides: 1 there, 0 elsewhere, of the same rank; ``None`` if all."""
    x, seen = alg.shown(x)
    if seen is None or seen.all():
        return x, None
    shape = alg.extents(x)
    seen = seen.reshape((1,) * (len(shape) - seen.ndim) + seen.shape)
    if not seen.any(axis).all():
        raise UnsupportedError("0304", "a softmax of elements that are all masked by -inf")
    whole = [n if i == axis % len(shape) else seen.shape[i] for i, n in enumerate(shape)]
    return x, np.broadcast_to(seen, whole).astype(np.float64)


def _kept(alg: Algebra[T], x: T, seen: Array | None) -> T:
    return x if seen is None else alg.scale(x, constant(alg, seen))


def _filled(alg: Algebra[T], x: T, axis: int, seen: Array | None) -> T:
    """The elements, the first that is seen in the place of those that are not."""
    if seen is None:
        return x
    first = (np.cumsum(seen, axis) == 1) * seen
    stand_in = total(alg, _kept(alg, x, first), (axis,))
    return alg.add(_kept(alg, x, seen), _kept(alg, stand_in, 1 - seen))


def _relative(alg: Algebra[T], x: T, axis: int, seen: Array | None = None, f: Activation = EXP) -> T:
    """Σⱼ exp(xⱼ − xᵢ) for each i, the axis last; of that sum the term j = i is 1."""
    x = moved(alg, x, axis, -1)
    shape = alg.extents(x)
    n = shape[-1]
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    matrix = np.zeros((n, len(pairs)))
    for column, (i, j) in enumerate(pairs):
        matrix[j, column], matrix[i, column] = 1.0, -1.0
    differences = alg.linear(Contract("...i,io->...o"), x, constant(alg, matrix))
    each = within(alg, alg.gate(reshaped(alg, differences, (*shape, n - 1)), f), 0.0, inf)
    if seen is not None:
        each = _kept(alg, each, np.moveaxis(seen, axis, -1)[..., np.reshape([j for _, j in pairs], (n, n - 1))])
    others = total(alg, each, (-1,), keepdims=False)
    return within(alg, plus(alg, others, 1.0), 1.0, inf)


def _shifted(alg: Algebra[T], x: T, axes: tuple[int, ...], seen: Array | None = None) -> tuple[T, T, T, T]:
    """exp(x − max x), its sum over axes, x − max x, and max x."""
    x = _filled(alg, x, axes[0], seen)
    most = alg.select(x, Extremum(axes, keepdims=True))
    away = within(alg, minus(alg, x, most), -inf, 0.0)
    e = _kept(alg, within(alg, exp(alg, away), 0.0, 1.0), seen)
    return e, within(alg, total(alg, e, axes), 1.0, float(extent(alg, x, axes))), away, most
