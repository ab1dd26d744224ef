"""Joint differential CROWN: both networks and their difference, by one backward substitution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from time import monotonic
from typing import ClassVar

import torch

from pathlift.passes.certificates.problem import Bound, Clock, Problem
from pathlift.passes.intervals.box import Box, gamma, up
from pathlift.passes.intervals.pairs import Triple, pair_enclose
from pathlift.passes.relaxations.backward import Backward
from pathlift.passes.relaxations.gates import Chosen
from pathlift.passes.relaxations.rounding import below, floor, total
from pathlift.passes.relaxations.tighten import chunks, elements, tighten
from pathlift.passes.relaxations.tournament import unfolded

Tensor = torch.Tensor
SIGNS = 10
"""Up to so many outputs, the sum of magnitudes is bounded by a row for each way to choose signs."""
STEPS = 80
RATE = 0.05


@dataclass(frozen=True)
class Joint:
    """Bounds of R_b − R_a by linear relaxations of (z, δ), δ = z_b − z_a, substituted back to the inputs.

    Parameters, all optional: ``skipped`` holds numbers of values (of the tapes with maxima as tournaments) whose
    intervals are left to interval arithmetic; ``at.N`` and ``slopes.N``, neurons of the gate that computes value N,
    and their slopes for the rows +δ_j and then −δ_j of the outputs. Any slopes are sound (`relaxations.hexagon`).
    """

    name: ClassVar[str] = "joint"

    def check(self, problem: Problem, parameters: Mapping[str, Tensor]) -> Bound:
        """Return the bound that these slopes give; what it finds about values on the way is learnt."""
        skipped = set(parameters["skipped"].tolist()) if "skipped" in parameters else set()
        state = _State.of(problem, lambda value, rows: value not in skipped)
        return state.bound(parameters)

    def search(self, problem: Problem, clock: Clock) -> Iterator[Bound]:
        """Yield the bound without a search for slopes, and then better ones as gradients improve the slopes."""
        budget = _Budget(clock)
        state = _State.of(problem, budget.wanted)
        skipped = {"skipped": torch.tensor(budget.skipped)} if budget.skipped else {}
        best = state.bound(skipped)
        yield best
        slopes = state.ascend(clock)
        if slopes:
            found = state.bound(skipped | slopes)
            if bool((found.per_output < best.per_output).any()) or found.l1 < best.l1:
                yield found


@dataclass
class _Budget:
    """Which values get rows, by the clock: half of the time may go there.

    Parameters
    ----------
    clock
        When to stop.
    """

    clock: Clock

    def __post_init__(self) -> None:
        self.start, self.limit = monotonic(), 0.5 * self.clock.left
        self.skipped: list[int] = []
        self.done = 0.0
        self.last = (0.0, 0.0)

    def wanted(self, value: int, rows: int) -> bool:
        """Whether so many rows of a value fit; what rows cost is taken from the last ones, that went less far."""
        now = monotonic() - self.start
        weight = float(rows) * value
        begun, before = self.last
        rate = (now - begun) / before if before else 0.0
        if now + rate * weight > self.limit:
            self.skipped.append(value)
            return False
        self.last = (now, weight)
        return True


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
        if second is not first:
            for value in dict.fromkeys(first.outputs.values()):
                t = triples[value]
                everything = torch.ones(t.d.low.shape, dtype=torch.bool)
                triples[value] = t.meet(Triple(t.a, t.b, elements(walk, value, everything, t.d)))
        state = cls(walk, triples, list(first.outputs.values()), numbers)
        for old, new in enumerate(numbers):
            problem.learn(old, triples[new])
        return state

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

    @property
    def difference(self) -> Box:
        """What is known of the outputs' difference, all elements flattened."""
        found = [self.triples[value].d for value in self.outputs]
        return Box(torch.cat([d.low.flatten() for d in found]), torch.cat([d.high.flatten() for d in found]))

    @torch.no_grad()
    def bound(self, parameters: Mapping[str, Tensor]) -> Bound:
        """The bound that slopes give."""
        d = self.difference
        m = d.low.numel()
        slopes = {
            int(key.removeprefix("at.")): Chosen(at, parameters[f"slopes.{key.removeprefix('at.')}"])
            for key, at in parameters.items()
            if key.startswith("at.")
        }
        if slopes:
            both = torch.cat([torch.eye(m), -torch.eye(m)]).double()
            low = self.walk.lower(self.rows(both), slopes)
            d = d.meet(Box(low[:m], -low[m:]))
        return Bound(Joint.name, d.magnitude, self._sum(d, slopes), dict(parameters))

    def _sum(self, d: Box, slopes: Mapping[int, Chosen]) -> float:
        """Bound Σ|δ_j|: the largest Σ s_j·δ_j over all signs, or the sum of the largest magnitudes."""
        each = _added(d.magnitude[None])
        m = d.low.numel()
        if not 1 < m <= SIGNS:
            return float(each)
        signs = torch.tensor(list(product((1.0, -1.0), repeat=m)), dtype=torch.float64)
        # For one choice of signs: a row for it, or what is known of each element.
        most = _added(torch.where(signs > 0, d.high, -d.low))
        for part in chunks(self.walk, torch.arange(len(signs))):
            rows = self.rows(-signs[part])
            most[part] = torch.minimum(most[part], -self.walk.lower(rows))
            if slopes:
                mine = {value: _sums(chosen, -signs[part]) for value, chosen in slopes.items()}
                most[part] = torch.minimum(most[part], -self.walk.lower(rows, mine))
        return min(float(each), max(0.0, float(most.max())))

    def ascend(self, clock: Clock) -> dict[str, Tensor]:
        """Improve slopes of the rows ±δ_j by gradients (Adam), and return the best of each row."""
        m = self.difference.low.numel()
        rows = self.rows(torch.cat([torch.eye(m), -torch.eye(m)]).double())
        start: dict[int, Chosen] = {}
        with torch.no_grad():
            base = self.walk.lower(rows, None, start)
        if not start or not bool(base.isfinite().any()):
            return {}
        scales = {n: c.slopes.abs().mean((0, 1)) + 1e-300 for n, c in start.items()}
        free = {n: (c.slopes / scales[n]).requires_grad_() for n, c in start.items()}
        best, found = base.clone(), {n: c.slopes.clone() for n, c in start.items()}
        adam = torch.optim.Adam(free.values(), RATE)
        weights = torch.where(base.isfinite(), 1 / (base.abs() + 1e-300), 0.0)
        for i in range(STEPS):
            if clock.left < 0:
                break
            trial = {n: x * scales[n] for n, x in free.items()}
            with torch.enable_grad():
                value = self.walk.lower(rows, {n: Chosen(start[n].at, x * scales[n]) for n, x in free.items()})
                (-(value * weights)[weights > 0].sum()).backward()  # type: ignore[no-untyped-call]
            better = value.detach() > best
            best = torch.where(better, value.detach(), best)
            for n, x in trial.items():
                found[n][:, better] = x.detach()[:, better]
            adam.step()
            adam.zero_grad()
            for group in adam.param_groups:
                group["lr"] = RATE * (1 - (i + 1) / STEPS) + 1e-4
        return {f"at.{n}": c.at for n, c in start.items()} | {f"slopes.{n}": x for n, x in found.items()}


def _sums(chosen: Chosen, signs: Tensor) -> Chosen:
    """Slopes of a row for some signs: the sum of those of ±δ_j. Its bound is then no worse than the sum of theirs."""
    m = signs.shape[1]
    take = torch.cat([(signs > 0).double(), (signs < 0).double()], 1)  # (R, 2m)
    assert chosen.slopes.shape[1] == 2 * m
    return Chosen(chosen.at, torch.einsum("rj,ujk->urk", take, chosen.slopes))


def _added(x: Tensor) -> Tensor:
    """Σ over the last axis, rounded up."""
    finite = torch.where(x.isfinite(), x, 0.0)
    return up(x.sum(-1) + gamma(x.shape[-1]) * (1 + 1e-6) * finite.abs().sum(-1))


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
