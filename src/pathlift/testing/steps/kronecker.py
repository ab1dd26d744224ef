"""Kronecker-sparse linear maps."""

from __future__ import annotations

from pathlift.ir.graph import Value
from pathlift.testing.growth import Growth, is_vector, step


@step("KSLinear", weight=3)
def _ks_linear(g: Growth, x: Value) -> Value:
    return _grown(g, x, g.shape(x)[-1])


@step("KSLinear", "Transpose", fits=is_vector)
def _feature_major(g: Growth, x: Value) -> Value:
    columns = g.op("Transpose", x, perm=(1, 0))
    return g.op("Transpose", _grown(g, columns, g.shape(x)[0], feature_major=True), perm=(1, 0))


def _grown(g: Growth, x: Value, features: int, *, feature_major: bool = False) -> Value:
    a = _divisor(g, features)
    c = _divisor(g, features // a)
    d = features // (a * c)
    b = g.integer(1, max(1, min(3, 8 // (a * d))))
    bias = g.weights(a * b * d) if g.flag() else None
    activation = g.choice(["", "Relu"])
    shape = (a * b * d,) if feature_major else (*g.shape(x)[:-1], a * b * d)
    residual = g.choice([None, *(u for u in reversed(g.live) if g.shape(u) == shape)])
    if residual is not None and feature_major:
        residual = g.op("Transpose", residual, perm=(1, 0))
    return g.op(
        "KSLinear", x, g.weights(a, d, b, c), bias, residual,
        pattern=(a, b, c, d), feature_major=feature_major, activation=activation,
    )  # fmt: skip


def _divisor(g: Growth, n: int) -> int:
    return g.choice([k for k in range(1, n + 1) if n % k == 0])
