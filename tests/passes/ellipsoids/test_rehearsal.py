"""Rehearsals agree with what is carried out, values and gradients, for all moves, whatever the scales."""

from __future__ import annotations

import pytest
import torch

from pathlift.passes.ellipsoids.evaluation import carried_out, started
from pathlift.passes.ellipsoids.moves import Gated, Linear, Widened
from pathlift.passes.ellipsoids.plan import Plan
from pathlift.passes.ellipsoids.rehearsal import Rehearsal

Tensor = torch.Tensor


def plan(alone: bool, scale: float = 1.0) -> Plan:
    """Boxes before and after gates, coordinates that are zero after one, others that pass it as they are."""
    g = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    first, second, third = random(6, 5), random(4, 6), random(2, 4)
    if not alone:
        for matrix in (first, second):
            matrix[0] = 0
            matrix[0, 0] = 1
    size = torch.full((6,), scale, dtype=torch.float64)
    alpha = torch.tensor([1.0, 0.0, 0.3, 0.0, 1.0, 0.0], dtype=torch.float64)
    kappa = torch.tensor([0.0, 1.0, 0.5, 0.7, 0.0, 0.0], dtype=torch.float64)
    radius = torch.tensor([1.0, 0.0, 0.5, 2.0], dtype=torch.float64)
    places = torch.arange(1, 5)
    late = Widened("late", torch.tensor([2, 3]), torch.tensor([0.1, 0.2], dtype=torch.float64))
    return Plan(5, not alone, (
        Widened("input", places, radius, alone), Linear(size[:, None] * first, torch.zeros(6, 5).double()),
        Gated("one", "n", torch.arange(1, 6), 3, alpha, kappa), Linear(second / size, torch.zeros(4, 6).double()),
        Gated("two", "n", torch.arange(1, 4), 2, alpha[:4], kappa[:4]), late, Linear(third, torch.zeros(2, 4).double()),
    ), (), (slice(0, 2),), (2,))  # fmt: skip


def objective(m: Tensor) -> Tensor:
    return m[0].diagonal().log().sum() + m[0, 0, 1] / m[0, 0, 0]


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-4), (torch.float32, 1e-3)])
def test_values_and_gradients(alone: bool, dtype: torch.dtype, error: float) -> None:
    p = plan(alone)
    multipliers, relative = started(p)
    rehearsal = Rehearsal(p, multipliers, dtype=dtype)
    found = rehearsal(relative, lambda m: objective(m.double()))
    end = carried_out(p, multipliers)
    assert found is not None
    assert end is not None
    assert found[0] == pytest.approx(float(objective(end)), abs=error)
    for name, slopes in found[1].items():
        way = torch.randn(len(slopes), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        values = []
        for step in (1e-4, -1e-4):
            m = carried_out(p, started(p, None, relative | {name: relative[name] + step * way})[0])
            assert m is not None
            values.append(float(objective(m)))
        assert float(slopes.double() @ way) == pytest.approx((values[0] - values[1]) / 2e-4, abs=error)


@pytest.mark.parametrize("scale", [2.0**70, 2.0**-70])
def test_scales_are_no_matter(scale: float) -> None:
    multipliers, relative = started(plan(True))
    plain = Rehearsal(plan(True), multipliers)(relative, lambda m: objective(m.double()))
    scaled = plan(True, scale)
    found = Rehearsal(scaled, started(scaled)[0])(relative, lambda m: objective(m.double()))
    assert plain is not None
    assert found is not None
    assert found[0] == pytest.approx(plain[0], abs=1e-3)
    for name, slopes in plain[1].items():
        assert found[1][name].tolist() == pytest.approx(slopes.tolist(), abs=1e-3)


def test_what_proves_nothing_has_no_value() -> None:
    p = plan(False)
    multipliers, relative = started(p)
    assert Rehearsal(p, multipliers)(relative | {"one": relative["one"] + 5}, objective) is None
    assert Rehearsal(p, multipliers)(relative, lambda m: m.sum() * torch.nan) is None
