"""The objective of all solvers: ‖Y − K₁⋯K_L·X‖_F, over the non-zeros of Kronecker-sparse factors.

The distance of W to a product, weighted by the second moment C = F·Fᵀ of the inputs, is this with X = F and Y = W·F:
‖(W − K₁⋯K_L)·C^½‖_F. Square roots instead of C keep its condition number, and a singular C is one with fewer columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pathlift.ir.kronecker import Pattern, apply, dense, gather, pattern_of
from pathlift.ir.types import Array


@dataclass(frozen=True)
class Objective:
    """The distance ‖Y − K₁⋯K_L·X‖_F.

    Parameters
    ----------
    target
        Y, ``(rows, n)``, float64.
    inputs
        X, ``(cols, n)``, float64; ``None`` is the identity.
    """

    target: Array
    inputs: Array | None = None

    def reads(self, factors: Sequence[Array]) -> list[Array | None]:
        """Return what each factor is multiplied with, from first to last, ``(cols, n)``; ``None`` is the identity."""
        found = [self.inputs]
        for factor in reversed(factors[1:]):
            found.append(times(factor, found[-1]))
        return found[::-1]

    def loss(self, factors: Sequence[Array], reads: Sequence[Array | None] | None = None) -> float:
        """Return the distance; ``reads``, where they are known already, spare computing them."""
        reads = self.reads(factors) if reads is None else reads
        return float(np.linalg.norm(times(factors[0], reads[0]) - self.target))

    def gradients(self, factors: Sequence[Array]) -> tuple[float, list[Array]]:
        """Return the distance, and the gradient of half its square with respect to each factor."""
        reads = self.reads(factors)
        error = times(factors[0], reads[0]) - self.target
        loss, found = float(np.linalg.norm(error)), list[Array]()
        for factor, read in zip(factors, reads, strict=True):
            found.append(correlate(error, read, pattern_of(factor)))
            error = apply(factor.swapaxes(2, 3), error)
        return loss, found


def times(factor: Array, x: Array | None) -> Array:
    """Return K·x; ``None`` is the identity."""
    return dense(factor) if x is None else apply(factor, x)


def correlate(y: Array, x: Array | None, pattern: Pattern) -> Array:
    """Read the elements of y·xᵀ that lie in a pattern, ``(a, d, b, c)``, without computing others.

    Parameters
    ----------
    y, x
        ``(a·b·d, n)`` and ``(a·c·d, n)``; ``None`` is the identity.
    pattern
        (a, b, c, d).
    """
    if x is None:
        return gather(y, pattern)
    a, b, c, d = pattern
    rows, cols = y.reshape(a, b, d, -1).swapaxes(1, 2), x.reshape(a, c, d, -1).transpose(0, 2, 3, 1)
    found: Array = rows @ cols
    return found
