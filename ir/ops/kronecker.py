"""Kronecker-sparse linear maps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.errors import GraphError
from pathlift.ir.kronecker import Pattern
from pathlift.ir.ops.pointwise import gelu, relu
from pathlift.ir.ops.registry import op
from pathlift.ir.primitives.maps import Contract
from pathlift.ir.primitives.reshapes import Regroup
from pathlift.ir.types import Ints

ACTIVATIONS: dict[str, Callable[..., Any]] = {"Relu": relu, "Gelu": gelu, "GeluTanh": partial(gelu, tanh=True)}
"""What an epilogue may apply, by name."""


@op("KSLinear")
def ks_linear(
    alg: Algebra[T],
    x: T,
    w: T,
    b: T | None = None,
    residual: T | None = None,
    *,
    pattern: Ints,
    feature_major: bool = False,
    activation: str = "",
) -> T:
    """x·Kᵀ + b + residual, where K has pattern (a, b, c, d); w holds its non-zeros, shape (a, d, b, c).

    Features are the last axis of x, whatever its rank; with feature_major they are the first axis of a matrix. The
    residual has the shape and the layout of the result, and is not broadcast. The activation comes last.
    """
    if len(pattern) != 4 or min(pattern) < 1:
        raise GraphError("0544", f"{pattern!r} is no pattern (a, b, c, d)")
    if activation not in ("", *ACTIVATIONS):
        raise GraphError("0545", f"there is no epilogue {activation!r}", hint=", ".join(ACTIVATIONS))
    p = Pattern(*pattern)
    axis = 0 if feature_major else -1
    x = alg.move((x,), Regroup(axis, (p.cols,), (p.a, p.c, p.d)))
    y = alg.linear(Contract("ikln,ilpk->ipln" if feature_major else "...ikl,ilpk->...ipl"), x, w)
    y = alg.move((y,), Regroup(axis, (p.a, p.b, p.d), (p.rows,)))
    if b is not None:
        y = alg.add(y, b, axis=axis)
    if residual is not None:
        y = alg.add(y, residual, alike=True)
    if not activation:
        return y
    result: T = ACTIVATIONS[activation](alg, y)
    return result
