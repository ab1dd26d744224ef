"""Sectors hold all chords from a point, and are as narrow as formulas say where there are some."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pathlift.ir.builder import Builder
from pathlift.passes.ellipsoids.sectors import chords
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.elementwise import Curve
from pathlift.passes.tape.record import record
from pathlift.passes.tape.steps import Gate

Tensor = torch.Tensor
CURVES: dict[str, dict[str, Any]] = {
    "Relu": {}, "LeakyRelu": {"alpha": 0.2}, "Abs": {}, "Clip": {"low": -0.5, "high": 1.0}, "Tanh": {}, "Sigmoid": {},
    "Gelu": {}, "HardSwish": {}, "Softplus": {}, "Elu": {}, "Softsign": {},
    "FakeQuantize": {"scale": 0.25, "zero_point": 0, "dtype": "int8", "low": -128, "high": 127},
}  # fmt: skip


def curve(op: str) -> Curve:
    b = Builder()
    graph = b.finish(b.op(op, b.input("x", (1,), "f64"), **CURVES[op]))
    (gate,) = (s for s in record(graph, {"x": (1,)}).steps if isinstance(s, Gate))
    return Curve.of(gate)


@pytest.mark.parametrize("op", CURVES)
def test_chords_from_a_point_are_in_its_sector(op: str) -> None:
    f, g = curve(op), torch.Generator().manual_seed(0)
    low = 6 * torch.rand(200, generator=g, dtype=torch.float64) - 4
    high = low + 5 * torch.rand(200, generator=g, dtype=torch.float64) ** 2
    point = low + (high - low) * torch.rand(200, generator=g, dtype=torch.float64)
    found = chords(f, Box.point(point), Box(low, high))
    x = low + (high - low) * torch.linspace(0, 1, 400, dtype=torch.float64)[:, None]
    far = (x - point).abs() > 1e-6
    slope = torch.where(far, (f(x) - f(point)) / (x - point), found.low)
    slack = 1e-9
    assert bool((slope >= found.low - slack).all())
    assert bool((slope <= found.high + slack).all())
    width = found.high - found.low
    wide = width > 0.05
    if bool(wide.any()):
        assert float(((slope.amax(0) - slope.amin(0)) / width)[wide].median()) > (0.95 if f.f.affine else 0.5)


@pytest.mark.parametrize(("low", "point", "high", "least", "most"), [
    (-1.0, 1.0, 3.0, 0.5, 1.0), (-2.0, -1.0, 1.0, 0.0, 0.5), (0.5, 1.0, 2.0, 1.0, 1.0), (-2.0, -1.0, -0.5, 0.0, 0.0),
])  # fmt: skip
def test_relu_sectors(low: float, point: float, high: float, least: float, most: float) -> None:
    at = [torch.tensor([v], dtype=torch.float64) for v in (low, point, high)]
    found = chords(curve("Relu"), Box.point(at[1]), Box(at[0], at[2]))
    assert float(found.low) == pytest.approx(least, abs=1e-12)
    assert float(found.high) == pytest.approx(most, abs=1e-12)
    assert float(found.low) <= least
    assert float(found.high) >= most


def test_a_point_that_is_not_known_exactly_widens_the_sector() -> None:
    one = torch.ones(1, dtype=torch.float64)
    found = chords(curve("Relu"), Box(0.5 * one, one), Box(-one, one))
    assert float(found.low) <= 1 / 3  # from 0.5 to −1
