"""Softmax and its kin. Whatever is taken away from all elements cancels, so exponentials are of differences.

Along a short axis these are xⱼ − xᵢ, which depends on x linearly: softmaxᵢ = 1/(1 + Σ exp(xⱼ − xᵢ)). There are n² of
them, so that along a longer axis the maximum is taken away instead: the sum is between 1 and n then.
"""

from __future__ import annotations

from math import inf, prod

import numpy as np

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.primitives.maps import Contract
from pathlift.ir.primitives.selections import Extremum
from pathlift.ir.programs.gates import LOG, RECIPROCAL, exp
from pathlift.ir.programs.parts import constant, extent, minus, moved, plus, reshaped, times, total, within

SHORT = 32
"""The longest axis of which all differences are taken."""
MOST = 2**20
"""So many of them at most."""


def softmax(alg: Algebra[T], x: T, axis: int) -> T:
    """exp(x) normalized along an axis."""
    if extent(alg, x, (axis,)) == 1:
        return plus(alg, alg.scale(x, 0.0), 1.0)
    if _is_short(alg, x, axis):
        y = alg.gate(_relative(alg, x, axis), RECIPROCAL)
        return within(alg, moved(alg, y, -1, axis), 0.0, 1.0)
    e, s = _shifted(alg, x, (axis,))[:2]
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


def _relative(alg: Algebra[T], x: T, axis: int) -> T:
    """Σⱼ exp(xⱼ − xᵢ) for each i, the axis last; of that sum the term j = i is 1."""
    x = moved(alg, x, axis, -1)
    shape = alg.extents(x)
    n = shape[-1]
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    matrix = np.zeros((n, len(pairs)))
    for column, (i, j) in enumerate(pairs):
        matrix[j, column], matrix[i, column] = 1.0, -1.0
    differences = alg.linear(Contract("...i,io->...o"), x, constant(alg, matrix))
    others = total(alg, exp(alg, reshaped(alg, differences, (*shape, n - 1))), (-1,), keepdims=False)
    return within(alg, plus(alg, others, 1.0), 1.0, inf)


def _shifted(alg: Algebra[T], x: T, axes: tuple[int, ...]) -> tuple[T, T, T, T]:
    """exp(x − max x), its sum over axes, x − max x, and max x."""
    most = alg.select(x, Extremum(axes, keepdims=True))
    away = within(alg, minus(alg, x, most), -inf, 0.0)
    e = within(alg, exp(alg, away), 0.0, 1.0)
    return e, within(alg, total(alg, e, axes), 1.0, float(extent(alg, x, axes))), away, most
