"""Activations as curves, and random boxes of two networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pathlift.ir.builder import Builder
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.elementwise import Curve
from pathlift.passes.intervals.pairs import Triple
from pathlift.passes.tape.record import record
from pathlift.passes.tape.steps import Gate

Tensor = torch.Tensor
torch.set_num_threads(1)

PIECEWISE: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "leaky": ("LeakyRelu", {"alpha": 0.2}),
    "steep": ("LeakyRelu", {"alpha": 1.5}),
    "abs": ("Abs", {}),
    "clip": ("Clip", {"low": -0.5, "high": 1.0}),
    "hard sigmoid": ("HardSigmoid", {"alpha": 0.3, "beta": 0.5}),
    "quantized": ("FakeQuantize", {"scale": 0.25, "zero_point": 0, "dtype": "int8", "low": -4, "high": 4}),
}
CURVED: dict[str, tuple[str, dict[str, Any]]] = {
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "elu": ("Elu", {"alpha": 1.7}),
    "gelu": ("Gelu", {}),
    "hard swish": ("HardSwish", {}),
    "softplus": ("Softplus", {}),
    "erf": ("Erf", {}),
    "softsign": ("Softsign", {}),
}


def made(name: str) -> Curve:
    op, attrs = (PIECEWISE | CURVED)[name]
    b = Builder()
    x = b.input("x", (1, 1), "f64")
    (step,) = (s for s in record(b.finish(b.op(op, x, **attrs)), {"x": (1, 1)}).steps if isinstance(s, Gate))
    return Curve.of(step)


@pytest.fixture(scope="session")
def curve() -> Callable[[str], Curve]:
    """Make an activation by its name."""
    return made


@pytest.fixture(params=list(PIECEWISE))
def piecewise(request: pytest.FixtureRequest) -> Curve:
    return made(request.param)


@pytest.fixture(scope="session")
def known() -> Callable[..., tuple[Triple, Tensor, Tensor]]:
    """Make what is known of some neurons, and points that agree with it: z and δ, of shape ``(points, neurons)``."""

    def make(seed: int, *, neurons: int = 40, points: int = 300) -> tuple[Triple, Tensor, Tensor]:
        rng = np.random.default_rng(seed)
        size = 10.0 ** rng.uniform(-3, 1, neurons)
        centre = rng.normal(size=neurons) * rng.integers(0, 2, neurons) * size
        spread = size * rng.integers(0, 2, neurons)  # some are points
        apart = 10.0 ** rng.uniform(-3, 0, neurons) * size * rng.integers(0, 2, neurons)
        z = torch.from_numpy(centre + spread * rng.uniform(-1, 1, (points, neurons)))
        d = torch.from_numpy(apart * (rng.uniform(-1, 1, (points, neurons)) + rng.uniform(-1, 1, neurons)))
        b = z + d

        def around(x: Tensor) -> Box:
            slack = torch.from_numpy(rng.uniform(0, 0.2, neurons) * rng.integers(0, 2, neurons))
            width = (x.amax(0) - x.amin(0)) * slack
            return Box(x.amin(0) - width, x.amax(0) + width).widened(0.0)

        return Triple(around(z), around(b), around(d)), z, d

    return make
