"""The smallest network of two layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph


@pytest.fixture
def two_layers() -> Callable[..., Graph]:
    """Make the network x ↦ v·f(u·x)."""

    def make(u: float, v: float, activation: str = "Relu", **attrs: Any) -> Graph:
        b = Builder()
        x = b.input("x", (1, 1))
        h = b.op(activation, b.op("Gemm", x, b.param(np.array([[u]], np.float32), "u"), name="in"), name="f", **attrs)
        return b.finish(b.op("Gemm", h, b.param(np.array([[v]], np.float32), "v"), name="y"))

    return make
