"""Normalization with frozen statistics."""

from __future__ import annotations

from typing import Any

from pathlift.ir.algebra import Algebra, T
from pathlift.ir.ops.registry import op


@op("BatchNormalization")
def batch_normalization(alg: Algebra[T], x: T, gamma: T, beta: T, mean: T, var: T, *, epsilon: float = 1e-5) -> T:
    """Frozen batch normalization along axis 1: one edge s = γ/√(var+ε) and one bias β − s·mean."""

    def frozen(gamma: Any, beta: Any, mean: Any, var: Any) -> tuple[Any, Any]:
        s = gamma / (var + epsilon) ** 0.5
        return s, beta - s * mean

    scale, shift = alg.derive(frozen, gamma, beta, mean, var)
    return alg.add(alg.scale(x, scale, axis=1), shift, axis=1)
