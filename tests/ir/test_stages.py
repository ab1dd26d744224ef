"""Stages: who listens is told, in order, and nobody else."""

from __future__ import annotations

import pytest

from pathlift.ir.stages import listening, stage


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def enter(self, name: str) -> None:
        self.lines.append(name)

    def leave(self) -> None:
        self.lines.append("end")


def test_a_listener_is_told_of_nested_stages() -> None:
    log = Log()
    with listening(log), stage("outer"), stage("inner"):
        assert log.lines == ["outer", "inner"]
    assert log.lines == ["outer", "inner", "end", "end"]


def test_a_stage_ends_by_an_error_too() -> None:
    log = Log()
    with pytest.raises(ValueError, match="no"), listening(log), stage("outer"):
        raise ValueError("no")
    assert log.lines == ["outer", "end"]


def test_nobody_listens_outside() -> None:
    first, second = Log(), Log()
    with listening(first):
        with listening(second), stage("a"):
            pass
        with stage("b"):
            pass
    with stage("c"):
        pass
    assert (first.lines, second.lines) == (["b", "end"], ["a", "end"])


def test_where_nobody_listens_nothing_is_made() -> None:
    assert stage("a") is stage("b")
