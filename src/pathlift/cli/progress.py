"""Progress on stderr: what is being done, on a terminal only, and only past one second."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from pathlift.cli.stages import Times
from pathlift.cli.terminal import note
from pathlift.ir.stages import listening
from pathlift.report.clean import sanitize

if TYPE_CHECKING:
    from rich.progress import Progress

PATIENCE = 1.0
"""Seconds."""
_SHOWN = 2
"""How many of the innermost stages are told."""


class Line:
    """A listener that shows the innermost stages: beside a spinner, or a bar where it is known how far they are.

    Parameters
    ----------
    later
        Makes a timer of seconds and a function, with ``start`` and ``cancel``.
    """

    def __init__(self, later: Callable[[float, Callable[[], None]], Any] = threading.Timer) -> None:
        self._stages: list[str] = []
        self._idle = "loading libraries"
        self._counted: tuple[int, str, int, int] | None = None
        self._bar: Progress | None = None
        self._closed, self._lock = False, threading.Lock()
        self._timer = later(PATIENCE, self._start)
        self._timer.daemon = True
        self._timer.start()

    def enter(self, name: str) -> None:
        """Show a stage."""
        self._stages.append(name)
        self._idle = "working"
        self._update()

    def leave(self) -> None:
        """Show the stage around the one that ends; what was counted in it is done."""
        self._stages.pop()
        if self._counted is not None and self._counted[0] > len(self._stages):
            self._counted = None
        self._update()

    def count(self, what: str, number: int, count: int) -> None:
        """Show how far what the innermost stage does is."""
        self._counted = len(self._stages), what, number, count
        self._update()

    def told(self) -> tuple[str, int, int | None]:
        """Return what is shown: a text, a number, and how many there are, if that is known."""
        depth, what, number, count = self._counted or (0, "", 0, None)
        parts = [what, *self._stages[depth:][-1:]] if self._counted else self._stages[-_SHOWN:]
        return ": ".join(map(sanitize, filter(None, parts))) or self._idle, number, count

    def close(self) -> None:
        """Take the line away."""
        self._timer.cancel()
        with self._lock:
            self._closed = True
            if self._bar is not None:
                with suppress(OSError):
                    self._bar.stop()

    def _start(self) -> None:
        """Begin to show; called by the timer, in a thread of its own."""
        from rich.console import Console
        from rich.progress import Progress

        with self._lock, suppress(OSError):
            if not self._closed:
                bar = Progress(*_columns(False), console=Console(stderr=True), transient=True)
                bar.add_task("")
                self._bar = bar
                self._update()
                bar.start()

    def _update(self) -> None:
        if (bar := self._bar) is not None:
            text, number, count = self.told()
            bar.columns = _columns(count is not None)
            bar.update(bar.task_ids[0], description=text, completed=number, total=count)


def _columns(counted: bool) -> tuple[Any, ...]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
    if counted:
        return text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return SpinnerColumn("line"), text, TimeElapsedColumn()


class _Both:
    """A listener that tells two."""

    def __init__(self, line: Line, times: Times) -> None:
        self._listeners = line, times

    def enter(self, name: str) -> None:
        """Tell both."""
        for listener in self._listeners:
            listener.enter(name)

    def leave(self) -> None:
        """Tell both."""
        for listener in self._listeners:
            listener.leave()


_LINE: ContextVar[Line | None] = ContextVar("line", default=None)


@contextmanager
def timing(wanted: bool) -> Iterator[Times | None]:
    """Tell at the end, however it comes, how long each stage took, if that is asked for; yield what to listen with."""
    times = Times() if wanted else None
    try:
        yield times
    finally:
        for row in times.lines() if times is not None else ():
            note(row)


@contextmanager
def watching(times: Times | None) -> Iterator[None]:
    """Show what is being done, if somebody watches, and take its times."""
    line = Line() if sys.stderr is not None and sys.stderr.isatty() else None
    token = _LINE.set(line)
    try:
        with _listening(line, times):
            yield
    finally:
        _LINE.reset(token)
        if line is not None:
            line.close()


@contextmanager
def _listening(line: Line | None, times: Times | None) -> Iterator[None]:
    listener = _Both(line, times) if line is not None and times is not None else line or times
    if listener is None:
        yield
    else:
        with listening(listener):
            yield


def progress(what: str) -> Callable[[str, int, int], None] | None:
    """Return what to call with a name, its number and how many there are; ``None`` where nobody watches."""
    line = _LINE.get()
    return None if line is None else lambda name, number, count: line.count(f"{what} {name}", number, count)
