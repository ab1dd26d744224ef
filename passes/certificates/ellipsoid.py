"""The ellipsoid method: bounds of the difference from homogeneous ellipsoids over both networks (the S-procedure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.passes.certificates.problem import Bound, Clock, Problem
from pathlift.passes.ellipsoids.evaluation import (
    SIGNS,
    Multipliers,
    carried_out,
    output_rows,
    signs,
    started,
    sum_bound,
    support,
)
from pathlift.passes.ellipsoids.plan import Networks, Plan
from pathlift.passes.ellipsoids.readings import triple_of
from pathlift.passes.ellipsoids.search import descend, least_seconds
from pathlift.passes.ellipsoids.steps import differences
from pathlift.passes.intervals.box import Box, gamma
from pathlift.passes.intervals.pairs import pair_intervals

Tensor = torch.Tensor
_AT_ONCE = 4e6
"""Entries of ellipsoids that are computed at once, where each output has its own."""


@dataclass(frozen=True)
class Ellipsoid:
    """Ellipsoids of the values of both networks, tightest where most neurons may be on either side of their bends.

    Multipliers are found by gradient descent, first in common for all outputs, whose intervals are then fed back, then
    for the sum over all outputs, then for each by itself.

    Parameters
    ----------
    rounds
        How often intervals are fed back.
    """

    name: ClassVar[str] = "ellipsoid"
    rounds: int = 1

    def search(self, problem: Problem, clock: Clock) -> Iterator[Bound]:
        """Yield better and better bounds until the clock stops.

        Raises
        ------
        UnsupportedError
            If a node has no rule, there are too many values, or one pass takes longer than there is time.
        """
        scratch = replace(problem, triples=list(problem.triples))
        total = clock.left
        found: dict[str, Tensor] = {}
        at: Multipliers = {}
        for turn in range(self.rounds + 1):
            plan, _ = _plan(scratch)
            if (seconds := least_seconds(plan)) > clock.left:
                if turn:
                    break
                raise UnsupportedError(
                    "1394", f"one pass over its ellipsoids takes {seconds:.2g} s at the least, and there is less time",
                    hint="give more time, or use other methods",
                )  # fmt: skip
            rows, _ = output_rows(plan)
            if not len(rows):
                break
            at = at or started(plan)
            until = clock.left - total * (0.35 if turn == 0 else 0.15)
            common = descend(plan, at, _logarithms(plan, rows[None]), 120 if turn == 0 else 40, _left(clock, until))
            found |= {f"{turn}.shared.{name}": x for name, x in common.items()}
            if turn < self.rounds:
                yield self._round(scratch, found, turn)
                scratch.refresh()
            at = common
        else:
            until = clock.left - total * 0.15
            if 1 < len(rows) <= SIGNS:
                summed = descend(plan, at, _sum(plan, rows), 40, _left(clock, until))
                found |= {f"{self.rounds}.sum.{name}": x for name, x in summed.items()}
            if len(rows) > 1:
                found |= self._each(plan, rows, at, clock)
        yield self.check(problem, found)

    def _each(self, plan: Plan, rows: Tensor, at: Multipliers, clock: Clock) -> dict[str, Tensor]:
        """Multipliers for each output by itself."""
        chunk = _chunk(plan)
        own = {name: x.repeat(len(rows), 1) for name, x in at.items()}
        total = clock.left * 0.9
        for begin in range(0, len(rows), chunk):
            part = slice(begin, begin + chunk)
            until = clock.left - total * len(rows[part]) / len(rows)
            if until < 0 and begin:
                break
            start = {name: x[part] for name, x in own.items()}
            better = descend(plan, start, _logarithms(plan, rows[part, None]), 60, _left(clock, until))
            for name, x in better.items():
                own[name][part] = x
        return {f"{self.rounds}.each.{name}": x for name, x in own.items()}

    def check(self, problem: Problem, parameters: Mapping[str, Tensor]) -> Bound:
        """Return the bound that these multipliers give, and let the problem learn the intervals on the way.

        Parameters
        ----------
        problem
            What is bounded.
        parameters
            ``"ROUND.GROUP.MOVE"``: multipliers ``(R, k)``, where the group is ``shared``, ``sum``, or ``each`` with one
            row per output that has a difference. Those that are missing are where a search would start.

        Raises
        ------
        UnsupportedError
            If a node has no rule, or there are too many values.
        """
        bound = self._round(problem, parameters, 0)
        for turn in range(1, self.rounds + 1):
            problem.refresh()
            later = self._round(problem, parameters, turn)
            both = torch.minimum(bound.per_output, later.per_output)
            bound = Bound(self.name, both, min(bound.l1, later.l1), {})
        return replace(bound, parameters=dict(parameters))

    @torch.no_grad()
    def _round(self, problem: Problem, parameters: Mapping[str, Tensor], turn: int) -> Bound:
        """The bound of one round's multipliers."""
        plan, centre = _plan(problem)
        rows, places = output_rows(plan)
        count = sum(plan.sizes)
        per_output = torch.zeros(count, dtype=torch.float64)
        if not len(rows):
            return Bound(self.name, per_output, 0.0, dict(parameters))
        best = torch.full((len(rows),), torch.inf, dtype=torch.float64)
        l1 = float("inf")
        for group in ("shared", "sum", "each"):
            prefix = f"{turn}.{group}."
            given = {k.removeprefix(prefix): v.double() for k, v in parameters.items() if k.startswith(prefix)}
            if not given and (group != "shared"):
                continue
            for part, own in _parts(given, len(rows) if group == "each" else 1, _chunk(plan)):
                m = _learning(problem, plan, centre, own)
                if m is None:
                    continue
                if group == "each" and len(m) == len(rows[part]):
                    best[part] = torch.minimum(best[part], support(m, True, rows[part, None])[:, 0])
                    continue
                best = torch.minimum(best, support(m, True, rows[None])[0])
                l1 = min(l1, sum_bound(m[:1], True, rows))
        per_output[places] = best.nan_to_num(torch.inf, torch.inf)
        total = float(per_output.sum()) * (1 + gamma(count))
        return Bound(self.name, per_output, min(l1, total) if l1 == l1 else total, dict(parameters))


def _plan(problem: Problem) -> tuple[Plan, Sequence[Box]]:
    middle = [Box.point(box.centre_radius()[0]) for box in problem.domain]
    if not all(box.bounded for box in problem.domain):
        raise UnsupportedError("1391", "ellipsoids need a bounded domain", hint="give the inputs bounds")
    centre = [t.a for t in pair_intervals(problem.first, problem.second, middle)]
    return differences(Networks(problem.first, problem.second, problem.triples, centre), problem.domain), centre


def _learning(problem: Problem, plan: Plan, centre: Sequence[Box], own: Multipliers) -> Tensor | None:
    """Carry the plan out, and tell the problem what the ellipsoids say of the values on the way."""
    at: dict[int, list[int]] = {}
    for i, reading in enumerate(plan.readings):
        at.setdefault(reading.moves, []).append(i)

    def watch(moves: int, m: Tensor) -> None:
        for i in at.get(moves, []):
            reading = plan.readings[i]
            problem.learn(reading.value, triple_of(reading, m, centre[reading.value]))

    return carried_out(plan, own, watch)


def _parts(given: Multipliers, count: int, chunk: int) -> Iterator[tuple[slice, Multipliers]]:
    for begin in range(0, count, chunk if count > 1 else 1):
        part = slice(begin, begin + chunk if count > 1 else 1)
        yield part, {name: x[part] for name, x in given.items()}


def _chunk(plan: Plan) -> int:
    largest = max([plan.size, *(len(m.matrix) for m in plan.moves if hasattr(m, "matrix"))])
    return max(1, int(_AT_ONCE / largest**2))


def _left(clock: Clock, until: float) -> Callable[[], float]:
    return lambda: clock.left - until


def _logarithms(plan: Plan, w: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda m: (support(m, plan.constant, w) + 1e-300).log().sum(-1)


def _sum(plan: Plan, rows: Tensor) -> Callable[[Tensor], Tensor]:
    every = signs(len(rows)) @ rows

    def objective(m: Tensor) -> Tensor:
        sums = support(m, plan.constant, every[None])
        return (sums / sums.detach().amax() * 50).logsumexp(-1) / 50 + sums.detach().amax(-1).log()

    return objective
