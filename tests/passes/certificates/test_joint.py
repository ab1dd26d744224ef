"""Joint relaxations: sound on networks of all kinds, exact where they can be, the same when replayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pathlift.passes.certificates.joint import Joint, lower_bounds
from pathlift.passes.certificates.problem import Bound, Clock, Problem

torch.set_num_threads(1)
Make = Callable[..., Any]


def test_bounds_and_intervals_hold(make_pair: Make, family: str) -> None:
    check_sound(make_pair(family, 1, 0.5, 0.1))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2])
@pytest.mark.parametrize("size", [(1e-6, 1e-5), (3.0, 1.0)])
def test_more_bounds_hold(make_pair: Make, family: str, seed: int, size: tuple[float, float]) -> None:
    check_sound(make_pair(family, seed, *size))


def check_sound(pair: Any) -> None:
    problem = pair.problem()
    out = problem.outputs[0]
    plain = problem.triples[out].d.magnitude.flatten()
    bounds = list(Joint().search(problem, Clock.of(0.1)))
    values = pair.values(pair.points(60))
    difference = (values[out][1] - values[out][0]).reshape(len(values[out][0]), -1)
    for bound in bounds:
        assert bool((difference.abs().amax(0) <= bound.per_output * (1 + 1e-12) + 1e-12).all())
        assert float(difference.abs().sum(1).max()) <= bound.l1 * (1 + 1e-12) + 1e-12
        assert bool((bound.per_output <= plain * (1 + 1e-9)).all())
        assert bound.l1 <= float(bound.per_output.sum()) * (1 + 1e-12)
    for t, (a, b) in zip(problem.triples, values, strict=True):
        slack = 1e-12 * (1 + a.abs() + b.abs())
        for x, box in ((a, t.a), (b, t.b), (b - a, t.d)):
            assert bool((x >= box.low - slack).all())
            assert bool((x <= box.high + slack).all())
    again = Joint().check(pair.problem(), bounds[-1].parameters)
    assert torch.equal(again.per_output, bounds[-1].per_output)
    assert again.l1 == bounds[-1].l1


def test_linear_networks_are_exact(make_pair: Make) -> None:
    for seed in range(4):
        pair = make_pair("linear", seed, 0.7, 0.2)
        bound = Joint().check(pair.problem(), {})
        values = pair.values(pair.points(0))[pair.problem().outputs[0]]
        d = (values[1] - values[0]).reshape(-1, 2).abs()
        torch.testing.assert_close(bound.per_output, d.amax(0), rtol=1e-9, atol=1e-12)
        assert bound.l1 == pytest.approx(float(d.sum(1).max()), rel=1e-9)


def test_monotone_networks_are_exact_at_their_corner(make_pair: Make) -> None:
    for seed in range(4):
        pair = make_pair("three layers", seed, 1.0, 0.2, positive=True)
        bound = Joint().check(pair.problem(), {})
        a, b = (t.run([pair.high])[pair.problem().outputs[0]] for t in (pair.first, pair.second))
        torch.testing.assert_close(bound.per_output, (b - a).abs().flatten(), rtol=1e-9, atol=1e-12)


def test_the_sum_needs_signs(make_pair: Make) -> None:
    # Differences of two outputs that cancel in part: the sum of both bounds is never attained.
    smaller = 0
    for seed in range(6):
        bound = Joint().check(make_pair("linear", seed, 0.7, 0.2).problem(), {})
        smaller += bound.l1 < 0.95 * float(bound.per_output.sum())
    assert smaller >= 2


@pytest.fixture(scope="module")
def searched(make_pair: Make) -> tuple[Any, list[Bound]]:
    pair = make_pair("three layers", 0, 0.7, 0.1)
    return pair, list(Joint().search(pair.problem(), Clock.of(20.0)))


def test_slopes_are_searched(searched: tuple[Any, list[Bound]]) -> None:
    first, better = searched[1]
    assert bool((better.per_output <= first.per_output).all())
    assert float((1 - better.per_output / first.per_output).max()) > 0.01


def test_any_parameters_are_sound(searched: tuple[Any, list[Bound]]) -> None:
    pair, (*_, bound) = searched
    assert torch.equal(Joint().check(pair.problem(), bound.parameters).per_output, bound.per_output)
    values = pair.values(pair.points(60))[pair.problem().outputs[0]]
    d = (values[1] - values[0]).reshape(-1, 2).abs()
    g = torch.Generator().manual_seed(0)
    for scale in (0.1, 10.0):
        noisy = {
            k: x + scale * torch.randn(x.shape, generator=g, dtype=torch.float64) if k.startswith("slopes") else x
            for k, x in bound.parameters.items()
        }
        found = Joint().check(pair.problem(), noisy)
        assert bool((found.per_output >= d.amax(0) - 1e-12).all())
        assert found.l1 >= float(d.sum(1).max()) - 1e-12


def test_what_was_skipped_is_replayed(make_pair: Make) -> None:
    pair = make_pair("four layers", 2, 0.5, 0.1)
    full = Joint().check(pair.problem(), {})
    found = list(Joint().search(pair.problem(), Clock.of(-1.0)))  # no time: nothing but the outputs' own rows
    assert "skipped" in found[-1].parameters
    assert bool((found[-1].per_output > full.per_output).any())
    again = Joint().check(pair.problem(), found[-1].parameters)
    assert torch.equal(again.per_output, found[-1].per_output)
    some = Joint().check(pair.problem(), {"skipped": found[-1].parameters["skipped"][:-1]})
    assert float(some.per_output.sum()) < float(found[-1].per_output.sum())


def test_one_network_alone(make_pair: Make, family: str) -> None:
    pair = make_pair(family, 5, 0.3, 0.1)
    alone = Problem(pair.first, pair.first, pair.problem().domain)
    out = alone.outputs[0]
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    rows = rows.reshape(4, *pair.first.shapes[out])
    found = lower_bounds(alone, {out: rows})
    y = pair.values(pair.points(60))[out][0]
    values = torch.einsum("rn,pn->rp", rows.reshape(4, -1), y.reshape(len(y), -1))
    assert bool((values >= found[:, None] - 1e-12 * (1 + values.abs())).all())
    box = alone.triples[out].a
    assert bool((found[:2] >= box.low.flatten() - 1e-9 * (1 + box.low.abs().flatten())).all())


def test_slopes_of_one_network_are_searched(make_pair: Make) -> None:
    pair = make_pair("three layers", 5, 0.8, 0.1)
    alone = Problem(pair.first, pair.first, pair.problem().domain)
    out = alone.outputs[0]
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    rows = rows.reshape(4, *pair.first.shapes[out])
    plain = lower_bounds(alone, {out: rows})
    searched = lower_bounds(alone, {out: rows}, Clock.of(20.0))
    y = pair.values(pair.points(60))[out][0]
    values = torch.einsum("rn,pn->rp", rows.reshape(4, -1), y.reshape(len(y), -1))
    assert bool((values >= searched[:, None] - 1e-12 * (1 + values.abs())).all())
    assert bool((searched >= plain).all())
    assert bool((searched > plain + 1e-3).any())
    enough = float(plain.sort().values[1])
    some = lower_bounds(alone, {out: rows}, Clock.of(20.0), enough)
    assert torch.equal(some[plain > enough], plain[plain > enough])
    assert bool((some[plain <= enough] > plain[plain <= enough]).any())


def test_outputs_without_rows_keep_their_intervals(make_pair: Make) -> None:
    pair = make_pair("three layers", 1, 0.5, 0.1)
    known = pair.problem()
    without = Joint().check(known, {"skipped": torch.tensor([-1])})
    assert torch.equal(without.per_output, known.triples[known.outputs[0]].d.magnitude.flatten())
    assert bool((Joint().check(pair.problem(), {}).per_output < without.per_output).any())
