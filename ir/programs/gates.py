"""Gates that certificates need beyond activations: elementary functions, each on the pieces where it is one.

Where a function is not defined, torch returns NaN, and nothing is known; where its values are not bounded, it has a
pole. A point where it is neither is a bend: what is beside it is never mistaken for a part of the function.
"""

from __future__ import annotations

import functools
from math import inf, pi

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.primitives.base import Activation

CAP = 600.0
"""Beyond it, an exponential is more than 1e260."""
EXP = Activation("Exp", (0.0, inf), lambda x: x.exp(), 1.0, bends=(), relative=True)
CAPPED_EXP = Activation("CappedExp", (0.0, inf), lambda x: x.clamp(max=CAP).exp(), 1.0, bends=(CAP,), relative=True)
NOTHING = 1e-260
"""More than what is left of a reciprocal of it."""
NEXT_TO_NOTHING = Activation(
    "NextToNothing",
    (-inf, inf),
    lambda x: 0.0 * x,
    bends=(),
    affine=True,
    smooth=lambda x: 0.0 * x,
    jump=NOTHING,
    steady=NOTHING,
)
LOG = Activation("Log", (0.0, inf), lambda x: x.log(), -inf, bends=(0.0,), poles=(0.0,))
SQRT = Activation("Sqrt", (0.0, inf), lambda x: x.sqrt(), bends=(0.0,), relative=True)
RECIPROCAL = Activation("Reciprocal", (-inf, 0.0), lambda x: 1 / x, inf, bends=(0.0,), poles=(0.0,), relative=True)
ABS = Activation("Abs", (-1.0, 1.0), lambda x: x.abs(), homogeneous=True, bends=(0.0,), affine=True)
RELU = Activation("Relu", (0.0, 1.0), lambda x: x.clamp(min=0), homogeneous=True, bends=(0.0,), affine=True)
TANH = Activation("Tanh", (0.0, 1.0), lambda x: x.tanh(), bends=(0.0,))
SIGMOID = Activation("Sigmoid", (0.0, 0.25), lambda x: x.sigmoid(), 0.5, bends=(0.0,))
SIN = Activation("Sin", (-1.0, 1.0), lambda x: x.sin(), bends=(0.0, 0.5 * pi, pi, 1.5 * pi), period=2 * pi)
COS = Activation("Cos", (-1.0, 1.0), lambda x: x.cos(), 1.0, bends=(0.0, 0.5 * pi, pi, 1.5 * pi), period=2 * pi)

# Steps: how far they are from a line.
STEPS = {
    "Floor": Activation(
        "Floor", (0.0, inf), lambda x: x.floor(), bends=(), affine=True, smooth=lambda x: x - 0.5, jump=0.5
    ),
    "Ceil": Activation(
        "Ceil", (0.0, inf), lambda x: x.ceil(), bends=(), affine=True, smooth=lambda x: x + 0.5, jump=0.5
    ),
    "Round": Activation("Round", (0.0, inf), lambda x: x.round(), bends=(), affine=True, smooth=lambda x: x, jump=0.5),
    "Trunc": Activation("Trunc", (0.0, inf), lambda x: x.trunc(), bends=(), affine=True, smooth=lambda x: x, jump=1.0),
    "Sign": Activation(
        "Sign",
        (0.0, inf),
        lambda x: x.sign(),
        bends=(-1.0, 1.0),
        affine=True,
        smooth=lambda x: x.clamp(-1, 1),
        jump=1.0,
    ),
}


@functools.cache
def power(p: float) -> Activation:
    """x ↦ xᵖ: on all of ℝ for a whole p, else where x is not negative; a negative p has a pole at 0."""
    whole = p == int(p)
    rises = p > 0 if not whole or p % 2 else None
    slopes = {None: (-inf, inf), True: (0.0, inf), False: (-inf, 0.0)}[rises]
    at_zero = inf if p < 0 else float(p == 0)
    poles = (0.0,) if p < 0 else ()
    return Activation(f"Pow({p!r})", slopes, lambda x: x**p, at_zero, bends=(0.0,), poles=poles)


def exp(alg: Algebra[T], x: T) -> T:
    """Exp, which is not negative."""
    from pathlift.ir.programs.parts import within

    return within(alg, alg.gate(x, EXP), 0.0, inf)
