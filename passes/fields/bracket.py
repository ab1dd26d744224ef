"""Values that cancellation has left uncertain: taken as they are, or rounded up, as the caller asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Bracket:
    """Whether uncertain values are rounded up, and whether there were any."""

    up: bool
    needed: bool = False


_BRACKET: ContextVar[Bracket] = ContextVar("bracket")


@contextmanager
def bracket(*, up: bool) -> Iterator[Bracket]:
    """Round uncertain values up (or leave them) within the block, and record whether there are any."""
    record = Bracket(up)
    token = _BRACKET.set(record)
    try:
        yield record
    finally:
        _BRACKET.reset(token)


def rounded_up() -> bool:
    """Record that a value is not accurate where it matters, and return whether it is to be rounded up."""
    record = _BRACKET.get(None) or Bracket(up=True)
    record.needed = True
    return record.up
