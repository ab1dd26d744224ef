"""The constants of activations, against samples of their functions."""

from __future__ import annotations

import pytest
import torch

from pathlift.ir.algebras.protocol import Algebra
from pathlift.ir.ops import OPS
from pathlift.ir.primitives.base import Activation


class Capture(Algebra[Activation]):
    def gate(self, x, f, *params):
        return f


CASES = [
    *[(name, {}) for name in ("Relu", "Abs", "Tanh", "Softsign", "Sigmoid", "HardSwish", "Softplus", "Erf", "Gelu", "Clip")],  # noqa: E501
    ("Gelu", {"tanh": True}), ("HardSigmoid", {}), ("HardSigmoid", {"alpha": -0.3, "beta": 2.0}),
    *[(name, {"alpha": a}) for name in ("LeakyRelu", "Elu") for a in (0.01, 1.0, 2.5, -0.5)],
    ("Clip", {"low": 0.0, "high": 6.0}), ("Clip", {"low": 1.0}), ("Clip", {"high": -1.0}), ("Clip", {"low": 0.0}),
    ("FakeQuantize", {"scale": 0.1, "zero_point": 3, "dtype": "i8", "low": -128, "high": 127}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "attrs"), CASES, ids=str)
def test_constants_of_activations(op, attrs):
    f = OPS[op].program(Capture(), None, **attrs)
    x = torch.linspace(-12, 12, 400_001, dtype=torch.float64)
    y = f.torch(x)
    slopes = (y[1:] - y[:-1]) / (x[1:] - x[:-1])
    low, high = f.slopes
    assert slopes.min() >= low - 1e-9
    assert slopes.max() <= high + 1e-9
    if high < float("inf") and op != "Clip":
        assert slopes.max() > high - 1e-3, "the bound is loose"
        assert slopes.min() < low + 1e-2, "the bound is loose"
    assert float(f.torch(torch.zeros((), dtype=torch.float64))) == pytest.approx(f.at_zero, abs=1e-15)
    scales = torch.tensor([0.5, 2.0, 7.0], dtype=torch.float64)[:, None]
    assert torch.allclose(f.torch(scales * x), scales * y) == f.homogeneous
