"""Tuning with times that are made up."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import pytest

from pathlift.codegen.cache import Measured
from pathlift.codegen.schedule import Form, Schedule
from pathlift.codegen.select import key, ranked
from pathlift.codegen.tune import MOST_TIMED, candidates, tune
from pathlift.ir.cost import DEVICES, GraphicsCard
from pathlift.ir.kronecker import Pattern

CARD = cast(GraphicsCard, DEVICES["h100"])
PATTERNS, FORM = (Pattern(4, 64, 64, 16),), Form()


class Clock:
    def __init__(self, seconds: Callable[[Schedule | None], float]) -> None:
        self.seconds, self.timed = seconds, list[Schedule | None]()

    def __call__(self, schedule: Schedule | None) -> float:
        self.timed.append(schedule)
        return self.seconds(schedule)


def tuned(
    clock: Clock, measured: Measured, form: Form = FORM, **options: Callable[[Schedule], bool]
) -> Schedule | None:
    return tune(PATTERNS, form, 4096, CARD, clock, measured, **options).schedule


def test_the_fastest_of_eight_is_kept() -> None:
    third = list(candidates(PATTERNS, FORM, 4096, CARD))[2]
    clock, measured = Clock(lambda s: 1e-6 if s == third else 1e-3), Measured(None)
    assert tuned(clock, measured) == third
    assert 3 < sum(s is not None for s in clock.timed) <= MOST_TIMED
    assert clock.timed.count(None) == 1
    again = Clock(lambda s: 0.0)
    assert tuned(again, measured) == third
    assert again.timed == []


def test_dense_is_timed_too() -> None:
    assert tuned(Clock(lambda s: 1e-3 if s else 1e-6), Measured(None)) is None
    clock = Clock(lambda s: 1e-3)
    assert tuned(clock, Measured(None), Form(precision="ieee")) is not None
    assert None not in clock.timed


def test_what_has_no_room_is_not_timed() -> None:
    clock = Clock(lambda s: 1e-3 if s else 1.0)
    kept = tuned(clock, Measured(None), compiles=lambda s: s.group == 16)
    assert kept is not None
    assert {s.group for s in clock.timed if s is not None} == {16}


def test_where_nothing_runs_predictions_stay() -> None:
    measured = Measured(None)
    assert tuned(Clock(lambda s: math.inf), measured) == ranked(PATTERNS, FORM, 4096, CARD)[0][0]
    assert measured.get(key(PATTERNS, FORM, 4096, CARD)) is None
    assert tuned(Clock(lambda s: 1e-3 if s else 1.0), measured) is not None


@pytest.mark.parametrize("pattern", [Pattern(1, 3, 5, 1), Pattern(2, 64, 64, 4)], ids=str)
def test_candidates_differ(pattern: Pattern) -> None:
    found = list(candidates((pattern,), FORM, 4096, CARD))
    costs = dict(ranked((pattern,), FORM, 4096, CARD))
    assert found[0] == next(iter(costs))
    assert all(costs[s].seconds <= 3 * costs[found[0]].seconds for s in found)
    kinds = [(s.template, s.group, s.weights_left, s.descriptors) for s in found]
    assert all(kinds.count(kind) <= 2 for kind in kinds)
