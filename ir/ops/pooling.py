"""Order statistics: max pooling, maxima, and sorting."""

from __future__ import annotations

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.ops.registry import op
from pathlift.ir.primitives.selections import Extremum, Sort, WindowMax
from pathlift.ir.primitives.views import Stack
from pathlift.ir.types import Ints


@op("MaxPool")
def max_pool(
    alg: Algebra[T], x: T, *, kernel: Ints, strides: Ints, pads: Ints, dilations: Ints, ceil_mode: bool = False
) -> T:
    """Maximum over windows; padding is never selected."""
    return alg.select(x, WindowMax(kernel, strides, pads, dilations, ceil_mode))


@op("ReduceMax")
def reduce_max(alg: Algebra[T], x: T, *, axes: Ints = (), keepdims: bool = True) -> T:
    """Maximum over axes (all of them, if none is named)."""
    return alg.select(x, Extremum(axes, keepdims))


@op("ReduceMin")
def reduce_min(alg: Algebra[T], x: T, *, axes: Ints = (), keepdims: bool = True) -> T:
    """Minimum over axes (all of them, if none is named)."""
    return alg.select(x, Extremum(axes, keepdims, largest=False))


@op("TopK")
def top_k(alg: Algebra[T], x: T, *, axis: int = -1, k: int, largest: bool = True) -> T:
    """The k largest (or smallest) values along an axis, sorted: GroupSort, and Sort with k the whole axis."""
    return alg.select(x, Sort(axis, k, largest))


@op("Max")
def maximum(alg: Algebra[T], x: T, *rest: T) -> T:
    """Elementwise maximum, with broadcasting."""
    return alg.select(alg.move((x, *rest), Stack()), Extremum((0,), keepdims=False))


@op("Min")
def minimum(alg: Algebra[T], x: T, *rest: T) -> T:
    """Elementwise minimum, with broadcasting."""
    return alg.select(alg.move((x, *rest), Stack()), Extremum((0,), keepdims=False, largest=False))
