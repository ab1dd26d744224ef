"""Multipliers, by L-BFGS. Whatever it finds is sound: it can only be less tight than it might be.

Steps are made in the logarithms of t_i·M_ii. Multipliers that are measured by the ellipsoid that they meet stay
feasible, and near what is best, when those of earlier layers change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from pathlift.passes.ellipsoids.evaluation import started
from pathlift.passes.ellipsoids.moves import Gated, Linear
from pathlift.passes.ellipsoids.plan import Plan
from pathlift.passes.ellipsoids.rehearsal import Rehearsal

Tensor = torch.Tensor
Objective = Callable[[Tensor], Tensor]
"""Of the ellipsoid at the end ``(1, n, n)``: one number, to be made small."""
_MEMORY = 20
_LONGEST = 1.0
"""By how much a logarithm changes at most in one step."""
_TOLERANCE = 1e-5
_FLOPS = 2e10
"""Per second, more than a core computes: what is predicted from it is the least that a pass takes."""


class Search:
    """The search for a plan's multipliers.

    Parameters
    ----------
    plan
        What they are multipliers of.
    first
        The ellipsoid to start from, if not the plan's.
    relative
        Where to start, by move ``(k,)``, as found by `descend` on a plan of the same moves.
    """

    def __init__(self, plan: Plan, first: Tensor | None = None, relative: Mapping[str, Tensor] | None = None) -> None:
        self.plan, self.first = plan, first
        multipliers, self.start = started(plan, first, relative)
        names = {move.name for move in plan.moves if not isinstance(move, Linear)}
        self.rehearsal = Rehearsal(plan, multipliers, first) if multipliers.keys() == names != set() else None

    def multipliers(self, relative: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return multipliers ``(1, k)`` for which the plan can be carried out, at or near a place."""
        return started(self.plan, self.first, relative)[0]

    def descend(
        self, objective: Objective, passes: int, left: Callable[[], float], start: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return a better place, after so many passes at most, and no more than there is time for.

        Parameters
        ----------
        objective
            What to make small.
        passes
            At most so many.
        left
            Seconds left.
        start
            From where; else from where all begins.
        """
        start = self.start if start is None else start
        if self.rehearsal is None or left() <= 0:
            return dict(start)
        rehearsal = self.rehearsal
        sizes = [len(x) for x in start.values()]

        def at(x: Tensor) -> dict[str, Tensor]:
            return dict(zip(start, torch.split(x, sizes), strict=True))

        def tried(x: Tensor) -> tuple[float, Tensor] | None:
            found = rehearsal(at(x), lambda m: objective(m.double()))
            return None if found is None else (found[0], torch.cat([found[1][name].double() for name in start]))

        return at(_descended(tried, torch.cat(list(start.values())), passes, left))


def _descended(
    tried: Callable[[Tensor], tuple[float, Tensor] | None], x: Tensor, passes: int, left: Callable[[], float]
) -> Tensor:
    """L-BFGS with steps that are halved until they help; what proves nothing counts as infinite."""
    begin = left()
    here = tried(x)
    if here is None:
        return x
    pass_ = begin - left()
    value, slope = here
    pairs: list[tuple[Tensor, Tensor]] = []
    done, length = 1, 1.0
    while done < passes and left() > pass_:
        way = -_newton(slope, pairs)
        if not pairs or bool(way @ slope >= 0):
            way, pairs = -0.3 * slope / slope.abs().max().clamp(min=1e-300), []
        way = way * min(1.0, _LONGEST / float(way.abs().max().clamp(min=1e-300)))
        there = tried(x + length * way)
        done += 1
        if there is None or not there[0] <= value + 1e-4 * length * float(way @ slope):
            length *= 0.5
            if length < 1e-3:
                if not pairs:
                    break
                pairs, length = [], 1.0
            continue
        moved, turned = length * way, there[1] - slope
        if float(moved @ turned) > 1e-10 * float(moved.norm() * turned.norm()):
            pairs = [*pairs, (moved, turned)][-_MEMORY:]
        gain = value - there[0]
        x, (value, slope), length = x + moved, there, 1.0
        if gain < _TOLERANCE:
            break
    return x


def _newton(slope: Tensor, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The inverse of the Hessian that steps and changes of slope tell, times a slope (Nocedal, 1980)."""
    q, shares = slope.clone(), []
    for moved, turned in reversed(pairs):
        shares.append(moved @ q / (moved @ turned))
        q -= shares[-1] * turned
    if pairs:
        moved, turned = pairs[-1]
        q *= moved @ turned / (turned @ turned)
    for (moved, turned), share in zip(pairs, reversed(shares), strict=True):
        q += moved * (share - turned @ q / (moved @ turned))
    return q


def least_seconds(plan: Plan) -> float:
    """How long one pass takes at the least."""
    seconds, n = 0.0, plan.size
    for move in plan.moves:
        if isinstance(move, Linear):
            after = len(move.matrix)
            seconds += 2.0 * after * n * (n + after) / _FLOPS
            n = after
        elif isinstance(move, Gated):
            seconds += pass_seconds(n, int((move.kappa > 0).sum()))
    return seconds


def pass_seconds(n: int, k: int) -> float:
    """How long a gate of k among n coordinates takes at the least, there and back."""
    return (k**3 / 3 + 4.0 * k * k * n + 4.0 * k * n * n) / _FLOPS
