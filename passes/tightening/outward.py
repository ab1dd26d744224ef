"""Products of weights that are never too small: their rounding errors are known, and are added when they are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pathlift.ir.types import Array
from pathlift.passes.tape.coefficients import U

_UNDERFLOW = 2.0**-900
"""A rounding of this is more than what underflow may take from a product."""


@dataclass(frozen=True, eq=False)
class Computed:
    """Numbers that were computed, perhaps with rounding.

    Parameters
    ----------
    values
        float64.
    size
        Sums of the magnitudes of their terms, of the same shape.
    roundings
        How many roundings a term met at most; each is at most `U` of `size`.
    """

    values: Array
    size: Array
    roundings: int = 0

    @classmethod
    def exact(cls, values: Array) -> Computed:
        """Numbers of the file."""
        return cls(values, np.abs(values))

    def after(self, weights: Array) -> Computed:
        """Return ``weights @ self``, for exact weights ``(out, in)``."""
        size = np.abs(weights) @ self.size + _UNDERFLOW * (
            (weights != 0).astype(float) @ (self.size != 0).astype(float)
        )
        return Computed(weights @ self.values, size, self.roundings + weights.shape[1] + 2)

    def times(self, factors: Array) -> Computed:
        """Return the product with factors, elementwise; exact where all of them are 0, 1 or −1."""
        rounded = not np.isin(factors, (-1.0, 0.0, 1.0)).all()
        size = self.size * np.abs(factors)
        size = size + _UNDERFLOW * ((factors != 0) & (self.size != 0)) if rounded else size
        return Computed(self.values * factors, size, self.roundings + rounded)

    def plus(self, other: Computed) -> Computed:
        """Return the sum."""
        if not other.size.any():
            return self
        if not self.size.any():
            return other
        count = max(self.roundings, other.roundings) + 1
        return Computed(self.values + other.values, self.size + other.size, count)

    def stored(self, dtype: np.dtype[Any]) -> Array | None:
        """Return the numbers in an element type, none smaller in magnitude than the real number that it stands for.

        ``None`` if one overflows.
        """
        # Sizes are rounded too, by less than a hundredth.
        error = 1.01 * self.roundings * U * self.size
        least = np.abs(self.values) + error
        least = np.where(error > 0, np.nextafter(least, np.inf), least)
        with np.errstate(over="ignore"):
            stored = least.astype(dtype)
        smaller = stored.astype(np.float64) < least
        stored = np.where(smaller, np.nextafter(stored, np.array(np.inf, dtype)), stored)
        if not np.isfinite(stored.astype(np.float64)).all():
            return None
        result: Array = np.copysign(stored, self.values.astype(dtype))
        return result
