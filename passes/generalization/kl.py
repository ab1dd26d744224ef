"""The binary relative entropy and its inverse: how far an error rate may be above what was observed."""

from __future__ import annotations

from math import inf, log, log1p, nextafter


def binary_kl(q: float, p: float) -> float:
    """Return kl(q‖p) = q·ln(q/p) + (1 − q)·ln((1 − q)/(1 − p)), for q, p in [0, 1]."""
    if (p == 0 and q > 0) or (p == 1 and q < 1):
        return inf
    left = q * (log(q) - log(p)) if q > 0 else 0.0
    right = (1 - q) * (log1p(-q) - log1p(-p)) if q < 1 else 0.0
    return left + right


def kl_inverse(q: float, c: float) -> float:
    """Return the largest p ≥ q with kl(q‖p) ≤ c, rounded up.

    Parameters
    ----------
    q
        An observed rate, in [0, 1].
    c
        At least 0; may be infinite.

    Returns
    -------
    float
        In [q, 1].

    References
    ----------
    Langford, Caruana, "(Not) bounding the true error", NeurIPS 2001; Maurer, arXiv cs/0411099, for its use.
    """
    if c >= _CERTAIN or q >= 1:
        return 1.0
    low, high = q, 1.0
    for _ in range(2000):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        # Rounding: each of the two terms is off by a few units of the larger parts it is made of.
        slack = 2.0**-50 * (1 + abs(log(middle)) + abs(log1p(-middle)) + c)
        if binary_kl(q, middle) <= c + slack:
            low = middle
        else:
            high = middle
    return min(1.0, nextafter(high, inf))


_CERTAIN = 700.0
"""e^−700 is as good as 0: the inverse is 1, or rounds to it."""
