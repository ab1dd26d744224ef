"""The search for multipliers: it reaches what is best, stops when time is over, and what it returns can be proved."""

from __future__ import annotations

import pytest
import torch

from pathlift.passes.ellipsoids.evaluation import carried_out, started, support
from pathlift.passes.ellipsoids.moves import Gated, Linear, Widened
from pathlift.passes.ellipsoids.plan import Plan
from pathlift.passes.ellipsoids.search import Search, least_seconds

Tensor = torch.Tensor
ROWS = torch.tensor([[[1.0]]], dtype=torch.float64)


def plan(n: int = 4) -> Plan:
    """Σ of gates [0, 1] of a box of radius 1: n is reached."""
    radius = torch.ones(n, dtype=torch.float64)
    ones, zeros = torch.ones(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    return Plan(n, False, (
        Widened("input", torch.arange(n), radius, alone=True), Gated("gate", "n", torch.arange(n), 0, zeros, ones),
        Linear(ones[None], zeros[None]),
    ), (), (slice(0, 1),), (1,))  # fmt: skip


def size(m: Tensor) -> Tensor:
    return support(m, False, ROWS).log().sum()


def test_the_best_is_found_and_proved() -> None:
    search = Search(plan())
    found = search.descend(size, 60, lambda: 1e9)
    m = carried_out(plan(), search.multipliers(found))
    assert m is not None
    assert 4.0 <= float(support(m, False, ROWS)) < 4.02


def test_no_time_leaves_what_there_was() -> None:
    search = Search(plan())
    found = search.descend(size, 60, lambda: 0.0)
    assert all(torch.equal(x, search.start[name]) for name, x in found.items())


def test_steps_that_prove_nothing_are_halved() -> None:
    """An objective that large ellipsoids please leads to the edge of what is feasible, and not over it."""
    search = Search(plan())
    found = search.descend(lambda m: -m.diagonal(dim1=1, dim2=2).log().sum(), 60, lambda: 1e9)
    assert bool((found["gate"] != search.start["gate"]).all())
    assert carried_out(plan(), search.multipliers(found)) is not None


def test_places_that_are_not_feasible_are_left() -> None:
    multipliers, relative = started(plan(), None, {"gate": torch.full((4,), 9.0, dtype=torch.float64)})
    assert carried_out(plan(), multipliers) is not None
    assert bool((relative["gate"] < 9).all())
    kept = started(plan(), None, {"gate": torch.full((4,), -5.0, dtype=torch.float64)})[1]["gate"]
    torch.testing.assert_close(kept, torch.full((4,), -5.0, dtype=torch.float64))


@pytest.mark.parametrize(("small", "large"), [(10, 100)])
def test_costs_grow_with_the_cube(small: int, large: int) -> None:
    assert 500 < least_seconds(plan(large)) / least_seconds(plan(small)) < 1200
