"""Lipschitz constants of a network, by ellipsoids of what becomes of an input's increment.

The increment δ = z(x') − z(x) passes linear maps as it is, and an activation as a slope times δ, with slopes of chords
over the domain, or everywhere. That is a bound in the manner of LipSDP (Fazlyab, Robey, Hassani, Morari and Pappas,
2019), eliminated layer by layer: one Cholesky factorization each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.passes.ellipsoids.evaluation import (
    SIGNS,
    carried_out,
    largest_eigenvalue,
    output_rows,
    signs,
    sum_bound,
    support,
)
from pathlift.passes.ellipsoids.plan import Networks, Plan
from pathlift.passes.ellipsoids.search import Objective, Search, least_seconds
from pathlift.passes.ellipsoids.steps import increments
from pathlift.passes.intervals.box import Box, gamma
from pathlift.passes.intervals.pairs import Triple
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor
Norm = Literal["linf", "l2"]


@dataclass(frozen=True, eq=False)
class Lipschitz:
    """Constants that hold for any two inputs of the domain, in exact arithmetic.

    Parameters
    ----------
    norm
        Of inputs.
    per_output
        |f_j(x') − f_j(x)| ≤ per_output[j]·‖x' − x‖, outputs one after another, flattened.
    l1
        Of the sum over all outputs.
    l2
        Of the outputs' Euclidean norm.
    parameters
        Multipliers, for `check`.
    """

    norm: Norm
    per_output: Tensor
    l1: float
    l2: float
    parameters: Mapping[str, Tensor] = field(default_factory=dict)


def lipschitz(tape: Tape, triples: Sequence[Triple] | None, norm: Norm, left: Callable[[], float]) -> Lipschitz:
    """Bound Lipschitz constants.

    Parameters
    ----------
    tape
        The network.
    triples
        What is known of its values over a convex domain, from this tape twice; ``None``: the domain is all of ℝⁿ.
    norm
        Of inputs: the largest magnitude, or the Euclidean norm.
    left
        Says how many seconds are left.

    Raises
    ------
    UnsupportedError
        If a node has no Lipschitz constant that is tracked, there are too many values, or too little time.
    """
    plan, first = _plan(tape, triples, norm)
    if (seconds := least_seconds(plan)) > left():
        raise UnsupportedError(
            "1394", f"one pass over its ellipsoids takes {seconds:.0f} s at the least, and there is less time",
            hint="give more time",
        )  # fmt: skip
    rows, _ = output_rows(plan)
    found: dict[str, Tensor] = {}
    if len(rows):
        total = left()
        several = len(rows) > 1
        search = Search(plan, first)

        def descended(
            objective: Objective, share: float, passes: int, at: Mapping[str, Tensor] | None
        ) -> dict[str, Tensor]:
            until = left() - share * total
            return search.descend(objective, passes, lambda: left() - until, at)

        at = descended(lambda m: support(m, False, rows[None]).log().sum(), 0.4, 100, None)
        places = {"shared": [at]}
        if several and len(rows) <= SIGNS:
            every = signs(len(rows)) @ rows
            places["sum"] = [descended(lambda m: support(m, False, every[None]).amax().log(), 0.1, 30, at)]
        if several:

            def whole(m: Tensor) -> Tensor:
                largest: Tensor = torch.linalg.eigvalsh(rows @ m[0] @ rows.T)[-1]
                return largest.log()

            places["whole"] = [descended(whole, 0.1, 30, at)]
            places["each"] = [
                descended(partial(_size, row), 0.35 / len(rows), 40, at)
                for row in rows
            ]  # fmt: skip
        for group, ends in places.items():
            multipliers = [search.multipliers(x) for x in ends]
            found |= {f"{group}.{name}": torch.cat([x[name] for x in multipliers]) for name in multipliers[0]}
    return check(tape, triples, norm, found)


@torch.no_grad()
def check(tape: Tape, triples: Sequence[Triple] | None, norm: Norm, parameters: Mapping[str, Tensor]) -> Lipschitz:
    """Return the constants that multipliers give: ``"GROUP.MOVE"``, as `lipschitz` finds them.

    Raises
    ------
    UnsupportedError
        As `lipschitz` does.
    """
    plan, first = _plan(tape, triples, norm)
    rows, places = output_rows(plan)
    per_output = torch.zeros(sum(plan.sizes), dtype=torch.float64)
    if not len(rows):
        return Lipschitz(norm, per_output, 0.0, 0.0, dict(parameters))
    best = torch.full((len(rows),), torch.inf, dtype=torch.float64)
    l1 = l2 = float("inf")
    for group in ("shared", "sum", "whole", "each"):
        given = {k.removeprefix(f"{group}."): v.double() for k, v in parameters.items() if k.startswith(f"{group}.")}
        if not given and group != "shared":
            continue
        m = carried_out(plan, given, start=first)
        if m is None:
            continue
        best = torch.minimum(best, support(m, False, rows[None]).amin(0))
        l1 = min(l1, *(sum_bound(x[None], False, rows) for x in m))
        l2 = min(l2, *(largest_eigenvalue(x[None], rows) for x in m))
    per_output[places] = best
    count = len(best)
    total = float(best.sum()) * (1 + gamma(count))
    root = float(best.square().sum()) ** 0.5 * (1 + gamma(count + 4))
    return Lipschitz(norm, per_output, min(l1, total), min(l2, root), dict(parameters))


def _size(row: Tensor, m: Tensor) -> Tensor:
    return support(m, False, row[None, None]).log().sum()


def _plan(tape: Tape, triples: Sequence[Triple] | None, norm: Norm) -> tuple[Plan, Tensor | None]:
    if triples is None:
        everywhere = [Box(torch.full(s, -torch.inf, dtype=torch.float64), torch.full(s, torch.inf, dtype=torch.float64))
                      for s in tape.shapes]  # fmt: skip
        triples = [Triple(b, b, b) for b in everywhere]
    size = sum(torch.Size(s).numel() for s in tape.inputs.values())
    radius = torch.ones(size, dtype=torch.float64) if norm == "linf" else None
    plan = increments(Networks(tape, tape, triples, ()), radius)
    start = None if norm == "linf" else torch.eye(size, dtype=torch.float64)[None]  # ‖δ‖ ≤ 1: (uᵀδ)² ≤ uᵀu
    return plan, start
