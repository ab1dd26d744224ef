"""A problem whose maxima are tournaments, with what backward substitution says of its values and of its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from pathlift.passes.certificates.problem import Bound, Clock, Problem
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.pairs import Triple, pair_enclose
from pathlift.passes.relaxations.backward import Backward
from pathlift.passes.relaxations.climb import climb
from pathlift.passes.relaxations.forms import Form, Rows
from pathlift.passes.relaxations.gates import Chosen
from pathlift.passes.relaxations.sums import added, sum_bound
from pathlift.passes.relaxations.tighten import chunks, tighten
from pathlift.passes.relaxations.tournament import unfolded

Tensor = torch.Tensor
NAME = "joint"
OWN = 32
"""How many choices of signs get slopes of their own, for the sum of magnitudes."""
OUTPUTS = -1
"""Stands for the outputs, where they get no rows."""


@dataclass(frozen=True, eq=False)
class Found:
    """A bound, what it says of the outputs, and where a search may go on."""

    bound: Bound
    outputs: Mapping[int, Triple]
    signs: Tensor

    def learn(self, problem: Problem) -> None:
        for value, triple in self.outputs.items():
            problem.learn(value, triple)


@dataclass(eq=False)
class Relaxed:
    """A problem whose maxima are tournaments, with intervals of all values."""

    walk: Backward
    triples: list[Triple]
    outputs: list[int]
    numbers: list[int]

    @classmethod
    @torch.no_grad()
    def of(cls, problem: Problem, wanted: Callable[[int, int], bool]) -> Relaxed:
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

    def rows(self, weights: Tensor) -> dict[int, Rows]:
        """Rows of the outputs' differences, ``(R, m)`` over all their elements, by value."""
        rows: dict[int, Rows] = {}
        taken = 0
        for value in self.outputs:
            shape = self.triples[value].d.low.shape
            row = weights[:, taken : taken + shape.numel()].reshape(-1, *shape)
            before = rows[value][1] if value in rows else None
            row = row if before is None else before + row
            rows[value] = torch.zeros_like(row), row
            taken += shape.numel()
        return rows

    def forms(self, weights: Tensor) -> Form:
        """Affine functions of the inputs below such rows, so many at a time as fit."""
        return Form.joined(
            [self.walk.form(self.rows(weights[at])) for at in chunks(self.walk, torch.arange(len(weights)))]
        )

    @property
    def difference(self) -> Box:
        """What is known of the outputs' difference, all elements flattened."""
        found = [self.triples[value].d for value in self.outputs]
        return Box(torch.cat([d.low.flatten() for d in found]), torch.cat([d.high.flatten() for d in found]))

    @torch.no_grad()
    def bound(self, parameters: Mapping[str, Tensor]) -> Found:
        """The bound that slopes give, no larger than without them."""
        d, m = self.difference, self.width
        no_signs = torch.zeros(0, m, dtype=torch.float64)
        if not m or OUTPUTS in parameters.get("skipped", torch.zeros(0)).tolist():
            return Found(Bound(NAME, d.magnitude, float(added(d.magnitude)), dict(parameters)), {}, no_signs)
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
        return Found(Bound(NAME, d.magnitude, l1, dict(parameters)), self._known(d), summed.signs[:OWN])

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
        found = climbed(self, rows, start, clock, check)
        slopes = {f"slopes.{n}": c.slopes for n, c in found.items()}
        return {"signs": signs} | {f"at.{n}": c.at for n, c in found.items()} | slopes if found else {}


def both_signs(m: int) -> Tensor:
    """Rows of +δ_j, and then of −δ_j."""
    return torch.cat([torch.eye(m), -torch.eye(m)]).double()


def _slopes(parameters: Mapping[str, Tensor]) -> dict[int, Chosen]:
    numbers = [key.removeprefix("at.") for key in parameters if key.startswith("at.")]
    return {int(n): Chosen(parameters[f"at.{n}"], parameters[f"slopes.{n}"]) for n in numbers}


def climbed(
    state: Relaxed, rows: Mapping[int, Rows], start: Mapping[int, Chosen], clock: Clock, reserve: float
) -> dict[int, Chosen]:
    """Slopes that gradients have improved, and that may be used where all digits count."""
    # Half of the digits do for a search, and take a fraction of the time.
    coarse: dict[int, Rows] = {n: (p.float(), None if q is None else q.float()) for n, (p, q) in rows.items()}
    found = climb(
        lambda slopes: state.walk.form(coarse, slopes, rounded=False).least(state.triples),
        {n: Chosen(c.at, c.slopes.float()) for n, c in start.items()}, lambda: clock.left - reserve,
    )  # fmt: skip
    return {n: Chosen(c.at, c.slopes.double()) for n, c in found.items()}
