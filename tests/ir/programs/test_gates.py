"""Elementary functions over boxes: their values, their slopes, their lines, and their poles."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
import torch

from pathlift.ir.primitives.base import Activation
from pathlift.ir.programs.gates import CAPPED_EXP, COS, EXP, LOG, RECIPROCAL, SIN, SQRT, STEPS, power
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.elementwise import Curve, image, slopes
from pathlift.passes.relaxations.lines import lines

GATES = {
    f.name: f
    for f in (EXP, LOG, SQRT, RECIPROCAL, SIN, COS, *STEPS.values(), *map(power, (3.0, 4.0, -1.0, -2.0, -0.5, 0.75)))
}
EVERYWHERE = ("Exp", "Sin", "Cos", "Floor", "Ceil", "Round", "Trunc", "Sign", "Pow(3.0)", "Pow(4.0)")


@pytest.mark.parametrize("f", GATES.values(), ids=lambda f: f.name)
def test_values_and_chords_lie_where_they_are_said_to(f: Activation) -> None:
    rng = np.random.default_rng(0)
    ends = (
        np.sort(rng.uniform(-3, 3, (2, 200)), 0) if f.name in EVERYWHERE else np.sort(rng.uniform(0.01, 3, (2, 200)), 0)
    )
    box = Box(*map(torch.from_numpy, ends))
    curve = Curve(f)
    values, rises, (below, above) = image(curve, box), slopes(curve, box), lines(curve, box)
    assert values.bounded
    x, y = (torch.lerp(box.low, box.high, torch.from_numpy(rng.random((40, 200)))) for _ in range(2))
    fx, fy = f.torch(x), f.torch(y)
    assert bool(((values.low <= fx) & (fx <= values.high)).all())
    if not f.jump:
        slack = 1e-9 * (1 + fx.abs() + fy.abs())
        assert bool(((fy - fx) * (y - x) >= rises.low * (y - x) ** 2 - slack).all())
        assert bool(((fy - fx) * (y - x) <= rises.high * (y - x) ** 2 + slack).all())
    assert bool((below.slope * x + below.offset <= fx + 1e-12 * (1 + fx.abs())).all())
    assert bool((above.slope * x + above.offset >= fx - 1e-12 * (1 + fx.abs())).all())


@pytest.mark.parametrize("f", [LOG, RECIPROCAL, power(-1.0), power(-2.0), power(-0.5)], ids=lambda f: f.name)
@pytest.mark.parametrize("ends", [(-1.0, 2.0), (0.0, 1.0), (-1.0, 0.0)])
def test_around_a_pole_nothing_is_known(f: Activation, ends: tuple[float, float]) -> None:
    box = Box(*(torch.tensor([end]).double() for end in ends))
    found = image(Curve(f), box)
    assert (found.low.item(), found.high.item()) == (-inf, inf)
    assert not slopes(Curve(f), box).bounded


def test_beside_a_pole_there_is_a_bound() -> None:
    box = Box(torch.tensor([1e-12]).double(), torch.tensor([1.0]).double())
    for f in (LOG, RECIPROCAL, power(-0.5)):
        assert image(Curve(f), box).bounded


def test_a_root_at_zero_has_values_and_no_slope() -> None:
    box = Box(torch.tensor([0.0]).double(), torch.tensor([4.0]).double())
    found = image(Curve(SQRT), box)
    assert found.low.item() == pytest.approx(0.0, abs=1e-14)
    assert found.high.item() == pytest.approx(2.0)
    assert slopes(Curve(SQRT), box).high.item() == inf


def test_where_a_root_is_not_defined_nothing_is_known() -> None:
    box = Box(torch.tensor([-1.0]).double(), torch.tensor([4.0]).double())
    assert not image(Curve(SQRT), box).bounded


def test_powers_with_other_exponents_are_other_functions() -> None:
    assert not Curve(power(3.0)).same(Curve(power(5.0)))


WIDTHS = (1e-6, 0.1, 1.0, 2.0, 3.5, 6.0)


@pytest.mark.parametrize("f", [SIN, COS], ids=lambda f: f.name)
@pytest.mark.parametrize("reach", [1.0, 100.0, 9e5])
def test_a_wave_turns_in_every_period(f: Activation, reach: float) -> None:
    rng = np.random.default_rng(1)
    low = torch.from_numpy(rng.uniform(-reach, reach, 60 * len(WIDTHS)))
    box = Box(low, low + torch.tensor(WIDTHS).double().repeat(60))
    curve = Curve(f)
    values, rises, (below, above) = image(curve, box), slopes(curve, box), lines(curve, box)
    x = torch.lerp(box.low, box.high, torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None])
    fx = f.torch(x)
    assert bool(((values.low <= fx) & (fx <= values.high)).all())
    step = (box.high - box.low) / 2000
    for bound, attained in ((values.low, fx.amin(0)), (values.high, fx.amax(0))):
        assert bool(((bound - attained).abs() <= step**2 + 1e-8).all()), "bounds are attained"
    rise = f.torch(x + 0.5 * torch.pi)  # its derivative
    assert bool(((rises.low - 1e-7 <= rise) & (rise <= rises.high + 1e-7)).all())
    near = step + 1e-6 + 2e-9 * reach  # one-sided slopes are read off beside a point
    assert bool(((rises.low >= rise.amin(0) - near) & (rises.high <= rise.amax(0) + near)).all())
    assert bool((below.slope * x + below.offset <= fx + 1e-12).all())
    assert bool((above.slope * x + above.offset >= fx - 1e-12).all())
    assert below.offset.isfinite().all()


@pytest.mark.parametrize("ends", [(-7.0, 9.0), (2e6, 2e6 + 1), (-inf, 0.0), (0.0, inf)])
def test_a_wave_over_more_than_its_period_or_far_out_has_nothing_but_its_slopes(ends: tuple[float, float]) -> None:
    box = Box(*(torch.tensor([end]).double() for end in ends))
    assert not image(Curve(SIN), box).bounded
    rises = slopes(Curve(SIN), box)
    assert (rises.low.item(), rises.high.item()) == (-1.0, 1.0)


def test_a_mask_of_large_numbers_leaves_next_to_nothing() -> None:
    box = Box(*(torch.tensor([end]).double() for end in (-3.5e38, -3.3e38)))
    found = image(Curve(EXP), box)
    assert max(-found.low.item(), found.high.item()) < 1e-300
    assert image(Curve(RECIPROCAL), Box(-box.high, -box.low)).high.item() < 1e-37


def test_a_capped_exponential_is_one_up_to_its_cap() -> None:
    x = torch.tensor([-800.0, -1.0, 0.0, 500.0, 600.0]).double()
    assert torch.equal(CAPPED_EXP.torch(x), x.exp())
    assert 1 / CAPPED_EXP.torch(torch.tensor(1e38).double()) < 1e-260
