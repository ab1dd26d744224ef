"""Searches: that they find optima, what they owe to order and orbits (nothing), failures, limits, and bad input."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.ir.errors import UsageError
from pathlift.search import (
    Choice,
    Exchangeable,
    GaussianProcess,
    Group,
    Integer,
    Kernel,
    Limit,
    MaxKernel,
    Optimizer,
    Real,
    Reflected,
    Space,
    Trial,
    minimize,
)

LAYERS = Space((Choice("abc"),) * 6, (Exchangeable(range(6)),))
PLANE = Space((Real(-2, 2), Real(-2, 2)), (Exchangeable((0, 1), signs=True),))


def makespan(x: tuple[str, ...]) -> float:
    """The time of six tasks on two machines, b the fast way, of which there are only two; 28 multisets."""
    times = sorted(({"a": 3.0, "b": 1.0, "c": 2.2}[v] for v in x), reverse=True)
    return max(sum(times[::2]), sum(times[1::2])) + 4 * max(0, x.count("b") - 2)


def bowls(x: tuple[float, float]) -> float:
    return (x[0] ** 2 - 1) ** 2 + (x[1] ** 2 - 1) ** 2


@pytest.mark.parametrize("kernel", ["max", "average"])
@pytest.mark.parametrize("acquisition", ["ei", "ucb"])
def test_optima_of_small_spaces_are_found(kernel: Any, acquisition: Any) -> None:
    least = min(makespan(LAYERS.decode(p)) for p in LAYERS.representatives)
    found = minimize(makespan, LAYERS, evaluations=20, kernel=kernel, acquisition=acquisition, seed=1)
    assert found.y == pytest.approx(least)
    assert makespan(found.x) == found.y
    assert len(found.trials) == 20


@pytest.mark.parametrize("acquisition", ["ei", "ucb"])
def test_optima_without_symmetries(acquisition: Any) -> None:
    space = Space((Integer(0, 8), Integer(-4, 4), Choice("ab")))

    def valley(x: tuple[int, int, str]) -> float:
        return (x[0] - 6) ** 2 + (x[0] + x[1] - 4) ** 2 + (0.0 if x[2] == "b" else 5.0)

    found = minimize(valley, space, evaluations=30, kernel="base", acquisition=acquisition)
    assert found.x == (6, -2, "b")


def test_no_orbit_is_evaluated_twice_before_all_were() -> None:
    found = minimize(makespan, LAYERS, evaluations=30)
    orbits = [tuple(sorted(trial.x)) for trial in found.trials]
    assert len(set(orbits[:28])) == 28
    assert set(orbits[28:]) < set(orbits[:28])


def test_numbers() -> None:
    assert minimize(bowls, PLANE, evaluations=25).y < 1e-3
    assert minimize(bowls, PLANE, evaluations=25).y < minimize(bowls, PLANE, evaluations=25, kernel="base").y


def test_a_group_of_ones_own() -> None:
    space = Space((Choice("abcd"),) * 4, (Group(((1, 2, 3, 0),)),))

    def necklace(x: tuple[str, ...]) -> float:
        """Neighbours should be one letter apart, in a circle; 6 is not to be had with equal ones."""
        return float(sum(abs(ord(x[i]) - ord(x[i - 1]) - 1) for i in range(4)))

    least = min(necklace(space.decode(p)) for p in space.representatives)
    for variance in ("full", "nystrom"):
        assert minimize(necklace, space, evaluations=30, variance=variance).y == least  # type: ignore[arg-type]


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(3, 9))
def test_asking_after_a_permuted_history(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    for space, function in ((PLANE, bowls), (LAYERS, makespan)):
        points = [space.decode(p) for p in space.sample(count, rng)]
        first, second = (Optimizer(space, starts=2) for _ in range(2))
        for x in points:
            first.tell(x, function(x))  # type: ignore[arg-type]
        for i in rng.permutation(count):
            x = points[i]
            moved = tuple(x[j] for j in rng.permutation(len(x)))
            if space is PLANE:
                moved = tuple(v * s for v, s in zip(moved, rng.choice([-1, 1], 2), strict=True))
            second.tell(moved, function(x))  # type: ignore[arg-type]
        assert first.ask() == second.ask()


def test_processes_are_given_the_same_whatever_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, so that ties are not broken by rounding."""
    given_: list[Any] = []
    fit = GaussianProcess.fit

    def spied(kernel: Kernel, points: Any, values: Any, **options: Any) -> GaussianProcess:
        given_.append((PLANE.canonical(points).tolist(), values.tolist()))
        return fit(kernel, points, values, **options)

    monkeypatch.setattr(GaussianProcess, "fit", spied)
    points = [(0.5, -1.0), (1.0, 0.5), (-1.0, 0.5), (1.5, -1.5), (0.0, 0.25)]
    for order in ((0, 1, 2, 3, 4), (4, 2, 0, 3, 1), (1, 0, 3, 4, 2)):
        optimizer = Optimizer(PLANE, starts=2)
        for i in order:
            optimizer.tell(points[i], float(i))
        optimizer.ask()
    assert given_[0] == given_[1] == given_[2]


def test_searches_repeat() -> None:
    found = [minimize(bowls, PLANE, evaluations=12, seed=seed).trials for seed in (3, 3, 4)]
    assert found[0] == found[1]
    assert found[0][0] != found[2][0]


def test_asking_changes_nothing() -> None:
    optimizer = Optimizer(PLANE, starts=1)
    assert optimizer.ask() == optimizer.ask()
    optimizer.tell(optimizer.ask(), 1.0)
    assert optimizer.ask() == optimizer.ask()


@pytest.mark.parametrize("acquisition", ["ei", "ucb"])
def test_failures_are_held_against_their_neighbours(acquisition: Any) -> None:
    seen: list[Trial] = []

    def picky(x: tuple[float, float]) -> float:
        if x[0] > 0.5:
            raise ValueError("too large")
        return nan if x[1] > 1.5 else -inf if x[1] < -1.5 else (x[0] - 0.4) ** 2 + x[1] ** 2

    found = minimize(picky, Space(PLANE.variables), evaluations=20, acquisition=acquisition, log=seen.append)
    assert tuple(seen) == found.trials
    assert found.y < 0.005
    errors = {trial.error for trial in found.trials if trial.error}
    assert "ValueError: too large" in errors
    assert all(np.isnan(trial.y) == bool(trial.error) for trial in found.trials)
    assert sum(not trial.error for trial in found.trials[6:]) > 7


def test_nothing_but_failures() -> None:
    found = minimize(lambda x: inf, LAYERS, evaluations=9)
    assert len({tuple(sorted(trial.x)) for trial in found.trials}) == 9
    with pytest.raises(UsageError, match=r"PL1539 none of 9 .* 9 failed, the last of them: the function returned inf"):
        _ = found.best


def test_interrupts_are_not_held_up() -> None:
    seen: list[Trial] = []

    def stopped(x: tuple[str, ...]) -> float:
        if len(seen) == 3:
            raise KeyboardInterrupt
        return makespan(x)

    with pytest.raises(KeyboardInterrupt):
        minimize(stopped, LAYERS, evaluations=9, log=seen.append)
    assert len(seen) == 3


@pytest.mark.parametrize("acquisition", ["ei", "ucb"])
def test_a_limit_is_kept(acquisition: Any) -> None:
    """Speed is the same in any order, the error is not: each layer has its own."""
    rng = np.random.default_rng(0)
    table = rng.random((6, 3)) * np.array([0.0, 1.0, 0.4])
    cost = np.array([3.0, 1.0, 2.0])

    def measured(x: tuple[str, ...]) -> tuple[float, float]:
        codes = LAYERS.encode(x).astype(int)
        return float(cost[codes].sum()), float(table[np.arange(6), codes].sum())

    points = LAYERS.without_symmetries().representatives.astype(int)
    errors, costs = table[np.arange(6), points].sum(axis=1), cost[points].sum(axis=1)
    limit = float(np.quantile(errors, 0.2))
    least = costs[errors <= limit].min()
    found = minimize(measured, LAYERS, evaluations=40, acquisition=acquisition, limit=Limit(limit, kernel="base"))
    assert found.best.limited <= limit
    assert found.y <= least + 1
    assert any(trial.y < found.y and trial.limited > limit for trial in found.trials)
    assert found.y < max(costs[errors <= limit])


def test_a_limit_that_nothing_keeps() -> None:
    found = minimize(lambda x: (makespan(x), 2.0), LAYERS, evaluations=10, limit=Limit(1.0))
    with pytest.raises(UsageError, match="PL1539"):
        _ = found.best


def test_a_model_that_is_known() -> None:
    """The process is one of the residual: a model that is right finds the optimum with the first point it chooses."""
    best = LAYERS.encode("abcabc")

    def distance(points: Any) -> Any:
        return (points != best).sum(axis=1)

    found = minimize(
        lambda x: 5.0 + float(distance(LAYERS.encode(x)[None])[0]), LAYERS, evaluations=4, starts=3, mean=distance
    )
    assert found.trials[3].x == tuple("abcabc")


def test_lengths_of_a_kernel_are_fitted() -> None:
    given_: list[Kernel] = [MaxKernel(PLANE), MaxKernel(PLANE, numbers=9.0)]
    assert len({minimize(bowls, PLANE, evaluations=9, kernel=kernel).trials for kernel in given_}) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"kernel": "rbf"},
        {"kernel": MaxKernel(LAYERS)},
        {"acquisition": "pi"},
        {"starts": 0},
        {"starts": 2.0},
        {"seed": -1},
        {"variance": "half"},
        {"limit": Limit(nan)},
        {"limit": Limit(1.0, kernel="rbf")},  # type: ignore[arg-type]
        {"evaluations": 0},
        {"space": PLANE.variables},
    ],
)
def test_bad_arguments(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="PL1538"):
        minimize(bowls, **{"space": PLANE, "evaluations": 3, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, "fast", (1.0, 2.0)])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(UsageError, match="PL1537"):
        minimize(lambda x: value, PLANE, evaluations=1)


def test_a_number_beyond_float64_has_failed() -> None:
    found = minimize(lambda x: 10**400 if x[0] < 1 else x[0], Space((Real(0, 2),)), evaluations=8)
    assert {bool(trial.error) for trial in found.trials} == {True, False}
    assert found.y >= 1


@pytest.mark.parametrize("value", [None, 1.0, (1.0,), (1.0, None)])
def test_what_is_not_two_numbers(value: Any) -> None:
    with pytest.raises(UsageError, match="PL1537"):
        minimize(lambda x: value, PLANE, evaluations=1, limit=Limit(1.0))


def test_points_of_another_space_are_not_told() -> None:
    with pytest.raises(UsageError, match="PL1533"):
        Optimizer(PLANE).tell((0.0, 3.0), 1.0)


@pytest.mark.parametrize("unit", [1e-300, 1e-30, 1e98, 1e300])
def test_values_in_any_unit(unit: float) -> None:
    """What no square of can be computed has failed."""
    found = minimize(lambda x: unit * (x[0] - 7) ** 2, Space((Integer(0, 9),)), evaluations=9)
    assert found.y == 0
    assert all(bool(trial.error) == (unit == 1e300 and trial.x != (7,)) for trial in found.trials)


def test_small_spaces_with_many_starts() -> None:
    space = Space((Integer(-1, 1), Choice("a")), (Reflected((0,)),))
    found = minimize(lambda x: float(x[0]), space, evaluations=5, starts=6)
    assert len(found.trials) == 5
