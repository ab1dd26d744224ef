"""Normalization with frozen statistics."""

from __future__ import annotations

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.ops.registry import op
from pathlift.ir.primitives.derived import NormScale

EPSILON = 9.999999747378752e-06
"""ONNX's default of 1e-5, in float32."""


@op("BatchNormalization")
def batch_normalization(alg: Algebra[T], x: T, gamma: T, beta: T, mean: T, var: T, *, epsilon: float = EPSILON) -> T:
    """Frozen batch normalization along axis 1: one edge s = γ/√(var+ε) and one bias β − s·mean."""
    s = alg.derive(NormScale(epsilon), gamma, var)
    shift = alg.add(beta, alg.scale(alg.scale(mean, s), -1.0))
    return alg.add(alg.scale(x, s, axis=1), shift, axis=1)
