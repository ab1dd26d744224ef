"""Sites: the places of a graph that a local rewrite computes otherwise, and which of them it may."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Site:
    """One place that was rewritten.

    Parameters
    ----------
    output
        Name of a value of the graph before; the graph after has the same value, perhaps under another name.
    inputs
        Names of the values, in both graphs, that it is computed from; parameters need not be named.
    what
        What a reader is told: ``"conv1 + bn1"``.
    """

    output: str
    inputs: tuple[str, ...]
    what: str


@dataclass(frozen=True)
class Filter:
    """Which sites rewrites may take.

    Parameters
    ----------
    only
        Names of the values that may be computed otherwise; None for all.
    asked
        Those that a rewrite asked about, in order.
    """

    only: Collection[str] | None = None
    asked: dict[str, None] = field(default_factory=dict)


_FILTER: ContextVar[Filter | None] = ContextVar("filter", default=None)


@contextmanager
def limited(only: Collection[str] | None) -> Iterator[Filter]:
    """Let rewrites take only some sites; yields what they ask about, which is how a fault is narrowed to one."""
    chosen = Filter(only)
    token = _FILTER.set(chosen)
    try:
        yield chosen
    finally:
        _FILTER.reset(token)


def may_rewrite(output: str) -> bool:
    """Whether a site may be taken, by its value's name; a rewrite asks once it would take it."""
    chosen = _FILTER.get()
    if chosen is None:
        return True
    chosen.asked[output] = None
    return chosen.only is None or output in chosen.only
