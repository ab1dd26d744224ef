"""Small networks to prune."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph


@pytest.fixture
def perceptron() -> Callable[..., Graph]:
    """Make Gemm, Relu, Gemm, …, with biases, of float64 weights ``(out, in)`` and the given widths."""

    def make(*widths: int, seed: int = 0, dtype: str = "float64") -> Graph:
        rng, b = np.random.default_rng(seed), Builder()
        x = b.input("x", ("N", widths[0]), {"float64": "f64", "float32": "f32"}[dtype])
        for i, (inside, out) in enumerate(itertools.pairwise(widths)):
            weight, bias = rng.standard_normal((out, inside)), rng.standard_normal(out)
            names = f"fc{i}.weight", f"fc{i}.bias"
            params = [b.param(a.astype(dtype), n) for a, n in zip((weight, bias), names, strict=True)]
            x = b.op("Gemm", b.op("Relu", x) if i else x, *params, trans_w=True, name=f"fc{i}")
        return b.finish(x)

    return make
