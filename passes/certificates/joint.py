"""Joint differential CROWN: both networks and their difference, by one backward substitution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf, prod
from time import monotonic
from typing import ClassVar

import torch

from pathlift.passes.certificates.problem import Bound, Clock, Problem
from pathlift.passes.certificates.relaxed import NAME, OUTPUTS, Relaxed, climbed
from pathlift.passes.intervals.pairs import Triple
from pathlift.passes.relaxations.gates import Chosen
from pathlift.passes.relaxations.rounding import below, floor, total
from pathlift.passes.relaxations.tournament import unfolded
from pathlift.passes.tape.affine import Affine
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor
_CLIMBED = 256
"""Up to so many rows at the outputs, slopes are searched."""
_SPEED = 1e9
"""Products per second that a core computes at the least, until it is measured."""


@dataclass(frozen=True)
class Joint:
    """Bounds of R_b − R_a by linear relaxations of (z, δ), δ = z_b − z_a, substituted back to the inputs.

    Parameters, all optional: ``skipped`` holds numbers of values (of the tapes with maxima as tournaments) that get no
    rows, but what interval arithmetic says, −1 for the outputs; ``signs``, choices s of signs whose s·δ has slopes of
    its own; ``at.N`` and ``slopes.N``, neurons of the gate that computes value N, and their slopes for the rows +δ_j,
    then −δ_j of the outputs, then −s·δ. Any slopes are sound (`relaxations.hexagon`).
    """

    name: ClassVar[str] = NAME

    def check(self, problem: Problem, parameters: Mapping[str, Tensor]) -> Bound:
        """Return the bound that these slopes give; what it finds about values on the way is learnt."""
        skipped = set(parameters["skipped"].tolist()) if "skipped" in parameters else set()
        state = Relaxed.of(problem, lambda value, rows: value not in skipped)
        found = state.bound(parameters)
        found.learn(problem)
        return found.bound

    def search(self, problem: Problem, clock: Clock) -> Iterator[Bound]:
        """Yield the bound without a search for slopes, and then better ones as gradients improve the slopes."""
        budget = _Budget(clock, unfolded(problem.first)[0])
        state = Relaxed.of(problem, budget.wanted)
        budget.wanted(OUTPUTS, 8 * state.width)
        skipped = {"skipped": torch.tensor(budget.skipped)} if budget.skipped else {}
        began = monotonic()
        first = state.bound(skipped)
        first.learn(problem)
        yield first.bound
        if OUTPUTS in budget.skipped or 2 * state.width > _CLIMBED:
            return
        # The last check takes as long as the first one did.
        slopes = state.ascend(first.signs, clock, 1.5 * (monotonic() - began))
        if not slopes:
            return
        found = state.bound(skipped | slopes)
        worse = bool((found.bound.per_output > first.bound.per_output).any()) or found.bound.l1 > first.bound.l1
        better = bool((found.bound.per_output < first.bound.per_output).any()) or found.bound.l1 < first.bound.l1
        if better and not worse:
            found.learn(problem)
            yield found.bound


@dataclass
class _Budget:
    """Which values get rows, by the clock: so much of the time may go there.

    Parameters
    ----------
    clock
        When to stop.
    tape
        The network, whose maxima are tournaments.
    share
        Of the time.
    """

    clock: Clock
    tape: Tape
    share: float = 0.6

    def __post_init__(self) -> None:
        self.start, self.limit = monotonic(), self.share * self.clock.left
        self.skipped: list[int] = []
        self.last: tuple[float, float] | None = None
        # Products that a row takes, about.
        self.work, work = [0.0] * len(self.tape.inputs), 0.0
        for _, step in self.tape.numbered():
            work += 6.0 * prod(step.shape) * (step.terms if isinstance(step, Affine) else 20)
            self.work.append(work)

    def wanted(self, value: int, rows: int) -> bool:
        """Whether so many rows of a value fit; what rows cost is taken from the last ones, that went less far."""
        now = monotonic() - self.start
        weight = rows * self.work[value]
        rate = 1 / _SPEED
        if self.last is not None:
            begun, before = self.last
            rate = (now - begun) / before
        if now + rate * weight > self.limit:
            self.skipped.append(value)
            return False
        self.last = (now, weight)
        return True


@torch.no_grad()
def lower_bounds(
    problem: Problem, rows: Mapping[int, Tensor], clock: Clock | None = None, enough: float = inf
) -> Tensor:
    """Bound linear functionals of the first network's values from below, over the domain.

    Parameters
    ----------
    problem
        Of one network, or of two; what is found about the first one's values on the way is not learnt.
    rows
        ``(R, *shape)`` by value.
    clock
        Until when to search for slopes; not at all without it.
    enough
        Rows with larger bounds are left as they are.

    Returns
    -------
    Tensor
        ``(R,)``, float64, rounded down.
    """
    alone = Problem(problem.first, problem.first, problem.domain, [Triple(t.a, t.a, t.d) for t in problem.triples])
    state = Relaxed.of(alone, lambda value, rows: True)
    by_value = {state.numbers[value]: row for value, row in rows.items()}
    at_once = sum(below(total(floor(row, None, state.triples[n]))) for n, row in by_value.items())
    start: dict[int, Chosen] = {}
    began = monotonic()
    found = state.walk.lower({n: (row, None) for n, row in by_value.items()}, None, start)
    found = torch.maximum(found, below(torch.as_tensor(at_once)))
    low = (found <= enough).nonzero()[:, 0]
    if clock is None or not len(low):
        return found
    slopes = climbed(
        state, {n: (row[low], None) for n, row in by_value.items()},
        {n: Chosen(c.at, c.slopes[:, low]) for n, c in start.items()}, clock, 1.5 * (monotonic() - began),
    )  # fmt: skip
    if slopes:
        better = state.walk.lower({n: (row[low], None) for n, row in by_value.items()}, slopes)
        found[low] = torch.maximum(found[low], better)
    return found
