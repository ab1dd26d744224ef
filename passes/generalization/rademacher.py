"""Generalization bounds by path-norms: Theorem 3.1 of arXiv 2310.01225, and a margin bound with confidence.

Let r bound ‖Φ(θ)‖₁ over a class of networks, and the loss be L-Lipschitz in the scores (Euclidean norm). Then

    E sup (expected loss − loss on n samples) ≤ 4·max(B, 1)/√n · L·C·r,    B = max ‖x‖_∞,

and for losses within [0, 1], by McDiarmid's inequality, with the data's own σ in place of √n·max(B, 1),

    expected loss ≤ loss on the samples + 4·σ/n · L·C·r + 3·√(ln(2/δ)/(2n)),    σ² = max(n, max_u Σ_i x_iu²),

with probability 1 − δ, for all networks of the class at once. The proof of both is in docs/theory.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, log, log10, nextafter, pi, sqrt

GRID = 8
"""Points of the grid of norms per octave."""
_LOG10_2 = log10(2)


@dataclass(frozen=True)
class Gap:
    """The bound of a generalization gap.

    Parameters
    ----------
    log10
        Its decimal logarithm, rounded up; ``None`` if it is 0.
    value
        The bound, rounded up; ``None`` where a float64 cannot hold it.
    """

    log10: float | None
    value: float | None


def gap(scale: float, lipschitz: float, c: float, log10_r: float | None) -> Gap:
    """Return 4·scale·L·C·r.

    Parameters
    ----------
    scale
        max(B, 1)/√n, or σ/n.
    lipschitz
        L.
    c
        C.
    log10_r
        Decimal logarithm of the bound on the path-norm; ``None`` for 0.
    """
    if log10_r is None:
        return Gap(None, 0.0)
    total = log10(4) + log10(scale) + log10(lipschitz) + log10(c) + log10_r
    total = nextafter(total + 1e-15 * (8 + abs(total)), inf)
    return Gap(total, value(total))


def value(log: float) -> float | None:
    """Return the power of ten, rounded up; ``None`` where a float64 cannot hold it."""
    return float(nextafter(10.0**log * (1 + 1e-14 * (1 + abs(log))), inf)) if -307 < log < 308 else None


@dataclass(frozen=True)
class GridPoint:
    """The least point of the grid r_k = 2^((k−1)/8), k = 1, 2, …, that is not below a norm, and its share of δ.

    Parameters
    ----------
    index
        k.
    log10_r
        Decimal logarithm of r_k, rounded up.
    share
        6/(πk)²: what all k get adds up to 1.
    """

    index: int
    log10_r: float
    share: float


def grid_point(log10_norm: float | None) -> GridPoint:
    """Choose the point of the grid for a norm; ``None`` for a norm of 0."""
    steps = 0.0 if log10_norm is None else log10_norm / _LOG10_2 * GRID
    k = max(1, ceil(steps + 1e-12 * (1 + abs(steps))) + 1)
    return GridPoint(k, nextafter((k - 1) / GRID * _LOG10_2, inf), 6 / (pi * k) ** 2 * (1 - 1e-15))


def deviation(n: int, delta: float) -> float:
    """Return 3·√(ln(2/δ)/(2n)): what the loss of the samples, and their Rademacher complexity, may be off by."""
    return 3 * sqrt(log(2 / delta) / (2 * n)) * (1 + 1e-14)


def fineness() -> float:
    """By which factor, at most, the grid raises the norm."""
    return float(2 ** (1 / GRID))
