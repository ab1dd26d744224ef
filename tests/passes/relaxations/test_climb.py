"""Gradient ascent: it gets where the best slopes are, keeps the best of each row, and stops in time."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pathlift.passes.relaxations.climb import climb
from pathlift.passes.relaxations.gates import Chosen

Tensor = torch.Tensor
BEST = torch.tensor([[[1.4], [0.7]], [[1.2], [1.1]]])


def bound(slopes: Mapping[int, Chosen]) -> Tensor:
    return -5.0 - (slopes[4].slopes - BEST).abs().sum((0, 2))


def start() -> dict[int, Chosen]:
    return {4: Chosen(torch.arange(2), torch.ones(2, 2, 1))}


def test_it_climbs() -> None:
    found = climb(bound, start(), lambda: 1.0)
    assert bool((bound(found) > -5.1).all())
    assert bool((bound(start()) < -5.25).all())


def test_without_time_nothing_is_found() -> None:
    assert climb(bound, start(), lambda: -1.0) == {}
    assert climb(bound, {}, lambda: 1.0) == {}


def test_rows_keep_what_was_best_for_each() -> None:
    calls = []

    def falling(slopes: Mapping[int, Chosen]) -> Tensor:
        """The first row falls from one step to the next, the other rises."""
        calls.append(slopes[4].slopes.detach().clone())
        n = float(len(calls))
        return torch.tensor([-n, n - 1000.0]) + 0.0 * slopes[4].slopes.sum()

    def moving(slopes: Mapping[int, Chosen]) -> Tensor:
        return falling(slopes) + bound(slopes) - bound(slopes).detach()

    found = climb(moving, start(), lambda: 1.0)[4].slopes
    torch.testing.assert_close(found[:, 0], calls[0][:, 0])
    torch.testing.assert_close(found[:, 1], calls[-1][:, 1])


def test_it_stops_before_a_step_that_would_be_late() -> None:
    left = iter([1.0, 1.0, 1e-9])
    steps = []

    def counted(slopes: Mapping[int, Chosen]) -> Tensor:
        steps.append(1)
        return bound(slopes)

    climb(counted, start(), lambda: next(left))
    assert len(steps) == 2
