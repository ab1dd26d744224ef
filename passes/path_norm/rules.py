"""Rules for activations and paddings that a path-norm can be read through, without running anything (nor torch)."""

from __future__ import annotations

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.base import Activation
from pathlift.ir.primitives.views import Pad

MINUS_INFINITY = 1e30
"""Constants this large stand for an infinity (the lowest float32 before a max-pool), not for a bias."""
_HINT = "path-norms know ReLU-like activations, and bound Clip and Tanh"


def check_activation(f: Activation) -> bool:
    """Whether an activation is part of the path-lifting theorem (homogeneous), or is read as a bound.

    A 1-Lipschitz activation with f(0) = 0 satisfies |f(x)| ≤ |x|, and Clip satisfies |f(x)| ≤ |x| + |f(0)|: reading
    them as ReLU (with a bias |f(0)|) bounds magnitudes and Lipschitz constants. Quantizers are read as the identity.

    Returns
    -------
    bool
        True if exact, False if a bound.

    Raises
    ------
    UnsupportedError
        For all others.
    """
    if f.homogeneous:
        return True
    if f.name in ("Clip", "FakeQuantize") or (f.lipschitz <= 1 and f.at_zero == 0):
        return False
    reason = f"{f.name} inside the network is not homogeneous, nor 1-Lipschitz with f(0) = 0"
    raise UnsupportedError("0315", reason, hint=_HINT)


def check_padding(v: Pad) -> None:
    """Check that the value a padding adds is a number, where paths start as at a bias.

    Raises
    ------
    UnsupportedError
        If it is an infinity, or stands for one.
    """
    if not abs(v.value) < MINUS_INFINITY:
        hint = "padding before a max-pool belongs into the pool"
        raise UnsupportedError("0316", f"padding with {v.value:g}", hint=hint)
