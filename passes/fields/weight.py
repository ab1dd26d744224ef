"""Parameters on their way to a power: float64 values, and how far rounding may have moved them.

A product of parameters is off by a few relative roundings. A sum may cancel (the shift β − s·mean of a frozen batch
norm): its error is absolute, and kept elementwise until the value is used.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import torch

from pathlift.ir.algebras.numeric import along
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.base import View
from pathlift.ir.primitives.views import Pad
from pathlift.passes.fields.power import Scratch, power
from pathlift.passes.fields.rounding import rounds_up
from pathlift.passes.fields.scaled import Scaled

Tensor = torch.Tensor

U = 2.0**-53
TINY = 2.0**-1000
"""Products below may have lost digits."""
SMALLEST = 2.0**-1074
"""What a lost digit is worth at most."""
MOST_ROUNDINGS = 2.0**20
"""A cancellation that costs more than so many roundings is bracketed."""


@dataclass(frozen=True)
class Weight:
    """A parameter as it is. Powers are taken where it is used: tied uses are edges of their own.

    Parameters
    ----------
    values
        As the file holds them, float32 or float64; arithmetic is in float64.
    roundings
        Relative roundings of size 2⁻⁵³ that each value may have met.
    error
        Absolute error beyond those, elementwise; ``None`` for none.
    finite
        Whether the values are known to be finite.
    integer
        Name of a tensor that is no number: its values stand in for a shape, and may be moved but not used.
    """

    values: Tensor
    roundings: int = 0
    error: Tensor | None = None
    finite: bool = False
    integer: str = ""

    def checked(self) -> Tensor:
        """Return the values, for arithmetic.

        Raises
        ------
        UnsupportedError
            If they are no real numbers, or not finite.
        """
        if self.integer:
            raise UnsupportedError("0310", f"arithmetic with tensor {self.integer!r}, which is not of floats")
        if not self._all_finite:
            raise UnsupportedError("0321", "a parameter that this node computes from its weights is not finite")
        return self.values

    @functools.cached_property
    def _all_finite(self) -> bool:
        return self.finite or bool(self.values.isfinite().all())

    def wide(self) -> Tensor:
        """Return the values in float64, for arithmetic."""
        return self.checked().double()

    def plus(self, other: Weight, axis: int | None = None) -> Weight:
        """Return the sum; with `axis`, `other` is a vector along it."""
        a, rank = self.wide(), self.values.ndim
        b = along(other.wide(), axis, rank)
        total = a + b
        sizes = [t.detach().abs() for t in (a, b, total)]
        error = U * (1.01 * (self.roundings * sizes[0] + other.roundings * sizes[1]) + sizes[2])
        for operand, view in ((self.error, None), (other.error, axis)):
            if operand is not None:
                error = error + along(operand, view, rank)
        return Weight(total, error=error)

    def times(self, other: Weight, axis: int | None = None, *, reciprocal: bool = False) -> Weight:
        """Return the product (or quotient); with `axis`, `other` is a vector along it."""
        factor = along(other.accurate(), axis, self.values.ndim)
        if reciprocal:
            if bool((factor == 0).any()):
                raise UnsupportedError("0314", "division by a constant that holds a zero")
            factor = 1.0 / factor
        product = self.wide() * factor
        uncertain, error = self.values != 0, torch.zeros((), dtype=product.dtype, device=product.device)
        if self.error is not None:
            uncertain, error = uncertain | (self.error != 0), self.error * factor.detach().abs() * (1 + 4 * U)
        lost = (product.detach().abs() < TINY) & uncertain & (factor != 0)
        if bool(lost.any()):  # digits, or all of it
            error = error + lost.double() * (4 * SMALLEST)
        return Weight(product, self.roundings + other.roundings + 2, error if bool(error.any()) else None)

    def at_least(self, low: float) -> Weight:
        """Return the magnitudes, raised to `low` where they are below."""
        return replace(self, values=self.wide().abs().clamp(min=low))

    def accurate(self) -> Tensor:
        """Return the values of a factor, in float64, which must be relatively accurate."""
        if self.error is not None:
            raise UnsupportedError("0318", "a factor is a sum of parameters", hint="fold the constants first")
        return self.wide()

    def _bounded(self, q: float, dtype: torch.dtype) -> tuple[Tensor, int]:
        """Return values to take the power of, and the roundings in units of `dtype` that the power will have met.

        Where cancellation has left nothing accurate, the magnitude is rounded as `rounding_mode` says.
        """
        values, roundings = self.checked(), self.roundings
        if self.error is not None:
            size = values.detach().abs()
            safe = torch.where(size == 0, 1.0, size * U)
            relative = torch.where(size == 0, torch.where(self.error > 0, torch.inf, 0.0), self.error / safe)
            worst = float(relative.max()) if relative.numel() else 0.0
            if worst <= MOST_ROUNDINGS:
                roundings += ceil(1.01 * worst)
            elif rounds_up():
                values = (values.abs() + self.error) * (1 + 4 * U)
        unit = 1.0 if dtype == torch.float64 else 2.0**-29
        return values, ceil(roundings * max(1.0, q) * unit)

    def power(self, q: float, dtype: torch.dtype, scratch: Scratch | None = None) -> Scaled:
        """Return ``|values|**q``, which may live in `scratch`."""
        values, roundings = self._bounded(q, dtype)
        scaled = power(values, q, dtype, scratch)
        return replace(scaled, roundings=scaled.roundings + roundings)


def moved_weights(v: View, weights: Sequence[Weight]) -> Weight:
    """Rearrange parameters, and their errors along with them."""
    error = None
    if any(w.error is not None for w in weights):
        unpadded = replace(v, value=0.0) if isinstance(v, Pad) else v  # what is padded has no error
        error = unpadded(*(torch.zeros_like(w.values) if w.error is None else w.error for w in weights))
    integer = next((w.integer for w in weights if w.integer), "")
    finite = all(w.finite for w in weights)
    return Weight(v(*(w.values for w in weights)), max(w.roundings for w in weights), error, finite, integer)
