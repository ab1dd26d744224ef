"""The best temperature: what rescaling a model's logits would heal."""

from __future__ import annotations

import numpy as np

from pathlift.ir.types import Array

RANGE = (0.05, 20.0)


def best_temperature(logits: Array, targets: Array, expected: Array | None = None) -> float:
    """Return the temperature at which the mean loss of tokens is least, between 0.05 and 20.

    Places where a token that has to be possible is excluded are left out; 1 if that is all of them. The loss is convex
    in 1/T: its slope, E_q[z] − z_x, or E_q[z] − E_p[z] where p is known, is bisected.

    Parameters
    ----------
    logits
        ``(places, tokens)``, float64.
    targets
        ``(places,)``: the tokens that stand there.
    expected
        ``(places, tokens)``, float64: p, if it is known.
    """
    own = np.take_along_axis(logits, targets[:, None], 1) if expected is None else np.where(expected > 0, logits, 0.0)
    possible = np.isfinite(own).all(1)  # elsewhere the loss is infinite at all temperatures
    if not possible.any():
        return 1.0
    logits, targets = logits[possible], targets[possible]
    expected = None if expected is None else expected[possible]
    some = np.isfinite(logits)
    z = np.where(some, logits, 0.0)
    wanted = z[np.arange(len(z)), targets] if expected is None else (expected * z).sum(1)

    def slope(inverse: float) -> float:
        scaled = np.where(some, z * inverse, -np.inf)
        q = np.exp(scaled - scaled.max(1, keepdims=True))
        return float(((q * z).sum(1) / q.sum(1) - wanted).mean())

    low, high = 1 / RANGE[1], 1 / RANGE[0]
    if slope(low) >= 0:
        return RANGE[1]
    if slope(high) <= 0:
        return RANGE[0]
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return 2 / (low + high)
