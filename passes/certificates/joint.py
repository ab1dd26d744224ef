"""Joint differential CROWN: both networks and their difference, by one backward substitution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from time import monotonic
from typing import ClassVar

import torch

from pathlift.passes.certificates.problem import Bound, Clock, Problem
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.pairs import Triple, pair_enclose
from pathlift.passes.relaxations.backward import Backward, Form
from pathlift.passes.relaxations.climb import climb
from pathlift.passes.relaxations.gates import Chosen
from pathlift.passes.relaxations.rounding import below, floor, total
from pathlift.passes.relaxations.sums import Sum, added, sum_bound
from pathlift.passes.relaxations.tighten import chunks, tighten
from pathlift.passes.relaxations.tournament import unfolded
from pathlift.passes.tape.steps import Affine
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor
OWN = 32
"""How many choices of signs get slopes of their own, for the sum of magnitudes."""
OUTPUTS = -1
"""Stands for the outputs, where they get no rows."""
_CLIMBED = 256
"""Up to so many rows at the outputs, slopes are searched."""
_SPEED = 1e9
"""Products per second that a core computes at the least, until it is measured."""


@dataclass(frozen=True)
class Joint:
    """Bounds of R_b − R_a by linear relaxations of (z, δ), δ = z_b − z_a, substituted back to the inputs.

    Parameters, all optional: ``skipped`` holds numbers of values (of the tapes with maxima as tournaments) that get no
    rows, but what interval arithmetic says, −1 for the outputs; ``signs``, choices s of signs whose s·δ has slopes of its own; ``at.N`` and
    ``slopes.N``, neurons of the gate that computes value N, and their slopes for the rows +δ_j, then −δ_j of the
    outputs, then −s·δ. Any slopes are sound (`relaxations.hexagon`).
    """

    name: ClassVar[str] = "joint"

    def check(self, problem: Problem, parameters: Mapping[str, Tensor]) -> Bound:
        """Return the bound that these slopes give; what it finds about values on the way is learnt."""
        skipped = set(parameters["skipped"].tolist()) if "skipped" in parameters else set()
        state = _State.of(problem, lambda value, rows: value not in skipped)
        found = state.bound(parameters)
        found.learn(problem)
        return found.bound

    def search(self, problem: Problem, clock: Clock) -> Iterator[Bound]:
        """Yield the bound without a search for slopes, and then better ones as gradients improve the slopes."""
        budget = _Budget(clock, unfolded(problem.first)[0])
        state = _State.of(problem, budget.wanted)
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


@dataclass(frozen=True, eq=False)
class _Found:
    """A bound, what it says of the outputs, and where a search may go on."""

    bound: Bound
    outputs: Mapping[int, Triple]
    signs: Tensor

    def learn(self, problem: Problem) -> None:
        for value, triple in self.outputs.items():
            problem.learn(value, triple)


@dataclass(eq=False)
class _State:
    """A problem whose maxima are tournaments, with intervals of all values."""

    walk: Backward
    triples: list[Triple]
    outputs: list[int]
    numbers: list[int]

    @classmethod
    @torch.no_grad()
    def of(cls, problem: Problem, wanted: Callable[[int, int], bool]) -> _State:
        first, numbers = unfolded(problem.first)
        second = first if problem.second is problem.first else unfolded(problem.second)[0]
        known = dict(zip(numbers, problem.triples, strict=True))
        triples = [known[i] for i in range(len(first.inputs))]
        for value, step in first.numbered():
            theirs = second.steps[value - len(first.inputs)]
            found = pair_enclose(step, theirs, [triples[i] for i in step.inputs])
            triples.append(found.meet(known[value]) if value in known else found)
        walk = tighten(first, second, triples, wanted)
        state = cls(walk, triples, list(first.outputs.values()), numbers)
        for old, new in enumerate(numbers):
            problem.learn(old, triples[new])
        return state

    @property
    def width(self) -> int:
        """How many elements the outputs have."""
        return sum(self.triples[value].d.low.numel() for value in self.outputs)

    def rows(self, weights: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
        """Rows of the outputs' differences, ``(R, m)`` over all their elements, by value."""
        rows: dict[int, tuple[Tensor, Tensor]] = {}
        taken = 0
        for value in self.outputs:
            shape = self.triples[value].d.low.shape
            row = weights[:, taken : taken + shape.numel()].reshape(-1, *shape)
            row = rows[value][1] + row if value in rows else row
            rows[value] = torch.zeros_like(row), row
            taken += shape.numel()
        return rows

    def forms(self, weights: Tensor) -> Form:
        """Affine functions of the inputs below such rows, so many at a time as fit."""
        return Form.joined([self.walk.form(self.rows(weights[at])) for at in chunks(self.walk, torch.arange(len(weights)))])

    @property
    def difference(self) -> Box:
        """What is known of the outputs' difference, all elements flattened."""
        found = [self.triples[value].d for value in self.outputs]
        return Box(torch.cat([d.low.flatten() for d in found]), torch.cat([d.high.flatten() for d in found]))

    @torch.no_grad()
    def bound(self, parameters: Mapping[str, Tensor]) -> _Found:
        """The bound that slopes give, no larger than without them."""
        d, m = self.difference, self.width
        no_signs = torch.zeros(0, m, dtype=torch.float64)
        if not m or OUTPUTS in parameters.get("skipped", torch.zeros(0)).tolist():
            return _Found(Bound(Joint.name, d.magnitude, float(added(d.magnitude)), dict(parameters)), {}, no_signs)
        each = self.forms(both_signs(m))
        low = each.least(self.triples)
        d = d.meet(Box(low[:m], -low[m:]))
        slopes, own = _slopes(parameters), {}
        if slopes:
            signs = parameters.get("signs", no_signs)
            low = self.walk.lower(self.rows(torch.cat([both_signs(m), -signs])), slopes)
            d = d.meet(Box(low[:m], -low[m : 2 * m]))
            own = {tuple(s): -x for s, x in zip(signs.tolist(), low[2 * m :].tolist(), strict=True)}
        summed = sum_bound(self.forms, d, self.triples, each, own)
        l1 = min(summed.value, float(added(d.magnitude)))
        return _Found(Bound(Joint.name, d.magnitude, l1, dict(parameters)), self._known(d), summed.signs[:OWN])

    def _known(self, d: Box) -> dict[int, Triple]:
        """What is known of the outputs, by their numbers in the problem."""
        known: dict[int, Triple] = {}
        taken = 0
        for value in self.outputs:
            t = self.triples[value]
            part = slice(taken, taken + t.d.low.numel())
            box = Box(d.low[part].reshape(t.d.low.shape), d.high[part].reshape(t.d.low.shape))
            known[self.numbers.index(value)] = t.meet(Triple(t.a, t.b, box))
            taken += t.d.low.numel()
        return known

    def ascend(self, signs: Tensor, clock: Clock, check: float) -> dict[str, Tensor]:
        """Improve slopes of the rows ±δ_j and −s·δ by gradients, in time for a check; return the best of each row."""
        rows = self.rows(torch.cat([both_signs(self.width), -signs]))
        start: dict[int, Chosen] = {}
        with torch.no_grad():
            self.walk.form(rows, None, start)
        # Half of the digits do for a search, and take a fraction of the time.
        coarse = {value: (p.float(), q.float()) for value, (p, q) in rows.items()}
        start = {n: Chosen(c.at, c.slopes.float()) for n, c in start.items()}
        found = climb(
            lambda slopes: self.walk.form(coarse, slopes, rounded=False).least(self.triples), start,
            lambda: clock.left - check,
        )  # fmt: skip
        slopes = {f"slopes.{n}": c.slopes.double() for n, c in found.items()}
        return {"signs": signs} | {f"at.{n}": c.at for n, c in found.items()} | slopes if found else {}


def both_signs(m: int) -> Tensor:
    """Rows of +δ_j, and then of −δ_j."""
    return torch.cat([torch.eye(m), -torch.eye(m)]).double()


def _slopes(parameters: Mapping[str, Tensor]) -> dict[int, Chosen]:
    numbers = [key.removeprefix("at.") for key in parameters if key.startswith("at.")]
    return {int(n): Chosen(parameters[f"at.{n}"], parameters[f"slopes.{n}"]) for n in numbers}


@torch.no_grad()
def lower_bounds(problem: Problem, rows: Mapping[int, Tensor]) -> Tensor:
    """Bound linear functionals of the first network's values from below, over the domain.

    Parameters
    ----------
    problem
        Of one network, or of two; what is found about the first one's values on the way is not learnt.
    rows
        ``(R, *shape)`` by value.

    Returns
    -------
    Tensor
        ``(R,)``, float64, rounded down.
    """
    alone = Problem(problem.first, problem.first, problem.domain, [Triple(t.a, t.a, t.d) for t in problem.triples])
    state = _State.of(alone, lambda value, rows: True)
    by_value = {state.numbers[value]: (row, None) for value, row in rows.items()}
    at_once = sum(below(total(floor(row, None, state.triples[n]))) for n, (row, _) in by_value.items())
    return torch.maximum(state.walk.lower(by_value), below(torch.as_tensor(at_once)))
