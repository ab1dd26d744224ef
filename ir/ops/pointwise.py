"""Elementwise activations, each with the constants that analyses rest on.

Slope bounds that are not exact are rounded outward in the fourth decimal; a test samples them.
"""

from __future__ import annotations

from math import inf, log
from typing import Any

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.ops.registry import op
from pathlift.ir.primitives.base import Activation


def _torch(name: str, *args: Any) -> Any:
    """Return ``torch.nn.functional.name``, looked up when it is called."""

    def call(x: Any) -> Any:
        import torch

        return getattr(torch.nn.functional, name)(x, *args)

    return call


@op("Relu")
def relu(alg: Algebra[T], x: T) -> T:
    """max(x, 0)."""
    return alg.gate(x, Activation("Relu", (0.0, 1.0), lambda x: x.clamp(min=0), homogeneous=True))


@op("LeakyRelu")
def leaky_relu(alg: Algebra[T], x: T, *, alpha: float = 0.009999999776482582) -> T:
    """The input where positive, alpha·x elsewhere."""
    slopes = (min(alpha, 1.0), max(alpha, 1.0))
    return alg.gate(x, Activation("LeakyRelu", slopes, _torch("leaky_relu", alpha), homogeneous=True))


@op("PRelu")
def prelu(alg: Algebra[T], x: T, slope: T) -> T:
    """The input where positive, slope·x elsewhere; the slope is a parameter that broadcasts to x."""
    f = Activation("PRelu", (-inf, inf), lambda x, slope: x.clamp(min=0) + slope * x.clamp(max=0), homogeneous=True)
    return alg.gate(x, f, slope)


@op("Abs")
def abs_(alg: Algebra[T], x: T) -> T:
    """|x|: a leaky ReLU of slope −1."""
    return alg.gate(x, Activation("Abs", (-1.0, 1.0), lambda x: x.abs(), homogeneous=True))


@op("Clip")
def clip(alg: Algebra[T], x: T, *, low: float = -inf, high: float = inf) -> T:
    """min(max(x, low), high); ReLU6 is Clip(0, 6)."""
    at_zero = min(max(0.0, low), high)
    homogeneous = low in (0.0, -inf) and high in (0.0, inf)
    f = Activation("Clip", (0.0, 1.0), lambda x: x.clamp(low, high), at_zero=at_zero, homogeneous=homogeneous)
    return alg.gate(x, f)


@op("Tanh")
def tanh(alg: Algebra[T], x: T) -> T:
    """Hyperbolic tangent."""
    return alg.gate(x, Activation("Tanh", (0.0, 1.0), _torch("tanh")))


@op("Softsign")
def softsign(alg: Algebra[T], x: T) -> T:
    """x/(1+|x|)."""
    return alg.gate(x, Activation("Softsign", (0.0, 1.0), _torch("softsign")))


@op("Elu")
def elu(alg: Algebra[T], x: T, *, alpha: float = 1.0) -> T:
    """The input where positive, alpha·(exp(x)−1) elsewhere."""
    slopes = (min(alpha, 0.0), max(alpha, 1.0))
    return alg.gate(x, Activation("Elu", slopes, _torch("elu", alpha)))


@op("Sigmoid")
def sigmoid(alg: Algebra[T], x: T) -> T:
    """1/(1+exp(−x))."""
    return alg.gate(x, Activation("Sigmoid", (0.0, 0.25), _torch("sigmoid"), at_zero=0.5))


@op("HardSigmoid")
def hard_sigmoid(alg: Algebra[T], x: T, *, alpha: float = 0.20000000298023224, beta: float = 0.5) -> T:
    """alpha·x + beta, clipped to [0, 1]."""
    slopes = (min(alpha, 0.0), max(alpha, 0.0))
    f = Activation("HardSigmoid", slopes, lambda x: (alpha * x + beta).clamp(0, 1), at_zero=min(max(beta, 0.0), 1.0))
    return alg.gate(x, f)


@op("HardSwish")
def hard_swish(alg: Algebra[T], x: T) -> T:
    """x·clip(x/6 + 1/2, 0, 1)."""
    return alg.gate(x, Activation("HardSwish", (-0.5, 1.5), _torch("hardswish")))


@op("Softplus")
def softplus(alg: Algebra[T], x: T) -> T:
    """log(1 + exp(x))."""
    f = Activation("Softplus", (0.0, 1.0), lambda x: x.clamp(min=0) + (-x.abs()).exp().log1p(), at_zero=log(2.0))
    return alg.gate(x, f)


@op("Erf")
def erf(alg: Algebra[T], x: T) -> T:
    """The error function."""
    return alg.gate(x, Activation("Erf", (0.0, 1.1284), lambda x: x.erf()))


@op("Gelu")
def gelu(alg: Algebra[T], x: T, *, tanh: bool = False) -> T:
    """x·Φ(x), exactly or in the tanh approximation."""

    def call(x: Any) -> Any:
        import torch

        return torch.nn.functional.gelu(x, approximate="tanh" if tanh else "none")

    return alg.gate(x, Activation("Gelu", (-0.1290, 1.1290), call))


@op("FakeQuantize")
def fake_quantize(alg: Algebra[T], x: T, *, scale: float, zero_point: int, dtype: str, low: int, high: int) -> T:
    """A QuantizeLinear–DequantizeLinear pair: rounds to multiples of scale and saturates to [low, high]."""

    def call(x: Any) -> Any:
        return ((x / scale).round().add(zero_point).clamp(low, high) - zero_point) * scale

    del dtype  # how the pair is written back, not what it computes
    at_zero = (min(max(zero_point, low), high) - zero_point) * scale
    return alg.gate(x, Activation("FakeQuantize", (0.0, inf), call, at_zero=at_zero))
