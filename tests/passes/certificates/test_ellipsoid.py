"""Bounds by ellipsoids hold on networks of all kinds, are exact where they can be, and can be found again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError
from pathlift.passes.certificates import ellipsoid
from pathlift.passes.certificates.elementary import Differential
from pathlift.passes.certificates.ellipsoid import Ellipsoid
from pathlift.passes.certificates.problem import Bound, Clock, Problem
from pathlift.passes.ellipsoids import steps
from pathlift.passes.intervals.box import Box
from pathlift.passes.tape.affine import Shifted, Weighted
from pathlift.passes.tape.record import record
from pathlift.passes.tape.steps import Bilinear, Gate, Step
from pathlift.passes.tape.tape import Tape

Make = Callable[..., Any]
ROUNDING = 1 + 1e-12


def searched(problem: Problem, seconds: float = 0.6) -> list[Bound]:
    return list(Ellipsoid().search(problem, Clock.of(seconds)))


def assert_sound(pair: Any, problem: Problem, bounds: list[Bound]) -> float:
    """Every bound, and all that was learnt of other values; returns how far the last bound is from what is reached."""
    values = pair.values(pair.points())
    a, b = values[problem.outputs[0]]
    apart = (b - a).flatten(1).abs()
    for bound in bounds:
        assert bool((apart <= bound.per_output * ROUNDING + 1e-15).all())
        assert float(apart.sum(1).max()) <= bound.l1 * ROUNDING + 1e-15
        assert bound.l1 <= float(bound.per_output.sum()) * ROUNDING
    for (x, y), t in zip(values, problem.triples, strict=True):
        for v, box in ((x, t.a), (y, t.b), (y - x, t.d)):
            slack = 1e-13 * (1 + v.abs().max())
            assert bool(((v >= box.low - slack) & (v <= box.high + slack)).all())
    return float((bounds[-1].per_output / apart.amax(0).clamp(min=1e-300)).min())


def test_bounds_hold(family: str, make_pair: Make) -> None:
    pair = make_pair(family, 0, 0.3, 0.1)
    problem = pair.problem()
    assert assert_sound(pair, problem, searched(problem, 1.0)) >= 1 - 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_bounds_hold_on_many(family: str, make_pair: Make, seed: int) -> None:
    pair = make_pair(family, seed, [0.01, 0.3, 2.0][seed % 3], [1e-3, 0.1, 1.0][seed // 4])
    problem = pair.problem()
    assert_sound(pair, problem, searched(problem, 0.4))


@pytest.mark.parametrize("seed", range(3))
def test_linear_networks_have_exact_bounds(make_pair: Make, seed: int) -> None:
    """Around the box's centre, the most is |difference there| + Σ|c_i|r_i."""
    pair = make_pair("linear", seed, 0.5, 0.1)
    points = pair.points(0)
    a, b = pair.values(points)[pair.problem().outputs[0]]
    assert_sound(pair, problem := pair.problem(), bounds := searched(problem, 60.0))
    torch.testing.assert_close(bounds[-1].per_output, (b - a).flatten(1).abs().amax(0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("seed", range(3))
def test_networks_that_are_stable_have_exact_bounds(make_pair: Make, seed: int) -> None:
    """Non-negative weights on a non-negative box: linear, and largest at a corner."""
    pair = make_pair("three layers", seed, 1.0, 0.3, positive=True)
    problem = pair.problem()
    assert assert_sound(pair, problem, searched(problem, 60.0)) <= 1.001


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_extremes_that_never_change_places_are_linear(op: str) -> None:
    """Of three values far apart, it is always the same that is largest: its difference alone counts."""

    def tape(change: float) -> Tape:
        b = Builder()
        x = b.op("Gemm", b.input("x", (1, 3), "f64"), b.param(np.diag([1.0 + change, 1 + 2 * change, 1 + 4 * change])))
        x = b.op("Add", x, b.param(np.array([0.0, 100.0, 200.0])))
        return record(b.finish(b.op(op, x, axes=(1,))), {"x": (1, 3)})

    ones = torch.ones(1, 3, dtype=torch.float64)
    bound = searched(Problem(tape(0.0), tape(0.125), [Box(-ones, ones)]), 60.0)[-1]
    expected = 0.5 if op == "ReduceMax" else 0.125
    assert expected <= bound.linf <= expected * 1.01


def test_networks_that_are_one_do_not_differ(make_pair: Make) -> None:
    pair = make_pair("residual", 0, 1.0, 0.0)
    (bound,) = searched(pair.problem())
    assert bound.linf == 0
    assert bound.l1 == 0


@pytest.mark.parametrize("name", ["four layers", "pooled"])
def test_a_check_finds_the_same_again(make_pair: Make, name: str) -> None:
    pair = make_pair(name, 3, 1.0, 0.05)
    first, second = pair.problem(), pair.problem()
    bound = searched(first)[-1]
    again = Ellipsoid().check(second, bound.parameters)
    assert torch.equal(again.per_output, bound.per_output)
    assert again.l1 == bound.l1
    for x, y in zip(first.triples, second.triples, strict=True):
        assert torch.equal(x.d.low, y.d.low)
        assert torch.equal(x.a.high, y.a.high)


def test_a_search_learns_nothing_before_its_last_check(make_pair: Make) -> None:
    """What a replay of the check does not know must not have helped."""
    problem = make_pair("three layers", 0, 0.5, 0.1).problem()
    before, search = list(problem.triples), Ellipsoid().search(problem, Clock.of(0.6))
    next(search)
    assert all(x is y for x, y in zip(before, problem.triples, strict=True))
    next(search)
    assert not all(x is y for x, y in zip(before, problem.triples, strict=True))


@pytest.fixture(scope="module")
def good(make_pair: Make) -> Bound:
    return searched(make_pair("three layers", 1, 0.5, 0.1).problem())[-1]


@pytest.mark.parametrize("off", [-3.0, -0.4, 0.4, 3.0, 500.0, float("nan")])
def test_any_parameters_are_sound(make_pair: Make, good: Bound, off: float) -> None:
    pair = make_pair("three layers", 1, 0.5, 0.1)
    problem = pair.problem()
    bound = Ellipsoid().check(problem, {k: v + off for k, v in good.parameters.items()})
    assert_sound(pair, problem, [bound])
    problem = pair.problem()
    assert_sound(pair, problem, [Ellipsoid().check(problem, {k: v[:, 1:] for k, v in good.parameters.items()})])


def test_intervals_are_fed_back(make_pair: Make) -> None:
    pair = make_pair("four layers", 3, 1.0, 0.05)
    before, after = pair.problem(), pair.problem()
    searched(after)
    narrower = [bool((t.d.high - t.d.low < s.d.high - s.d.low).any())
                for s, t in zip(before.triples, after.triples, strict=True)]  # fmt: skip
    assert sum(narrower) >= 3


def test_ill_scaled_networks_are_bounded(make_pair: Make) -> None:
    """A neuron scaled by 2⁴⁰, and back: the bound hardly changes."""
    pair = make_pair("two layers", 0, 0.5, 0.1)
    scale = torch.tensor([2.0**40, 2.0**-40, 1.0, 2.0**20], dtype=torch.float64)

    def scaled(tape: Tape) -> Tape:
        written: list[Step] = []
        first = True
        for step in tape.steps:
            match step:
                case Weighted():
                    w = step.weights.values * (scale if first else (1 / scale)[:, None])
                    written.append(replace(step, weights=replace(step.weights, values=w)))
                    first = False
                case Shifted() if len(written) == 1:
                    written.append(replace(step, shift=replace(step.shift, values=step.shift.values * scale)))
                case _:
                    written.append(step)
        return replace(tape, steps=tuple(written))

    other = replace(pair, first=scaled(pair.first), second=scaled(pair.second))
    plain, ill = (searched(p.problem(), 60.0)[-1] for p in (pair, other))
    assert_sound(other, other.problem(), [ill])
    torch.testing.assert_close(plain.per_output, ill.per_output, rtol=1e-3, atol=0)


def test_products_are_bounded(make_pair: Make) -> None:
    """x·relu-branch: the last gate is replaced by the product of what it reads and what it was."""
    pair = make_pair("two layers", 0, 2.0, 0.5)

    def squared(tape: Tape) -> Tape:
        steps = tuple(
            Bilinear(s.node, (s.inputs[0], s.inputs[0]), s.shapes * 2, s.shape, torch.mul, 1)
            if isinstance(s, Gate)
            else s
            for s in tape.steps
        )
        return replace(tape, steps=steps)

    other = replace(pair, first=squared(pair.first), second=squared(pair.second))
    problem = other.problem()
    bounds = searched(problem)
    assert_sound(other, problem, bounds)
    assert bool(bounds[-1].per_output.isfinite().all())


@pytest.mark.parametrize("name", ["three layers", "residual", "quantized"])
def test_bounds_hold_wherever_they_begin(make_pair: Make, name: str) -> None:
    pair = make_pair(name, 1, 0.5, 0.1)
    problem = pair.problem()
    numbers = range(1, len(problem.triples) + 1, 3)
    assert_sound(pair, problem, [Ellipsoid().check(pair.problem(), {"begin": torch.tensor([i])}) for i in numbers])


def test_a_network_that_takes_too_long_is_followed_at_its_end(make_pair: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first gate, of four neurons and their differences, costs too much; the others do not."""
    pair = make_pair("four layers", 1, 0.5, 0.1)
    monkeypatch.setattr(ellipsoid, "pass_seconds", lambda n, k: 1e3 if k == 8 else 0.0)
    bounds = searched(problem := pair.problem(), 60.0)
    assert_sound(pair, problem, bounds)
    (begin,) = bounds[-1].parameters["begin"].tolist()
    assert begin > 3
    assert torch.equal(Ellipsoid().check(pair.problem(), bounds[-1].parameters).per_output, bounds[-1].per_output)
    plain = Differential().check(pair.problem(), {})
    assert bounds[-1].linf < plain.linf


@pytest.mark.parametrize("worse", ["shared", "each"])
def test_sums_are_bounded_by_the_best_ellipsoid_of_each(make_pair: Make, good: Bound, worse: str) -> None:
    """Ellipsoids that are worse, before or after, take nothing away; and no sum of bounds is attained."""
    pair = make_pair("three layers", 1, 0.5, 0.1)
    best = {k.removeprefix("0.shared."): x for k, x in good.parameters.items() if k.startswith("0.shared.")}

    def bound(**groups: dict[str, torch.Tensor]) -> Bound:
        parameters = {f"0.{group}.{name}": x for group, known in groups.items() for name, x in known.items()}
        return Ellipsoid(rounds=0).check(pair.problem(), parameters)

    alone = bound(sum=best)
    assert alone.l1 < 0.999 * float(alone.per_output.sum())
    assert bound(sum=best, **{worse: {name: x - 2 for name, x in best.items()}}).l1 <= alone.l1


def test_networks_too_large_are_refused_at_once(make_pair: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ellipsoid, "LARGEST", 8)
    monkeypatch.setattr(steps, "LARGEST", 8)
    with pytest.raises(UnsupportedError, match=r"PL1392 node .*: 9 values are live .* GB\)"):
        searched(make_pair("two layers", 0, 0.5, 0.1).problem(), 60.0)


def test_refusals_say_why(make_pair: Make) -> None:
    pair = make_pair("two layers", 0, 0.5, 0.1)
    anywhere = Box(torch.full((1, 3), -torch.inf).double(), torch.full((1, 3), torch.inf).double())
    with pytest.raises(UnsupportedError, match="PL1391"):
        searched(Problem(pair.first, pair.second, [anywhere]))
    with pytest.raises(UnsupportedError, match="PL1394"):
        list(Ellipsoid().search(pair.problem(), Clock.of(0.0)))
