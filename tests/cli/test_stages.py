"""Times by stage, under a clock that a test turns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pathlift.cli.stages import Times
from pathlift.ir.stages import listening, stage


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_stages_are_nested_and_added_up() -> None:
    clock = Clock()
    times = Times(clock)
    with listening(times):
        clock.now += 0.5
        with stage("reading"):
            clock.now += 1
            for seconds in (2, 3):
                with stage("lowering"):
                    clock.now += seconds
        with stage("norm"):
            clock.now += 0.25
    assert times.lines() == [
        "stage                         seconds",
        "reading                          6.00",
        "  lowering (2×)                  5.00",
        "norm                             0.25",
        "elsewhere, loading libraries     0.50",
        "in all                           6.75",
    ]


def test_one_name_within_two_stages_is_two_rows() -> None:
    clock = Clock()
    times = Times(clock)
    with listening(times):
        for outer in ("a", "b"):
            with stage(outer), stage("parsing"):
                clock.now += 1
    assert [line.split()[0] for line in times.lines()] == ["stage", "a", "parsing", "b", "parsing", "elsewhere,", "in"]


def test_times_are_told_if_asked(pathlift: Callable[..., Any], digits: Path) -> None:
    outcome = pathlift("norm", str(digits), "-v")
    rows = [line.split("  ")[0] for line in outcome.err.splitlines()]
    assert rows[:3] == ["stage", "reading digits.onnx", ""]
    assert "norm q=1" in rows
    assert outcome.out == pathlift("norm", str(digits)).out
    assert pathlift("norm", str(digits)).err == ""


def test_without_stages_there_is_no_table() -> None:
    assert Times().lines() == []


def _staged() -> None:
    with stage("a"):
        pass


def test_times_come_after_the_result_and_before_an_error(
    pathlift: Callable[..., Any], fake: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("pathlift.cli.frame.emit", lambda *args, **options: told.append("result"))
    monkeypatch.setattr("pathlift.cli.progress.note", lambda line: told.append(line.split("  ")[0]))
    fake(action=_staged)
    pathlift("passes", "-v")
    assert told == ["result", "stage", "a", "elsewhere, loading libraries", "in all"]
    told.clear()
    fake(action=_staged, error=ValueError("no"))
    assert pathlift("passes", "-v").err.startswith("PL0000")
    assert told[0] == "stage"
