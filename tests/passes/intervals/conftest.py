"""Steps made by hand, and exact arithmetic to hold them against."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch

from pathlift.ir.primitives.maps import Contract
from pathlift.passes.intervals.box import Box
from pathlift.passes.tape.affine import Weighted
from pathlift.passes.tape.coefficients import Coefficients

torch.set_num_threads(1)


@pytest.fixture
def dense() -> Callable[..., Weighted]:
    """Make the step x ↦ x·w, for a matrix and perhaps its errors."""

    def make(w: object, error: object = None) -> Weighted:
        values = torch.as_tensor(w, dtype=torch.float64)
        off = None if error is None else torch.as_tensor(error, dtype=torch.float64)
        shape = tuple(values.shape)
        return Weighted("w", (0,), (shape[:1],), shape[1:], Contract("...i,io->...o"), Coefficients(values, off))

    return make


@pytest.fixture
def box() -> Callable[..., Box]:
    """Make a box of numbers."""

    def make(low: object, high: object = None) -> Box:
        ends = [torch.as_tensor(x, dtype=torch.float64) for x in (low, low if high is None else high)]
        return Box(*ends)

    return make


@pytest.fixture
def exactly() -> Callable[..., list[Fraction]]:
    """Numbers of a tensor as fractions."""

    def make(x: torch.Tensor) -> list[Fraction]:
        return [Fraction(float(v)) for v in np.asarray(x).reshape(-1)]

    return make
