"""Normalization by statistics of the data, and norms.

Of n numbers less their mean, none is more than √(n−1) standard deviations; of n numbers, none is more than √n times
their root mean square. So what is normalized has a bound, however little is known of the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nextafter, sqrt

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.programs.gates import ABS, RECIPROCAL, SQRT, power
from pathlift.ir.programs.parts import extent, minus, plus, times, total, within


def squares(alg: Algebra[T], x: T, axes: Sequence[int], *, mean: bool = False, keepdims: bool = True) -> T:
    """Σ x² over axes, or its mean."""
    return within(alg, total(alg, times(alg, x, x), axes, mean=mean, keepdims=keepdims), 0.0, inf)


def standardized(alg: Algebra[T], x: T, axes: Sequence[int], epsilon: float) -> T:
    """(x − mean)/√(variance + ε) over axes."""
    return _by_root_mean_square(alg, centred(alg, x, axes), axes, epsilon, extent(alg, x, axes) - 1)


def root_mean_square(alg: Algebra[T], x: T, axes: Sequence[int], epsilon: float) -> T:
    """x/√(mean x² + ε) over axes."""
    return _by_root_mean_square(alg, x, axes, epsilon, extent(alg, x, axes))


def centred(alg: Algebra[T], x: T, axes: Sequence[int]) -> T:
    """X less its mean over axes."""
    return minus(alg, x, total(alg, x, axes, mean=True))


def _by_root_mean_square(alg: Algebra[T], x: T, axes: Sequence[int], epsilon: float, most: int) -> T:
    y = times(alg, x, inverse_root(alg, x, axes, epsilon))
    bound = nextafter(sqrt(most), inf)
    return within(alg, y, -bound, bound)


def inverse_root(alg: Algebra[T], x: T, axes: Sequence[int], epsilon: float) -> T:
    """1/√(mean x² + ε) over axes."""
    high = (1 + 2.0**-50) / sqrt(epsilon) if epsilon > 0 else inf
    spread = plus(alg, squares(alg, x, axes, mean=True), epsilon)
    return within(alg, alg.gate(spread, power(-0.5)), 0.0, high)


def norm(alg: Algebra[T], x: T, axes: Sequence[int], p: int, *, keepdims: bool = True) -> T:
    """Σ|x| over axes, or √Σx²."""
    if p == 1:
        return within(alg, total(alg, alg.gate(x, ABS), axes, keepdims=keepdims), 0.0, inf)
    return within(alg, alg.gate(squares(alg, x, axes, keepdims=keepdims), SQRT), 0.0, inf)


def unit(alg: Algebra[T], x: T, axes: Sequence[int], p: int) -> T:
    """x/‖x‖ over axes."""
    inverse = alg.gate(norm(alg, x, axes, p), RECIPROCAL)
    return within(alg, times(alg, x, within(alg, inverse, 0.0, inf)), -1.0, 1.0)
