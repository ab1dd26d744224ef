"""Numbers of a tape in float64, with what they may be off; differences are exact or say by how much they are not."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch

Tensor = torch.Tensor
U = 2.0**-53
"""Half the distance from 1 to the next float64: the largest relative error of one operation."""


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Numbers in float64, and how far each may be off the real number that is meant.

    Parameters
    ----------
    values
        Any shape.
    error
        Of the same shape; ``None`` where all are exact.
    """

    values: Tensor
    error: Tensor | None = None

    @property
    def size(self) -> Tensor:
        """Upper bounds of the magnitudes."""
        return self.values.abs() if self.error is None else (self.values.abs() + self.error) * (1 + 4 * U)

    @property
    def relative(self) -> float:
        """The largest error as a share of its number; infinite where 0 has one."""
        if self.error is None or not self.error.numel():
            return 0.0
        return float((self.error / self.values.abs()).nan_to_num(0.0, inf).amax()) * (1 + 4 * U)

    def minus(self, other: Coefficients) -> Coefficients:
        """Return the difference, which is exact wherever float64 can hold it."""
        if self is other:
            return Coefficients(torch.zeros_like(self.values))
        x, y = self.values, other.values
        difference = x - y
        taken = x - difference  # what was taken away (two-sum)
        lost = (x - (difference + taken)).add_(taken.sub_(y)).abs_()
        errors = [e for e in (self.error, other.error) if e is not None]
        if lost.numel() and not bool(lost.amax() == 0):  # not a number where the difference has overflowed
            errors.append(lost)
        error = sum(errors[1:], errors[0]) * (1 + 8 * U) if errors else None
        return Coefficients(difference, error)

    @property
    def nothing(self) -> bool:
        """Whether all are zero, without an error."""
        parts = [self.values] if self.error is None else [self.values, self.error]
        return all(not x.numel() or bool(x.amin() == 0 == x.amax()) for x in parts)
