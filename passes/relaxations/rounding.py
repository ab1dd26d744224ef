"""Sums that lower bounds are made of, rounded down, in a way that can be differentiated."""

from __future__ import annotations

import torch

from pathlift.passes.intervals.box import SMALLEST, Box, U, gamma
from pathlift.passes.intervals.pairs import Triple

Tensor = torch.Tensor
MORE = 1 + 1e-6
"""What sums of fewer than 2**32 magnitudes are off by, and more."""


def below(x: Tensor) -> Tensor:
    """A number below x by at least the distance to the next one: |x|·2u is more than half of it, and no rounding."""
    return torch.where(x.isfinite(), x - x.abs() * (2 * U) - SMALLEST, x)


def flat(x: Tensor) -> Tensor:
    """``(R, n)`` of rows of any shape, of numbers too."""
    return x[..., None].flatten(1)


def size(rows: Tensor, magnitudes: Tensor) -> Tensor:
    """Σ |row|·magnitude, not less than that.

    Parameters
    ----------
    rows
        ``(R, *shape)``.
    magnitudes
        Not negative, of this shape; ``inf`` counts only where a row is not zero.

    Returns
    -------
    Tensor
        ``(R,)``.
    """
    if bool(magnitudes.isfinite().all()):
        found = flat(rows.abs()) @ magnitudes.flatten()
    else:
        found = flat(torch.where(rows == 0, 0.0, rows.abs() * magnitudes.nan_to_num(torch.inf, torch.inf))).sum(1)
    return found * MORE + magnitudes.numel() * SMALLEST


def dot(rows: Tensor, values: Tensor) -> Tensor:
    """Σ row·value, not more than that; ``(R,)``."""
    n = values.numel()
    return below(flat(rows) @ values.flatten() - gamma(n) * size(rows, values.abs()))


def least(rows: Tensor, box: Box) -> Tensor:
    """The least values of row·x over a box, elementwise; not rounded outward."""
    return _times(rows.clamp(min=0), box.low) + _times(rows.clamp(max=0), box.high)


def _times(rows: Tensor, bound: Tensor) -> Tensor:
    if bool(bound.isfinite().all()):
        return rows * bound
    return torch.where(rows == 0, 0.0, rows * bound)


def total(values: Tensor) -> Tensor:
    """Σ over all but the first axis, not more than that."""
    terms = flat(values)
    sums = terms.sum(1)
    error = gamma(terms.shape[1]) * MORE * torch.where(terms.isfinite(), terms.abs(), 0.0).sum(1)
    return below(sums - error)


def floor(p: Tensor, q: Tensor | None, t: Triple) -> Tensor:
    """Bound P·z + Q·δ from below by what is known of z, z + δ and δ, elementwise, rounded down.

    Of the three ways to write it the best is taken for each element: by z and δ, by z and z + δ, by z + δ and δ.
    """
    if q is None:
        return _rounded(least(p, t.a))
    ways = ((p, t.a, q, t.d), (p - q, t.a, q, t.b), (p, t.b, q - p, t.d))
    found = [_rounded(least(x, box), least(y, other)) for x, box, y, other in ways]
    return torch.maximum(torch.maximum(found[0], found[1]), found[2])


def _rounded(*terms: Tensor) -> Tensor:
    """A sum of products of a rounded difference and a bound: each is off by a few units of its own size."""
    value = sum(terms[1:], terms[0])
    error = sum((t.abs() for t in terms[1:]), terms[0].abs())
    value = torch.where(value.isfinite(), value - (8 * U) * error - SMALLEST, value)
    return value.nan_to_num(-torch.inf, torch.inf, -torch.inf)
