"""Perceptrons for adversaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array


@pytest.fixture
def perceptron() -> Callable[..., Graph]:
    """Make a ReLU network of weights, ``(in, out)`` each, and biases of zero or as given, in float64."""

    def make(
        weights: Sequence[Array], biases: Sequence[Array] | None = None, *, name: str = "x", batch: int | str = "N"
    ) -> Graph:
        b = Builder()
        h = b.input(name, (batch, len(weights[0])), "f64")
        for i, w in enumerate(weights):
            bias = np.zeros(w.shape[1]) if biases is None else biases[i]
            h = b.op("Gemm", b.op("Relu", h) if i else h, b.param(w), b.param(bias))
        return b.finish(h)

    return make
