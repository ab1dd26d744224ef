"""Intervals of shares: exact ones of one share, and score intervals of the difference of two on the same samples."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, lgamma, log, log1p, sqrt

Interval = tuple[float, float]
_TINY = 1e-300


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b), by its continued fraction.

    Notes
    -----
    Abramowitz and Stegun 26.5.8, evaluated as Lentz does. It converges fast left of the mean; elsewhere
    I_x(a, b) = 1 − I_{1−x}(b, a).
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(1 - x, b, a)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 / _away(1 + term * d), _away(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * value


def _away(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def clopper_pearson(hits: int, count: int, level: float = 0.95) -> Interval:
    """Return the exact interval of a share of which `hits` among `count` were seen (Clopper and Pearson, 1934)."""
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else _root(lambda p: incomplete_beta(p, hits, count - hits + 1) - tail, 0.0, 1.0)
    high = 1.0 if hits == count else _root(lambda p: incomplete_beta(p, hits + 1, count - hits) - 1 + tail, 0.0, 1.0)
    return low, high


def paired_difference(lost: float, won: float, count: int, z: float) -> Interval:
    """Return the score interval of p' − p, where `won` of `count` samples have only p', and `lost` only p.

    It is open where nothing differs: ±z²/(n + z²), where a bootstrap would say that the difference is exactly 0.

    References
    ----------
    Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample design",
    Statistics in Medicine 17, 1998.
    """

    def score(delta: float) -> float:
        b = -won - lost + (2 * count - won + lost) * delta
        c = -lost * delta * (1 - delta)
        q = max((sqrt(max(b * b - 8 * count * c, 0.0)) - b) / (4 * count), 0.0)
        spread = sqrt(max(count * (2 * q + delta * (1 - delta)), _TINY))
        return (won - lost - count * delta) / spread

    found = (won - lost) / count
    low = -1.0 if found == -1 else _root(lambda d: z - score(d), -1.0, found)
    high = 1.0 if found == 1 else _root(lambda d: -z - score(d), found, 1.0)
    return low, high


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Bisect for the zero of a function that rises, to the last bits."""
    for _ in range(100):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2
