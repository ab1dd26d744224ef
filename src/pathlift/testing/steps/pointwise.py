"""Activations."""

from __future__ import annotations

from math import inf

from pathlift.ir.graph import Value
from pathlift.testing.growth import Growth, step


@step("Relu")
def _relu(g: Growth, x: Value) -> Value:
    return g.op("Relu", x)


@step("LeakyRelu")
def _leaky_relu(g: Growth, x: Value) -> Value:
    return g.op("LeakyRelu", x, alpha=g.choice([0.25, -0.5, 2.0, -1.5, 0.0]))


@step("PRelu")
def _prelu(g: Growth, x: Value) -> Value:
    shape = g.shape(x)
    column = (shape[0], *[1] * (len(shape) - 1))
    slopes = g.choice([(1,), column, shape])
    return g.op("PRelu", x, g.param(g.rng.integers(-8, 9, slopes) / 4))


@step("Clip")
def _clip_at_zero(g: Growth, x: Value) -> Value:
    return g.op("Clip", x, **g.choice([{"low": 0.0, "high": inf}, {"low": -inf, "high": 0.0}]))


@step("Clip", exact=False)
def _clip(g: Growth, x: Value) -> Value:
    low, high = g.choice([(0.0, 6.0), (-1.0, 1.0), (0.5, 2.0), (-2.0, inf)])
    return g.op("Clip", x, low=low, high=high)


@step("HardSigmoid", exact=False)
def _hard_sigmoid(g: Growth, x: Value) -> Value:
    return g.op("HardSigmoid", x, alpha=g.choice([0.25, -0.5]), beta=g.choice([0.5, 0.0]))


@step("Elu", exact=False)
def _elu(g: Growth, x: Value) -> Value:
    return g.op("Elu", x, alpha=g.choice([1.0, 2.0]))
