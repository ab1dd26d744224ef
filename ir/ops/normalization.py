"""Normalization with frozen statistics."""

from __future__ import annotations

from typing import Any

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.ops.registry import op


@op("BatchNormalization")
def batch_normalization(alg: Algebra[T], x: T, gamma: T, beta: T, mean: T, var: T, *, epsilon: float = 1e-5) -> T:
    """Frozen batch normalization along axis 1: one edge s = γ/√(var+ε) and one bias β − s·mean."""

    def edge(gamma: Any, var: Any) -> Any:
        return gamma / (var + epsilon) ** 0.5

    s = alg.derive(edge, gamma, var)
    shift = alg.add(beta, alg.scale(alg.scale(mean, s), -1.0))
    return alg.add(alg.scale(x, s, axis=1), shift, axis=1)
