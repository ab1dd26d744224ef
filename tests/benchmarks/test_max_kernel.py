"""Pieces of the benchmark of max kernels: functions with their minima and symmetries, regrets, and shares of a gain."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import max_kernel


@pytest.mark.parametrize("name", max_kernel.PROBLEMS)
def test_least_values_are_zero(name: str) -> None:
    problem = max_kernel.PROBLEMS[name]
    assert problem.dimension == int(name[-2])
    least = np.array([[3.0, -1.0, -4.0, 2.0]]) if name == "Orbit 4d" else np.zeros((1, problem.dimension))
    assert problem.function(least) == pytest.approx(0, abs=1e-12)
    drawn = problem.space.sample(500, np.random.default_rng(0))
    assert problem.function(drawn).min() > 0
    assert np.abs(drawn).max() > 0.99 * problem.half


def test_values_that_are_known() -> None:
    one = np.ones((1, 2))
    assert max_kernel.rastrigin(one) == pytest.approx(2)
    assert max_kernel.ackley(one) == pytest.approx(20 * (1 - np.exp(-0.2 * 2**0.5)))
    assert max_kernel.griewank(np.pi * one) == pytest.approx(1 + np.pi**2 / 2000 + np.cos(np.pi / 2**0.5))


@pytest.mark.parametrize("name", max_kernel.PROBLEMS)
def test_symmetries(name: str) -> None:
    """Exact, but for permutations of the variables of Griewank's function, which its waves of height 2 tell apart."""
    problem = max_kernel.PROBLEMS[name]
    rng = np.random.default_rng(0)
    point = problem.space.sample(1, rng)[0]
    d = problem.dimension
    orbit = np.array([rng.permutation(point) * rng.choice([-1, 1], d) for _ in range(60)])
    assert len(np.unique(orbit, axis=0)) > 7
    spread = np.ptp(problem.function(orbit))
    assert spread < (2 if name.startswith("Griewank") else 1e-9)


@pytest.mark.parametrize("contestant", max_kernel.CONTESTANTS)
def test_regrets_start_alike_and_are_values(contestant: str) -> None:
    problem = max_kernel.PROBLEMS["Ackley 2d"]
    found = max_kernel.regrets(problem, max_kernel.CONTESTANTS[contestant], seed=3, evaluations=8)
    assert found.shape == (8,)
    assert (found >= 0).all()
    if contestant != "random":
        start = problem.function(problem.space.sample(max_kernel.STARTS, np.random.default_rng(3)))
        assert found[: max_kernel.STARTS].tolist() == start.tolist()
        assert np.unique(found).size == 8


def test_regret_is_a_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(max_kernel, "regrets", lambda problem, fit, seed: np.arange(50.0) + seed)
    measured = max_kernel.measure("Ackley 2d", "random", 2)
    assert measured.starts.tolist() == [10, 15]
    assert measured.cumulative.tolist() == [1225, 1275]
    assert max_kernel.cell(measured.cumulative) == "1250 [1225–1275]"


def test_shares_of_the_gain() -> None:
    means = {"base, full": 100.0, "max, as published": 40.0, "max, full": 90.0, "base, Nyström": 60.0}
    assert max_kernel.shares(means) == pytest.approx((0.6, 0.1, 0.4))
    assert max_kernel.said("a", {**means, "max, Nyström": 75.0}) == ("a", "-60 %", "-40 %", "-10 %", "+25 %")


def test_where_the_max_kernel_is_lower() -> None:
    means = {n: {"max, full": 1.0, "base, full": 2.0, "average, full": y} for n, y in (("a", 0.5), ("b", 1.5))}
    assert max_kernel.lower(means, "full", "base") == "2 of 2"
    assert max_kernel.lower(means, "full", "average") == "1 of 2 (b)"


def test_kernels_as_published() -> None:
    """The lengths are those of the base kernel, the variance is the extension's."""
    space = max_kernel.PROBLEMS["Ackley 2d"].space
    x = space.sample(9, np.random.default_rng(0))
    y = max_kernel.ackley(x)
    plain = max_kernel.GaussianProcess.fit(max_kernel.base_kernel(space), x, y)
    process = max_kernel.as_published(space, x, y)
    assert process.variance == "nystrom"
    assert process.kernel.space == space
    assert (process.kernel.numbers, process.noise, process.scale) == (plain.kernel.numbers, plain.noise, plain.scale)
