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
    return alg.gate(
        x, Activation("Relu", (0.0, 1.0), lambda x: x.clamp(min=0), homogeneous=True, bends=(0.0,), affine=True)
    )


@op("LeakyRelu")
def leaky_relu(alg: Algebra[T], x: T, *, alpha: float = 0.009999999776482582) -> T:
    """The input where positive, alpha·x elsewhere."""
    slopes = (min(alpha, 1.0), max(alpha, 1.0))
    f = _torch("leaky_relu", alpha)
    return alg.gate(x, Activation("LeakyRelu", slopes, f, homogeneous=True, bends=(0.0,), affine=True))


@op("PRelu")
def prelu(alg: Algebra[T], x: T, slope: T) -> T:
    """The input where positive, slope·x elsewhere; the slope is a parameter that broadcasts to x."""

    def call(x: Any, slope: Any) -> Any:
        return x.clamp(min=0) + slope * x.clamp(max=0)

    return alg.gate(x, Activation("PRelu", (-inf, inf), call, homogeneous=True, bends=(0.0,), affine=True), slope)


@op("Abs")
def abs_(alg: Algebra[T], x: T) -> T:
    """|x|: a leaky ReLU of slope −1."""
    f = Activation("Abs", (-1.0, 1.0), lambda x: x.abs(), homogeneous=True, bends=(0.0,), affine=True)
    return alg.gate(x, f)


@op("Clip")
def clip(alg: Algebra[T], x: T, *, low: float = -inf, high: float = inf) -> T:
    """min(max(x, low), high); ReLU6 is Clip(0, 6)."""
    at_zero = min(max(0.0, low), high)
    homogeneous = low in (0.0, -inf) and high in (0.0, inf)
    bends = tuple(sorted({limit for limit in (low, high) if abs(limit) < inf}))

    def call(x: Any) -> Any:
        return x.clamp(low, high)

    return alg.gate(x, Activation("Clip", (0.0, 1.0), call, at_zero, homogeneous, bends, affine=True))


@op("Tanh")
def tanh(alg: Algebra[T], x: T) -> T:
    """Hyperbolic tangent."""
    return alg.gate(x, Activation("Tanh", (0.0, 1.0), _torch("tanh"), bends=(0.0,)))


@op("Softsign")
def softsign(alg: Algebra[T], x: T) -> T:
    """x/(1+|x|)."""
    return alg.gate(x, Activation("Softsign", (0.0, 1.0), _torch("softsign"), bends=(0.0,)))


@op("Elu")
def elu(alg: Algebra[T], x: T, *, alpha: float = 1.0) -> T:
    """The input where positive, alpha·(exp(x)−1) elsewhere."""
    slopes = (min(alpha, 0.0), max(alpha, 1.0))
    return alg.gate(x, Activation("Elu", slopes, _torch("elu", alpha), bends=(0.0,)))


@op("Sigmoid")
def sigmoid(alg: Algebra[T], x: T) -> T:
    """1/(1+exp(−x))."""
    return alg.gate(x, Activation("Sigmoid", (0.0, 0.25), _torch("sigmoid"), at_zero=0.5, bends=(0.0,)))


@op("HardSigmoid")
def hard_sigmoid(alg: Algebra[T], x: T, *, alpha: float = 0.20000000298023224, beta: float = 0.5) -> T:
    """alpha·x + beta, clipped to [0, 1]."""
    slopes = (min(alpha, 0.0), max(alpha, 0.0))
    at_zero = min(max(beta, 0.0), 1.0)
    bends = tuple(sorted([-beta / alpha, (1 - beta) / alpha])) if alpha else ()

    def call(x: Any) -> Any:
        return (alpha * x + beta).clamp(0, 1)

    return alg.gate(x, Activation("HardSigmoid", slopes, call, at_zero, bends=bends, affine=True))


@op("HardSwish")
def hard_swish(alg: Algebra[T], x: T) -> T:
    """x·clip(x/6 + 1/2, 0, 1)."""
    return alg.gate(x, Activation("HardSwish", (-0.5, 1.5), _torch("hardswish"), bends=(-3.0, -1.5, 3.0)))


@op("Softplus")
def softplus(alg: Algebra[T], x: T) -> T:
    """log(1 + exp(x))."""
    f = Activation("Softplus", (0.0, 1.0), lambda x: x.clamp(min=0) + (-x.abs()).exp().log1p(), log(2.0), bends=())
    return alg.gate(x, f)


@op("Erf")
def erf(alg: Algebra[T], x: T) -> T:
    """The error function."""
    return alg.gate(x, Activation("Erf", (0.0, 1.1284), lambda x: x.erf(), bends=(0.0,)))


@op("Gelu")
def gelu(alg: Algebra[T], x: T, *, tanh: bool = False) -> T:
    """x·Φ(x), exactly or in the tanh approximation."""

    def call(x: Any) -> Any:
        import torch

        return torch.nn.functional.gelu(x, approximate="tanh" if tanh else "none")

    turn, inflection = (-0.752461422071016, 1.418504008790829) if tanh else (-0.7517915246935645, 2**0.5)
    return alg.gate(x, Activation("Gelu", (-0.1290, 1.1290), call, bends=(-inflection, turn, inflection)))


@op("FakeQuantize")
def fake_quantize(alg: Algebra[T], x: T, *, scale: float, zero_point: int, dtype: str, low: int, high: int) -> T:
    """A QuantizeLinear–DequantizeLinear pair: rounds to multiples of scale and saturates to [low, high]."""

    def call(x: Any) -> Any:
        return ((x / scale).round().add(zero_point).clamp(low, high) - zero_point) * scale

    del dtype  # how the pair is written back, not what it computes
    at_zero = (min(max(zero_point, low), high) - zero_point) * scale
    ends = ((low - zero_point) * scale, (high - zero_point) * scale)

    def smooth(x: Any) -> Any:
        return x.clamp(*ends)

    # Half a step, and what dividing by the scale may round.
    half = 0.5 * scale * (1 + 2**-20)
    f = Activation("FakeQuantize", (0.0, inf), call, at_zero, bends=ends, affine=True, smooth=smooth, jump=half)
    return alg.gate(x, f)
