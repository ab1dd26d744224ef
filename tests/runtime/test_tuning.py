"""Tuning of layers and products, with a card and times that are made up."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch

from pathlift.codegen.cache import Measured
from pathlift.codegen.schedule import Form, Schedule
from pathlift.codegen.select import key
from pathlift.ir.cost import DEVICES, GraphicsCard
from pathlift.ir.errors import ExecutionError, UsageError
from pathlift.ir.kronecker import Pattern, parse_patterns
from pathlift.runtime import cards, kernels, tuning

CARD = cast(GraphicsCard, DEVICES["h100"])
CPU = torch.device("cpu")
PAIR = parse_patterns("(1,48,48,4)(4,48,48,1)")
TRIPLE = parse_patterns("(1,4,4,16)(4,4,4,4)(16,4,4,1)")


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Schedule | None]]:
    """What is timed: how many factors, and how. Longer sums take longer; dense takes longest."""
    seen: list[tuple[int, Schedule | None]] = []

    class Clock:
        def __init__(self, patterns: tuple[Pattern, ...], *_: Any) -> None:
            self.patterns = patterns

        def __call__(self, schedule: Schedule | None) -> float:
            seen.append((len(self.patterns), schedule))
            return 1e-3 if schedule is None else 1e-6 * len(self.patterns) * (1 + schedule.block_k)

    monkeypatch.setattr(tuning, "Clock", Clock)
    monkeypatch.setattr(cards, "card", lambda device: CARD)
    monkeypatch.setattr(tuning, "_has_room", lambda *_: True)
    return seen


def test_what_would_run_is_tuned(timed: list[tuple[int, Schedule | None]]) -> None:
    known, form = Measured(None), Form(bias=True)
    found = tuning.tune_product(PAIR, form, 4096, CPU, known)
    assert timed
    for step in found.steps:
        assert known.get(key(step.patterns, step.form, 4096, CARD)) is not None
        assert "measured" in step.reason
    timed.clear()
    assert tuning.tune_product(PAIR, form, 4096, CPU, known) == found
    assert timed == []


def test_three_factors_may_be_dense(timed: list[tuple[int, Schedule | None]], monkeypatch: pytest.MonkeyPatch) -> None:
    known = Measured(None)
    found = tuning.tune_product(TRIPLE, Form("float16", "ieee"), 1, CPU, known)
    assert (3, None) in timed  # predicted to be fastest, and timed
    assert len(found.steps) > 1  # it was not


def test_a_layer_chooses_anew_once_it_is_tuned(timed: list[Any]) -> None:
    known, form = Measured(None), Form()
    before = kernels._route(PAIR, form, 4096, CARD, known)
    tuning.tune_product(PAIR, form, 4096, CPU, known)
    after = kernels._route(PAIR, form, 4096, CARD, known)
    assert [s.schedule for s in after] != [s.schedule for s in before] or before is not after


class TestClock:
    def clock(self, **form: Any) -> tuning.Clock:
        return tuning.Clock(PAIR[:1], Form(**form), 8, CPU, time=lambda run: float(run() is not None) * 2)

    def test_seconds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[dict[str, Any]] = []
        monkeypatch.setattr(kernels, "ks_linear", lambda x, factors, **options: calls.append(options) or x)
        clock, schedule = self.clock(bias=True, residual=True, activation="Relu"), Schedule("dot")
        assert clock(schedule) == 2e-3
        assert clock(None) == 2e-3
        assert [c["schedule"] for c in calls] == [schedule, None]
        assert [c["dense"] for c in calls] == [False, True]
        assert calls[0]["bias"].shape == (PAIR[0].rows,)
        assert calls[0]["residual"].shape == (8, PAIR[0].rows)
        assert (calls[0]["activation"], calls[0]["precision"]) == ("Relu", "tf32x3")

    def test_operands_are_random(self) -> None:
        clock = self.clock()
        assert clock._x.count_nonzero() == clock._x.numel()
        assert clock._factors[0].unique().numel() > 1

    @pytest.mark.parametrize("error", [ExecutionError("0932", "no kernel"), RuntimeError("out of resources")])
    def test_what_does_not_run_takes_forever(self, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(kernels, "ks_linear", fails)
        assert self.clock()(Schedule("dot")) == math.inf

    def test_wrong_operands_are_no_slow_schedule(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*_: Any, **__: Any) -> None:
            raise UsageError("1448", "operands")

        monkeypatch.setattr(kernels, "ks_linear", fails)
        with pytest.raises(UsageError, match="PL1448"):
            self.clock()(Schedule("dot"))


def test_without_a_card_there_is_nothing_to_tune() -> None:
    with pytest.raises(UsageError) as raised:
        tuning.tune_layer(PAIR[:1], Form(), 8, CPU)
    assert raised.value.code == "PL1447"
