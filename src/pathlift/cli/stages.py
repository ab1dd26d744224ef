"""Times by stage: how long each thing took that a verb did, for ``-v``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Spent:
    """A stage, all times of it within the same other one taken together.

    Parameters
    ----------
    seconds
        With what is nested in it.
    count
        How often it was entered.
    within
        What is nested in it, by name, in the order in which it was first entered.
    """

    seconds: float = 0.0
    count: int = 0
    within: dict[str, Spent] = field(default_factory=dict)


class Times:
    """A listener that adds up times.

    Parameters
    ----------
    clock
        Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began = clock, clock()
        self._open: list[tuple[Spent, float]] = [(Spent(), self._began)]

    def enter(self, name: str) -> None:
        """Start a stage."""
        spent = self._open[-1][0].within.setdefault(name, Spent())
        spent.count += 1
        self._open.append((spent, self._clock()))

    def leave(self) -> None:
        """End the innermost stage."""
        spent, began = self._open.pop()
        spent.seconds += self._clock() - began

    def lines(self) -> list[str]:
        """Return a table as text: a row per stage, nested ones indented; what is in none; and all."""
        whole, total = self._open[0][0], self._clock() - self._began
        if not whole.within:
            return []
        rest = total - sum(inner.seconds for inner in whole.within.values())
        rows = [*_rows(whole, ""), ("elsewhere, loading libraries", rest), ("in all", total)]
        width = max(len("stage"), *(len(name) for name, _ in rows))
        return [f"{'stage':{width}}  seconds", *(f"{name:{width}}  {seconds:7.2f}" for name, seconds in rows)]


def _rows(spent: Spent, indent: str) -> Iterator[tuple[str, float]]:
    for name, inner in spent.within.items():
        yield f"{indent}{name}" + f" ({inner.count}×)" * (inner.count > 1), inner.seconds
        yield from _rows(inner, f"{indent}  ")
