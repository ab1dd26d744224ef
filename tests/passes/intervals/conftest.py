"""Steps and networks made by hand, and exact arithmetic to hold them against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch

from pathlift.ir.builder import Builder
from pathlift.ir.primitives.maps import Contract
from pathlift.ir.types import Array
from pathlift.passes.intervals.box import Box
from pathlift.passes.tape.affine import Weighted
from pathlift.passes.tape.coefficients import Coefficients
from pathlift.passes.tape.record import input_shapes, record
from pathlift.passes.tape.tape import Tape

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


@pytest.fixture
def network() -> Callable[..., Tape]:
    """Make a dense network of these widths, with weights that are drawn by their shapes."""

    def make(widths: Sequence[int], weights: Callable[..., Array], *, gates: bool, dtype: str = "f32") -> Tape:
        b = Builder()
        x = b.input("x", (1, widths[0]), dtype)
        for i, (wide, out) in enumerate(pairwise(widths)):
            w, bias = (weights(*shape).astype(np.float32) for shape in ((wide, out), (out,)))
            x = b.op("Gemm", x, b.param(w, f"w{i}"), b.param(bias, f"b{i}"))
            x = b.op("Relu", x) if gates and i < len(widths) - 2 else x
        graph = b.finish(x)
        return record(graph, input_shapes(graph))

    return make
