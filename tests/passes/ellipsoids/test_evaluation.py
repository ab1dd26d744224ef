"""Bounds read off an ellipsoid, of linear functions and of sums of magnitudes, against points that are in it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pathlift.passes.ellipsoids.evaluation import (
    carried_out,
    largest_eigenvalue,
    projected,
    started,
    sum_bound,
    support,
)
from pathlift.passes.ellipsoids.moves import Widened
from pathlift.passes.ellipsoids.plan import Plan

Tensor = torch.Tensor


def held(n: int, seed: int, constant: bool) -> tuple[Tensor, Tensor]:
    """An ellipsoid, and points on it, of which the first coordinate may have to be 1."""
    g = torch.Generator().manual_seed(seed)
    factor = torch.randn(n, n, generator=g, dtype=torch.float64)
    if constant:
        factor[0] = 0
        factor[0, 0] = 1.3
    v = torch.randn(4000, n, generator=g, dtype=torch.float64)
    if constant:
        v[:, 0] = 0
        v = v / v.norm(dim=1, keepdim=True) * (1 - 1 / 1.69) ** 0.5
        v[:, 0] = 1 / 1.3
    else:
        v = v / v.norm(dim=1, keepdim=True)
    return (factor @ factor.T)[None], v @ factor.T


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_linear_functions(seed: int, constant: bool) -> None:
    m, points = held(4, seed, constant)
    g = torch.Generator().manual_seed(seed)
    w = torch.randn(6, 4, generator=g, dtype=torch.float64)
    w[:, 0] = 0
    low, high = (end[0] for end in projected(m, constant, w[None]).ends())
    values = points @ w.T
    assert bool((values.amin(0) >= low).all())
    assert bool((values.amax(0) <= high).all())
    assert bool((values.amax(0) - values.amin(0) >= 0.9 * (high - low)).all())
    assert torch.equal(support(m, constant, w[None])[0], torch.maximum(high, -low).clamp(min=0))


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("count", [1, 3, 16, 17, 30])
def test_sums_of_magnitudes(count: int, constant: bool) -> None:
    m, points = held(count + 1, count, constant)
    w = torch.eye(count + 1, dtype=torch.float64)[1:]
    bound = sum_bound(m, constant, w)
    assert float((points @ w.T).abs().sum(1).max()) <= bound
    size = m[0].diagonal()[1:].sqrt().sum()
    assert bound <= float(size) * (1 + 1e-9)
    assert float((points @ w.T).norm(dim=1).max()) <= largest_eigenvalue(m, w)
    assert largest_eigenvalue(m, w) <= float(torch.linalg.eigvalsh(m[0, 1:, 1:])[-1].sqrt()) * (1 + 1e-8)


@pytest.mark.parametrize("logit", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_what_is_no_number_proves_nothing(logit: float) -> None:
    radius = torch.tensor([2.0, 1.0], dtype=torch.float64)
    wide = Widened("input", torch.tensor([1, 2]), radius)
    plan = Plan(3, True, (wide,), (), (slice(1, 3),), (2,))
    m = carried_out(plan, {"input": torch.tensor([[0.0, logit, 0.0]], dtype=torch.float64)})
    if m is not None:
        assert bool((support(m, True, torch.eye(3, dtype=torch.float64)[None, 1:])[0] >= radius).all())
    assert (m is None) == (logit != logit)


def test_a_start_that_is_no_number_ends() -> None:
    """Where an ellipsoid overflows, no multipliers are found, instead of ever smaller ones being tried."""

    class Overflowing:
        name, moves, tries, index = "gate", property(lambda self: [self]), 0, range(2)

        def start(self, m: object = None) -> Tensor:
            return torch.full((1, 2), torch.nan).double()

        def __call__(self, m: Tensor, logits: Tensor) -> None:
            self.tries += 1
            assert self.tries < 5000, "this never ends"

    plan: Any = Overflowing()
    assert started(plan, torch.eye(1).double()[None]) == ({}, {})
