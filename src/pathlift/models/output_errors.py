"""Errors of outputs over batches: by how much what a network returns differs from what another one does."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite
from typing import Any

import numpy as np

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.types import is_float


class OutputErrors:
    """‖y − y'‖/‖y‖ of each output y, over all batches that were added."""

    def __init__(self) -> None:
        self._rest, self._whole = dict[str, float](), dict[str, float]()

    def add(self, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        """Add what both return for a batch, arrays by output name; those that hold no real numbers are left out."""
        for name, y in expected.items():
            array = np.asarray(y)
            if is_float(array.dtype):
                wide = array.astype(np.float64)
                rest = wide - np.asarray(found[name]).astype(np.float64)
                self._rest[name] = self._rest.get(name, 0.0) + float(np.square(rest).sum())
                self._whole[name] = self._whole.get(name, 0.0) + float(np.square(wide).sum())

    def relative(self) -> dict[str, float]:
        """Return the errors by output name; ∞ if an element is not finite, or y is 0 and y' is not."""
        return {name: _ratio(self._rest[name], whole) for name, whole in self._whole.items()}

    def largest(self) -> float:
        """Return the error of the output that is off most.

        Raises
        ------
        UnsupportedError
            If no output holds real numbers.
        """
        if not self._whole:
            raise UnsupportedError("1549", "no output holds real numbers, which errors are of")
        return max(self.relative().values())


def _ratio(rest: float, whole: float) -> float:
    if not (isfinite(rest) and isfinite(whole)):
        return inf
    return (rest / whole) ** 0.5 if whole else inf if rest else 0.0
