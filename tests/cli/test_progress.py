"""The progress line: past one second, on a terminal, and what it says."""

from __future__ import annotations

import io
import os
import pty
import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pathlift.cli import progress
from pathlift.cli.progress import PATIENCE, Line
from pathlift.ir.stages import listening, stage

Later = Callable[[], None]


class Timer:
    """One that a test lets run out."""

    made: ClassVar[list[Timer]] = []

    def __init__(self, seconds: float, function: Later) -> None:
        self.seconds, self.run_out, self.cancelled, self.daemon = seconds, function, False, False
        self.made.append(self)

    def start(self) -> None:
        assert self.daemon

    def cancel(self) -> None:
        self.cancelled = True


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Make a stream stderr, and a terminal of a known kind; pytest sets stderr anew after fixtures."""

    def become(stream: Any) -> None:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setattr(sys, "stderr", stream)

    return become


def test_nothing_is_shown_within_a_second(on_terminal: Callable[[Any], None]) -> None:
    on_terminal(terminal := Terminal())
    line = Line(Timer)
    assert Timer.made[-1].seconds == PATIENCE == 1.0
    with listening(line), stage("reading m.onnx"):
        pass
    line.close()
    assert Timer.made[-1].cancelled
    Timer.made[-1].run_out()  # it may be about to when the verb ends
    assert terminal.getvalue() == ""


def test_past_a_second_the_stage_is_shown_and_taken_away(on_terminal: Callable[[Any], None]) -> None:
    on_terminal(terminal := Terminal())
    line = Line(Timer)
    with listening(line), stage("reading [bold]m.onnx[/bold]\x1b[2J"):
        Timer.made[-1].run_out()
    line.close()
    assert "reading [bold]m.onnx[/bold]" in terminal.getvalue()
    assert "\x1b[2J" not in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K")


def test_what_is_told() -> None:
    line = Line(Timer)
    assert line.told() == ("loading libraries", 0, None)
    with listening(line):
        with stage("reading"):
            assert line.told() == ("reading", 0, None)
            with stage("lowering"), stage("shapes"):
                assert line.told() == ("lowering: shapes", 0, None)
        assert line.told() == ("working", 0, None)
        with stage("fitting"):
            line.count("layer fc1", 3, 7)
            assert line.told() == ("layer fc1", 3, 7)
            with stage("checking"):
                assert line.told() == ("layer fc1: checking", 3, 7)
            assert line.told() == ("layer fc1", 3, 7)
        with stage("saving"):
            assert line.told() == ("saving", 0, None)
    line.close()


def test_a_count_is_shown_as_a_bar(on_terminal: Callable[[Any], None]) -> None:
    on_terminal(terminal := Terminal())
    line = Line(Timer)
    with listening(line), stage("fitting"):
        line.count("layer fc1", 3, 7)
        Timer.made[-1].run_out()
    line.close()
    assert "3/7" in terminal.getvalue()


class Watched:
    """What a terminal is sent."""

    def __init__(self, master: int) -> None:
        self.master, self.seen = master, ""

    def until(self, text: str, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} is not in {self.seen!r}"
            self.seen += os.read(self.master, 4096).decode()


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Watched, Any]]:
    """A terminal, what writes to it, and no patience."""
    master, slave = pty.openpty()
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    with os.fdopen(slave, "w") as stream:
        yield Watched(master), stream
    os.close(master)


def test_a_verb_says_on_a_terminal_what_it_does(
    watched: tuple[Watched, Any],
    on_terminal: Callable[[Any], None],
    pathlift: Callable[..., Any],
    digits: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pathlift.passes.path_norm.path_norm import PathNorm

    evaluation, (screen, stream) = PathNorm.evaluation, watched

    def slow(*args: Any, **options: Any) -> Any:
        screen.until("norm q=1")
        return evaluation(*args, **options)

    monkeypatch.setattr(PathNorm, "evaluation", slow)
    on_terminal(stream)
    outcome = pathlift("norm", str(digits))
    assert outcome.code == 0
    assert "norm q=" not in outcome.out
    assert "6.076353" in outcome.out


def test_a_verb_that_counts(
    watched: tuple[Watched, Any],
    on_terminal: Callable[[Any], None],
    pathlift: Callable[..., Any],
    fake: Callable[..., Any],
) -> None:
    screen, stream = watched

    def action() -> None:
        ((_, named),) = calls
        named["progress"]("fc1", 2, 5)
        screen.until("fitting fc1")
        screen.until("2/5")

    calls = fake(verb="ks_fit.ks_fit", action=action, payload={"layers": []})
    on_terminal(stream)
    assert pathlift("ks", "fit", "m.onnx", "--format", "json").code == 0


def test_nobody_watches_where_there_is_no_terminal(pathlift: Callable[..., Any], fake: Callable[..., Any]) -> None:
    calls = fake(verb="ks_fit.ks_fit", payload={"layers": []})
    outcome = pathlift("ks", "fit", "m.onnx", "--format", "json")
    ((_, named),) = calls
    assert named["progress"] is None
    assert outcome.err == ""
