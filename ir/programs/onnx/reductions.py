"""Reductions over axes, beyond sums and maxima."""

from __future__ import annotations

from collections.abc import Sequence

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.base import normalized_axes
from pathlift.ir.primitives.views import Squeeze, Take
from pathlift.ir.programs.gates import LOG
from pathlift.ir.programs.norms import norm, squares
from pathlift.ir.programs.onnx.registry import program
from pathlift.ir.programs.parts import ints, times, total
from pathlift.ir.programs.softmax import log_sum_exp

MOST_FACTORS = 64
"""The longest axis along which elements are multiplied."""


@program("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd")
def reduced(
    alg: Algebra[T],
    x: T,
    given: T | None = None,
    *,
    op_type: str,
    axes: Sequence[int] = (),
    keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> T:
    """Norms, and sums and products in other scales; axes are an attribute or an input."""
    axes = tuple(axes) if given is None else ints(alg, given)
    if not axes and noop_with_empty_axes:
        raise UnsupportedError("0304", "a reduction over no axes")
    axes = normalized_axes(axes, len(alg.extents(x)))
    match op_type:
        case "ReduceL1" | "ReduceL2":
            y = norm(alg, x, axes, int(op_type[-1]))
        case "ReduceSumSquare":
            y = squares(alg, x, axes)
        case "ReduceLogSum":
            y = alg.gate(total(alg, x, axes), LOG)
        case "ReduceLogSumExp":
            y = log_sum_exp(alg, x, axes)
        case _:
            y = x
            for axis in axes:
                y = _multiplied(alg, y, axis)
    return y if keepdims or not axes else alg.move((y,), Squeeze(axes))


def _multiplied(alg: Algebra[T], x: T, axis: int) -> T:
    n = alg.extents(x)[axis]
    if not 0 < n <= MOST_FACTORS:
        raise UnsupportedError("0304", f"a product of {n} activations")
    factors = [alg.move((x,), Take(axis, (i,))) for i in range(n)]
    y = factors[0]
    for factor in factors[1:]:
        y = times(alg, y, factor)
    return y
