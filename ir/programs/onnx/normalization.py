"""Normalization by statistics of the data."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.maps import AveragePool
from pathlift.ir.programs.gates import RECIPROCAL, SQRT, power
from pathlift.ir.programs.norms import centred, inverse_root, root_mean_square, squares, standardized, unit
from pathlift.ir.programs.onnx.registry import program, real
from pathlift.ir.programs.parts import along, plus, reshaped, times, total, within


@program("LayerNormalization")
def layer_normalization(
    alg: Algebra[T], x: T, scale: T, bias: T | None = None, *, axis: int = -1, epsilon: float = real(1e-5)
) -> tuple[T, T, T]:
    """Standardized over the last axes, scaled and shifted; then the mean, and the inverse of the deviation."""
    axes = _last(alg, x, axis)
    y = times(alg, standardized(alg, x, axes, epsilon), scale)
    y = y if bias is None else alg.add(y, bias)
    mean = total(alg, x, axes, mean=True)
    return y, mean, inverse_root(alg, centred(alg, x, axes), axes, epsilon)


@program("RMSNormalization")
def rms_normalization(alg: Algebra[T], x: T, scale: T, *, axis: int = -1, epsilon: float = real(1e-5)) -> T:
    """Divided by the root mean square over the last axes, and scaled."""
    return times(alg, root_mean_square(alg, x, _last(alg, x, axis), epsilon), scale)


@program("InstanceNormalization")
def instance_normalization(alg: Algebra[T], x: T, scale: T, bias: T, *, epsilon: float = real(1e-5)) -> T:
    """Standardized over what is behind the channels, scaled and shifted by channel."""
    rank = len(alg.extents(x))
    y = standardized(alg, x, range(2, rank), epsilon)
    return alg.add(times(alg, y, along(alg, scale, 1, rank)), along(alg, bias, 1, rank))


@program("GroupNormalization")
def group_normalization(alg: Algebra[T], x: T, scale: T, bias: T, *, num_groups: int, epsilon: float = real(1e-5)) -> T:
    """Standardized over groups of channels; scaled and shifted by channel."""
    shape = alg.extents(x)
    grouped = reshaped(alg, x, (shape[0], num_groups, prod(shape[1:]) // num_groups))
    y = standardized(alg, grouped, (2,), epsilon)
    y = reshaped(alg, y, shape)
    return alg.add(times(alg, y, along(alg, scale, 1, len(shape))), along(alg, bias, 1, len(shape)))


@program("MeanVarianceNormalization")
def mean_variance_normalization(alg: Algebra[T], x: T, *, axes: Sequence[int] = (0, 2, 3)) -> T:
    """Less the mean, over the deviation, to which ONNX adds 1e-9."""
    c = centred(alg, x, axes)
    deviation = alg.gate(squares(alg, c, axes, mean=True), SQRT)
    bound = float(prod(alg.extents(x)[axis] for axis in axes))
    return within(alg, times(alg, c, alg.gate(plus(alg, deviation, real(1e-9)), RECIPROCAL)), -bound, bound)


@program("LpNormalization")
def lp_normalization(alg: Algebra[T], x: T, *, axis: int = -1, p: int = 2) -> T:
    """Divided by its norm along an axis."""
    return unit(alg, x, (axis,), p)


@program("LRN")
def lrn(
    alg: Algebra[T], x: T, *, size: int, alpha: float = real(1e-4), beta: float = real(0.75), bias: float = 1.0
) -> T:
    """x/(bias + alpha·mean of the squares of channels around)^beta."""
    shape = alg.extents(x)
    rows = reshaped(alg, times(alg, x, x), (shape[0], 1, shape[1], prod(shape[2:])))
    before = (size - 1) // 2
    window = AveragePool((size, 1), (1, 1), (before, 0, size - 1 - before, 0), (1, 1), count_include_pad=True)
    mean = reshaped(alg, within(alg, alg.linear(window, rows), 0.0, float("inf")), shape)
    return times(alg, x, alg.gate(plus(alg, alg.scale(mean, alpha), bias), power(-beta)))


def _last(alg: Algebra[T], x: T, axis: int) -> range:
    rank = len(alg.extents(x))
    if not -rank <= axis < rank:
        raise UnsupportedError("0304", f"axis {axis} of {rank}")
    return range(axis % rank, rank)
