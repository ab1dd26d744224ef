"""Stages: what long work says it is doing, for whoever listens.

Code that may take long puts `stage` around it. Nobody listens unless something asked for it by `listening`, as the
command line does for its progress line and for the times of ``-v``; a stage costs next to nothing then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Protocol


class Listener(Protocol):
    """What is told of stages, in the order in which they nest."""

    def enter(self, name: str) -> None:
        """Take note that a stage begins."""

    def leave(self) -> None:
        """Take note that the innermost stage ends, even if by an error."""


_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)
_SILENT: AbstractContextManager[None] = nullcontext()


def stage(name: str) -> AbstractContextManager[None]:
    """Return a context in which something is done.

    Parameters
    ----------
    name
        What, in a few words: ``reading m.onnx``. Stages of one name within another are one to who adds up times.
    """
    listener = _LISTENER.get()
    return _SILENT if listener is None else _told(listener, name)


@contextmanager
def _told(listener: Listener, name: str) -> Iterator[None]:
    listener.enter(name)
    try:
        yield
    finally:
        listener.leave()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell a listener of all stages within, and none who listened before."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)
