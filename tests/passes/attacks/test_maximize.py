"""The search for maxima, on objectives whose maxima are known."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from pathlift.passes.attacks import search, strategies
from pathlift.passes.attacks.domain import Domain, Point
from pathlift.passes.attacks.maximize import Found, maximize

Tensor = torch.Tensor
N = 20
DOMAIN = Domain.from_interval({"x": (1, N)}, -1.0, 2.0)
LONG = 60.0
"""Seconds that a search of few rounds never takes."""
SMALL: dict[str, Any] = {"restarts": 4, "steps": 20, "rounds": 1}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def same(a: Found, b: Found) -> bool:
    return torch.equal(a.value, b.value) and all(torch.equal(x, b.inputs[n]) for n, x in a.inputs.items())


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Leave one strategy."""
    monkeypatch.setattr("pathlift.passes.attacks.maximize.SHARES", {request.param: 1.0})


def test_a_linear_objective_is_largest_at_a_corner() -> None:
    w = normal(5, N)
    found = maximize(lambda p: p["x"] @ w.T, DOMAIN, budget=LONG, **SMALL)
    torch.testing.assert_close(found.value, torch.where(w > 0, 2 * w, -w).sum(1), rtol=1e-14, atol=0)
    assert torch.equal(found.inputs["x"], torch.where(w > 0, 2.0, -1.0).double())


@pytest.mark.parametrize("only", [strategies.gradient_corners, strategies.ascent, strategies.polish], indirect=True)
@pytest.mark.usefixtures("only")
def test_each_of_these_finds_the_corner_of_a_linear_objective() -> None:
    w = normal(5, N)
    found = maximize(lambda p: p["x"] @ w.T, DOMAIN, budget=LONG, restarts=4, steps=60, rounds=1)
    torch.testing.assert_close(found.value, torch.where(w > 0, 2 * w, -w).sum(1), rtol=1e-14, atol=0)


@pytest.mark.parametrize("only", [strategies.ascent], indirect=True)
@pytest.mark.usefixtures("only")
def test_ascent_finds_a_maximum_inside() -> None:
    middle = normal(N).clamp(-0.9, 1.9)
    found = maximize(lambda p: -(p["x"] - middle).square().sum(1, keepdim=True), DOMAIN, budget=LONG, rounds=1)
    assert 0 >= float(found.value) > -1e-4


@pytest.mark.parametrize("only", [strategies.corners, strategies.uniform, strategies.resampling], indirect=True)
@pytest.mark.usefixtures("only")
def test_each_of_these_needs_no_gradient() -> None:
    domain = Domain.from_interval({"x": (1, 3)}, 0.0, 1.0)
    found = maximize(lambda p: (p["x"].detach() > 0.6).double().sum(1, keepdim=True), domain, budget=LONG, **SMALL)
    assert float(found.value) == 3


@pytest.mark.parametrize("only", [strategies.corners], indirect=True)
@pytest.mark.usefixtures("only")
def test_all_corners_of_a_small_box_are_tried() -> None:
    n = strategies.MOST_CORNERS
    needle = (normal(n) > 0).double()
    domain = Domain.from_interval({"x": (1, n)}, 0.0, 1.0)
    found = maximize(lambda p: (p["x"].detach() == needle).all(1, keepdim=True).double(), domain, budget=LONG, **SMALL)
    assert float(found.value) == 1


@pytest.mark.parametrize("only", [strategies.resampling], indirect=True)
@pytest.mark.usefixtures("only")
def test_resampling_improves_on_what_it_starts_from() -> None:
    start = {"x": torch.full((1, N), 0.1, dtype=torch.float64)}
    found = maximize(lambda p: p["x"].detach().sum(1, keepdim=True), DOMAIN, budget=LONG, starts=start)
    assert float(found.value) > 0.95 * 2 * N


def test_several_inputs_and_elements_with_one_value() -> None:
    low = {"a": torch.zeros(1, 2, 2, dtype=torch.float64), "b": torch.full((1, 1), 3.0, dtype=torch.float64)}
    domain = Domain(low, {"a": low["a"] + 1, "b": low["b"]})
    found = maximize(lambda p: p["a"].sum((1, 2))[:, None] * p["b"], domain, budget=LONG, **SMALL)
    assert float(found.value) == 12
    assert found.point(0)["a"].shape == (1, 2, 2)
    assert domain.contains(found.inputs)


def test_the_seed_decides() -> None:
    def waves(p: Point) -> Tensor:
        return torch.stack([torch.sin(7 * p["x"]).sum(1), torch.cos(5 * p["x"] ** 2).sum(1)], 1)

    a, b, c = (maximize(waves, DOMAIN, budget=LONG, seed=seed, **SMALL) for seed in (1, 1, 2))
    assert same(a, b)
    assert not same(a, c)


@pytest.mark.parametrize("budget", [0.0, 0.3, 1.0])
def test_the_time_is_kept(budget: float) -> None:
    def slow(p: Point) -> Tensor:
        time.sleep(0.01)
        return torch.sin(p["x"])

    began = time.monotonic()
    found = maximize(slow, DOMAIN, budget=budget, rounds=1000)
    assert time.monotonic() - began < 2 * budget + 0.5
    assert bool(found.value.isfinite().all())


def test_no_point_is_outside_whatever_the_rounding() -> None:
    low = {"x": normal(1, N) * 1e-3 + 1 / 3}
    domain = Domain(low, {"x": low["x"] + normal(1, N, seed=1).abs() * torch.logspace(-16, 3, N, dtype=torch.float64)})
    seen = []

    def objective(p: Point) -> Tensor:
        seen.append(domain.contains({n: x.detach() for n, x in p.items()}))
        return torch.sin(3 * p["x"] + 1)

    outside = {"x": torch.full((1, N), 1e9, dtype=torch.float64)}
    found = maximize(objective, domain, budget=LONG, starts=outside, **SMALL)
    assert all(seen)
    assert domain.contains(found.inputs)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_finite_number_is_not_found(bad: float) -> None:
    def objective(p: Point) -> Tensor:
        x = p["x"]
        return torch.stack([torch.where(x.sum(1) > 10, bad, x.sum(1)), torch.full((len(x),), bad).double()], 1)

    found = maximize(objective, DOMAIN, budget=LONG, **SMALL)
    assert 9 < float(found.value[0]) <= 10
    assert float(found.value[1]) == -torch.inf
    assert torch.equal(objective(found.point(0))[0, 0], found.value[0])


def test_nan_gradients_move_nothing_to_nan() -> None:
    seen = []

    def objective(p: Point) -> Tensor:
        seen.append(DOMAIN.contains({"x": p["x"].detach()}))
        return (p["x"].sum(1, keepdim=True) - 15).sqrt()

    found = maximize(objective, DOMAIN, budget=LONG, **SMALL)
    assert all(seen)
    assert float(found.value) == pytest.approx(5.0)


def test_values_are_those_of_a_batch_of_one() -> None:
    def mixing(p: Point) -> Tensor:
        return p["x"].sum(1, keepdim=True) + (len(p["x"]) - 1) * 100.0

    found = maximize(mixing, DOMAIN, budget=LONG, **SMALL)
    assert float(found.value) == float(mixing(found.point(0)))


def test_every_point_counts_for_every_objective() -> None:
    def mixing(p: Point) -> Tensor:
        total, alone = p["x"].sum(1), len(p["x"]) == 1
        return torch.stack([total, total if alone else -total], 1)

    found = maximize(mixing, DOMAIN, budget=LONG, **SMALL)
    assert found.value.tolist() == [2 * N, 2 * N]


def test_memory_is_bounded() -> None:
    most = 0

    def objective(p: Point) -> Tensor:
        nonlocal most
        most = max(most, len(p["x"]))
        return p["x"]

    maximize(objective, DOMAIN, budget=LONG, numbers=search.AT_ONCE // 3, **SMALL)
    assert most == 3
    most = 0
    maximize(objective, DOMAIN, budget=LONG, **SMALL)
    assert most > 3


def test_enough_is_enough() -> None:
    calls = 0

    def objective(p: Point) -> Tensor:
        nonlocal calls
        calls += 1
        return p["x"].sum(1, keepdim=True)

    found = maximize(objective, DOMAIN, budget=LONG, enough=0.0)
    assert calls < 10
    assert float(found.value) > 0


def test_rounds_end_when_they_find_nothing() -> None:
    began = time.monotonic()
    maximize(lambda p: 0 * p["x"], DOMAIN, budget=LONG, restarts=2, steps=2, rounds=10**9)
    assert time.monotonic() - began < LONG / 4
