"""The ellipsoid method: bounds of the difference from homogeneous ellipsoids over both networks (the S-procedure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
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
    sum_bound,
    support,
)
from pathlift.passes.ellipsoids.plan import Networks, Plan
from pathlift.passes.ellipsoids.readings import triple_of
from pathlift.passes.ellipsoids.search import Objective, Search, pass_seconds
from pathlift.passes.ellipsoids.steps import LARGEST, check_width, differences, widths
from pathlift.passes.intervals.box import Box, gamma
from pathlift.passes.intervals.pairs import pair_intervals

Tensor = torch.Tensor
_AT_ONCE = 4e6
"""Entries of ellipsoids that are computed at once, where each output has its own."""
PASSES = 30
"""That many passes must fit into the time, or else only the end of a network is followed."""
SUMS = 6
"""Up to how many sums with signs have ellipsoids of their own."""


@dataclass(frozen=True)
class Ellipsoid:
    """Ellipsoids of the values of both networks, tightest where most neurons may be on either side of their bends.

    Multipliers are found by L-BFGS, first in common for all outputs, whose intervals are then fed back, then for each
    by itself, then for the sums with signs that are largest. Where a network is too wide for that, only its end is
    followed, from intervals that are known there.

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
        at: Mapping[str, Tensor] | None = None
        if begin := _affordable(problem, clock.left):
            found["begin"] = torch.tensor([begin])
        for turn in range(self.rounds + 1):
            plan, _ = _plan(scratch, begin)
            rows, _ = output_rows(plan)
            if not len(rows):
                break
            search = Search(plan, relative=at)
            until = clock.left - total * (0.3 if turn == 0 else 0.1)
            at = search.descend(_logarithms(plan, rows), 80, _left(clock, until))
            found |= {f"{turn}.shared.{name}": x for name, x in search.multipliers(at).items()}
            if turn < self.rounds:
                yield self._round(scratch, found, turn)
                scratch.refresh()
        else:
            if len(rows) > 1:
                found |= self._alone(search, rows, at or {}, clock)
        yield self.check(problem, found)

    def _alone(self, search: Search, rows: Tensor, at: Mapping[str, Tensor], clock: Clock) -> dict[str, Tensor]:
        """Multipliers for each output by itself, and for the sums with signs that are largest."""
        plan, total = search.plan, clock.left
        forms = signs(len(rows)) @ rows if len(rows) <= SIGNS else rows[:0]
        groups: dict[str, list[dict[str, Tensor]]] = {"each": [], "sum": []}

        def bounds(w: Tensor) -> Tensor:
            """By all ellipsoids so far."""
            ends = (carried_out(plan, x) for x in [search.multipliers(at), *groups["sum"]])
            found = [support(m, True, w[None])[0] for m in ends if m is not None]
            return torch.stack(found).amin(0) if found else torch.full((len(w),), inf, dtype=w.dtype)

        with torch.no_grad():
            order = bounds(rows).argsort(descending=True).tolist()
        for done, j in enumerate(order):
            until = clock.left - 0.6 * total / len(rows)
            if clock.left < 0.4 * total and done:
                break
            own = search.descend(_logarithms(plan, rows[[j]]), 40, _left(clock, until), at)
            groups["each"].append(search.multipliers(own))
        near = (
            search.descend(_largest(plan, forms), 40, _left(clock, clock.left - 0.12 * total), at) if len(forms) else at
        )
        for _ in range(SUMS if len(forms) else 0):
            groups["sum"].append(search.multipliers(near))
            if clock.left < 0.05 * total:
                break
            with torch.no_grad():
                worst = forms[[int(bounds(forms).argmax())]]
            near = search.descend(_logarithms(plan, worst), 20, _left(clock, clock.left - 0.06 * total), near)
        return {
            f"{self.rounds}.{group}.{name}": torch.cat([x[name] for x in several])
            for group, several in groups.items() if several
            for name in several[0]
        }  # fmt: skip

    def check(self, problem: Problem, parameters: Mapping[str, Tensor]) -> Bound:
        """Return the bound that these multipliers give, and let the problem learn the intervals on the way.

        Parameters
        ----------
        problem
            What is bounded.
        parameters
            ``"ROUND.GROUP.MOVE"``: multipliers ``(R, k)``, where the group is ``shared``, ``sum``, or ``each``. Every
            ellipsoid bounds all outputs, and all their sums with signs. Those that are missing are where a search
            would start. ``begin``: the value that is followed first.

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
        plan, centre = _plan(problem, _begin(problem, parameters))
        rows, places = output_rows(plan)
        count = sum(plan.sizes)
        per_output = torch.zeros(count, dtype=torch.float64)
        if not len(rows):
            return Bound(self.name, per_output, 0.0, dict(parameters))
        best = torch.full((len(rows),), torch.inf, dtype=torch.float64)
        forms = signs(len(rows)) @ rows if len(rows) <= SIGNS else rows[:0]
        sums, l1 = torch.full((len(forms),), torch.inf, dtype=torch.float64), float("inf")
        for group in ("shared", "sum", "each"):
            prefix = f"{turn}.{group}."
            given = {k.removeprefix(prefix): v.double() for k, v in parameters.items() if k.startswith(prefix)}
            if not given and (group != "shared"):
                continue
            for own in _parts(given, _chunk(plan)):
                m = _learning(problem, plan, centre, own)
                if m is None:
                    continue
                best = torch.minimum(best, support(m, True, rows[None]).amin(0))
                if len(forms):
                    sums = torch.minimum(sums, support(m, True, forms[None]).amin(0))
                else:
                    l1 = min(l1, *(sum_bound(x[None], True, rows) for x in m))
        l1 = min(l1, float(sums.max())) if len(forms) else l1
        per_output[places] = best.nan_to_num(torch.inf, torch.inf)
        total = float(per_output.sum()) * (1 + gamma(count))
        return Bound(self.name, per_output, min(l1, total) if l1 == l1 else total, dict(parameters))


def _plan(problem: Problem, begin: int) -> tuple[Plan, Sequence[Box]]:
    networks = _networks(problem)
    return differences(networks, begin), networks.centre


def _networks(problem: Problem) -> Networks:
    middle = [Box.point(box.centre_radius()[0]) for box in problem.domain]
    if not all(box.bounded for box in problem.domain):
        raise UnsupportedError("1391", "ellipsoids need a bounded domain", hint="give the inputs bounds")
    centre = [t.a for t in pair_intervals(problem.first, problem.second, middle)]
    return Networks(problem.first, problem.second, problem.triples, centre)


def _affordable(problem: Problem, seconds: float) -> int:
    """The first value from which on a few passes take no more than the time, and no ellipsoid is too large.

    Raises
    ------
    UnsupportedError
        If nothing is left then but affine steps.
    """
    networks = _networks(problem)
    found = widths(networks, True)
    cost, begin, gates = 0.0, len(found), 0
    for value, (width, own, bends) in reversed(list(enumerate(found))):
        cost += PASSES * bends * pass_seconds(width, own)
        if width > LARGEST or cost > seconds:
            break
        begin, gates = value, gates + bends
    if not gates and any(bends for _, _, bends in found):
        check_width(networks, True)
        raise UnsupportedError(
            "1394", f"{PASSES} passes over its last ellipsoids alone take {cost:.1g} s, and there is less time",
            hint="give more time, or use other methods",
        )  # fmt: skip
    return begin if begin >= len(problem.domain) else 0


def _begin(problem: Problem, parameters: Mapping[str, Tensor]) -> int:
    given = parameters.get("begin")
    if given is None or given.numel() != 1 or not bool(given.isfinite().all()):
        return 0
    return int(given.clamp(0, len(problem.triples)))


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


def _parts(given: Multipliers, chunk: int) -> Iterator[Multipliers]:
    for begin in range(0, max([1, *(len(x) for x in given.values())]), chunk):
        yield {name: x[begin : begin + chunk] for name, x in given.items()}


def _chunk(plan: Plan) -> int:
    largest = max([plan.size, *(len(m.matrix) for m in plan.moves if hasattr(m, "matrix"))])
    return max(1, int(_AT_ONCE / largest**2))


def _left(clock: Clock, until: float) -> Callable[[], float]:
    return lambda: clock.left - until


def _logarithms(plan: Plan, w: Tensor) -> Objective:
    return lambda m: (support(m, plan.constant, w[None]) + 1e-300).log().sum()


def _largest(plan: Plan, w: Tensor) -> Objective:
    """The logarithm of the largest, smoothly."""

    def objective(m: Tensor) -> Tensor:
        sizes = support(m, plan.constant, w[None])
        return (sizes / sizes.detach().amax() * 50).logsumexp(-1) / 50 + sizes.detach().amax(-1).log()

    return objective
