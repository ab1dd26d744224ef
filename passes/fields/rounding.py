"""The rounding mode of values that cancellation has left uncertain: taken as they are, or rounded up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class RoundingMode:
    """Whether uncertain values are rounded up, and whether there were any."""

    up: bool
    inexact: bool = False


_MODE: ContextVar[RoundingMode] = ContextVar("rounding_mode")


@contextmanager
def rounding_mode(*, up: bool) -> Iterator[RoundingMode]:
    """Round uncertain values up (or leave them) within the block, and record whether there are any."""
    record = RoundingMode(up)
    token = _MODE.set(record)
    try:
        yield record
    finally:
        _MODE.reset(token)


def rounds_up() -> bool:
    """Record that a value is not accurate where it matters, and return whether it is to be rounded up."""
    record = _MODE.get(None) or RoundingMode(up=True)
    record.inexact = True
    return record.up
