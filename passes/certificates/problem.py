"""The problem that certificates solve: what is to be bounded, what is known about it, and what a method answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import ClassVar, Protocol

import torch

from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.pairs import Triple, pair_intervals
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor


@dataclass(eq=False)
class Problem:
    """Two networks on a domain, and what is known about each of their values.

    Methods read `triples` and may tighten them (`learn`). All that is ever put in there holds for every input of the
    domain, in exact arithmetic.

    Parameters
    ----------
    first, second
        Tapes that agree step by step. One and the same tape twice is a single network.
    domain
        One box per input.
    triples
        One per value of the tapes, from interval arithmetic unless given.
    """

    first: Tape
    second: Tape
    domain: Sequence[Box]
    triples: list[Triple] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.triples:
            self.triples = pair_intervals(self.first, self.second, self.domain)

    @property
    def outputs(self) -> list[int]:
        """The numbers of the output values."""
        return list(self.first.outputs.values())

    def learn(self, value: int, triple: Triple) -> None:
        """Keep what is known already and what is said now."""
        self.triples[value] = self.triples[value].meet(triple)

    def refresh(self) -> None:
        """Let what was learnt reach the values behind, by interval arithmetic."""
        fresh = pair_intervals(self.first, self.second, self.domain, self.triples)
        self.triples = fresh


@dataclass(frozen=True, eq=False)
class Bound:
    """A bound that holds for every input of the domain, in exact arithmetic.

    Parameters
    ----------
    method
        What found it.
    per_output
        Of |R_b(x) − R_a(x)|, per element of the outputs, these one after another and flattened; ``inf`` where there is
        none.
    l1
        Of the sum over all elements.
    parameters
        What a check needs to find the same bound again at once: slopes, multipliers.
    """

    method: str
    per_output: Tensor
    l1: float
    parameters: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def linf(self) -> float:
        """Of the largest element."""
        return float(self.per_output.max()) if self.per_output.numel() else 0.0


@dataclass(frozen=True)
class Clock:
    """When to stop: ``clock.left`` seconds from now.

    Parameters
    ----------
    end
        On the monotonic clock.
    """

    end: float

    @classmethod
    def of(cls, seconds: float) -> Clock:
        """A clock that stops in so many seconds."""
        return cls(monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds left, negative once it is over."""
        return self.end - monotonic()


class Method(Protocol):
    """A way to bound the difference.

    ``search`` spends time on finding parameters, and yields bounds that get better, each of them sound. ``check`` is
    what proves: from parameters, whatever they are, it computes the bound that they give, tightens the problem's
    triples by what it finds on the way, and does nothing that depends on time or chance. The last act of a search is
    the check of its best parameters, so that whoever replays the checks in the same order sees the same.
    """

    name: ClassVar[str]

    def search(self, problem: Problem, clock: Clock) -> Iterator[Bound]:
        """Yield better and better bounds until the clock stops."""

    def check(self, problem: Problem, parameters: Mapping[str, Tensor]) -> Bound:
        """Return the bound that these parameters give.

        Raises
        ------
        UnsupportedError
            If the method is not sound, or not made, for such networks; names node and reason.
        """
