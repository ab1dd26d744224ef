"""Maps: a function applied to each of many items, by default to one after the other.

What has many independent parts takes a map and need not know whether the parts are done here or on other machines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Map(Protocol):
    """A function applied to items: yields the number of each and its result, once, in the order in which they end."""

    def __call__(self, work: Callable[[T], R], items: Iterable[T], /) -> Iterator[tuple[int, R]]: ...


def in_turn(work: Callable[[T], R], items: Iterable[T], /) -> Iterator[tuple[int, R]]:
    """Apply a function to items in this process, in their order; an item is taken when the one before is done."""
    for number, item in enumerate(items):
        yield number, work(item)
