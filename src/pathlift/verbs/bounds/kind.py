"""Options of the kinds of bounds, and what a kind returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pathlift.ir.errors import UsageError


class Term(NamedTuple):
    """A constant of a bound, in plain JSON types, and what it is."""

    value: Any
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of all kinds; ``None`` where one was not given. The verb's docstring says what they mean."""

    data: Any = None
    samples: int | None = None
    input_bound: float | None = None
    loss: str | None = None
    margin: float | None = None
    delta: float | None = None
    draws: int | None = None
    seed: int | None = None
    norm: str | None = None
    domain: Mapping[str, Any] | None = None
    at: Any = None
    radius: float | None = None
    budget: float | None = None
    witness: Any = None
    force: bool | None = None
    shape: tuple[tuple[str, int], ...] = ()
    memory_limit: int = 0

    @property
    def confidence(self) -> float:
        """δ, by default 0.05.

        Raises
        ------
        UsageError
            If it is not within (0, 1).
        """
        delta = 0.05 if self.delta is None else self.delta
        if not 1e-300 < delta < 1:
            raise UsageError("1480", f"delta is {delta}, no probability between 0 and 1")
        return delta

    @property
    def seconds(self) -> float:
        """The budget, by default 30 seconds.

        Raises
        ------
        UsageError
            If it is not positive and finite.
        """
        positive(self.budget, "budget")
        return 30.0 if self.budget is None else self.budget


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A bound, and all that it is made of.

    Parameters
    ----------
    log10
        Its decimal logarithm, rounded up; ``None`` if it is 0.
    value
        The bound, rounded up; ``None`` where a float64 cannot hold it.
    terms
        By the paper's symbols.
    vacuous
        Whether it says nothing; ``None`` where nothing is trivial.
    verdict
        One sentence about that, and why.
    assumptions
        What it rests on.
    figures
        Keys of this kind's own, in plain JSON types.
    exit_code
        As of every result.
    """

    log10: float | None
    value: float | None
    terms: Mapping[str, Term]
    vacuous: bool | None
    verdict: str
    assumptions: tuple[str, ...] = field(default=())
    figures: Mapping[str, Any] = field(default_factory=dict)
    exit_code: int = 0


def positive(value: float | None, option: str) -> None:
    """Check an option that may be left out.

    Raises
    ------
    UsageError
        If it is not positive and finite.
    """
    if value is not None and not 0 < value < float("inf"):
        raise UsageError("1480", f"{option} is {value}, not positive and finite")


def power(log10: float | None) -> str:
    """Return a bound as a power of ten, rounded up."""
    from decimal import ROUND_CEILING

    from pathlift.report.tables import fixed

    return "0" if log10 is None else f"10^{fixed(log10, ROUND_CEILING)}"
