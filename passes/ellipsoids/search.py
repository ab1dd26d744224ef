"""Multipliers, by gradient descent. Whatever it finds is sound: it can only be less tight than it might be."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pathlift.passes.ellipsoids.evaluation import Multipliers, carried_out
from pathlift.passes.ellipsoids.moves import Gated, Linear
from pathlift.passes.ellipsoids.plan import Plan

Tensor = torch.Tensor
_RATE = 0.1
_FLOPS = 2e10
"""Per second, more than a core computes: what is predicted from it is the least that a pass takes."""


def descend(
    plan: Plan,
    start: Multipliers,
    objective: Callable[[Tensor], Tensor],
    steps: int,
    left: Callable[[], float],
    first: Tensor | None = None,
) -> dict[str, Tensor]:
    """Improve multipliers by Adam; return the best that were met.

    Where a step leaves what can be proved, the last that could is taken up again, with half the rate.

    Parameters
    ----------
    plan
        What they are multipliers of.
    start
        From where.
    objective
        Of the ellipsoid at the end ``(R, n, n)``: one number for each of R, to be made small.
    steps
        At most so many.
    left
        Seconds left.
    first
        The ellipsoid to start from, if not the plan's.
    """
    values = {name: x.detach().clone().requires_grad_() for name, x in start.items()}
    if not values:
        return {}
    begin, rate = left(), _RATE
    optimizer = torch.optim.Adam(list(values.values()), rate)
    good = {name: x.detach().clone() for name, x in values.items()}
    best, least = good, torch.tensor(torch.inf)
    for step in range(steps):
        m = carried_out(plan, values, start=first)
        found = None if m is None else objective(m)
        if found is None or not bool(found.isfinite().all()):
            rate *= 0.5
            with torch.no_grad():
                for name, x in values.items():
                    x.copy_(good[name])
            optimizer = torch.optim.Adam(list(values.values()), rate)
            continue
        good = {name: x.detach().clone() for name, x in values.items()}
        if least.ndim == 0:
            best, least = good, found.detach()
        else:
            better = (found < least).detach()
            least = torch.where(better, found, least).detach()
            best = {
                n: torch.where(better[:, None], x, best[n]) if len(x) == len(better) else x for n, x in good.items()
            }
        done = max((step + 1) / steps, 1 - left() / begin if begin > 0 else 1.0)
        if done >= 1:
            break
        optimizer.zero_grad()
        found.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - done) + 0.01 * rate
    return best


def least_seconds(plan: Plan) -> float:
    """How long one pass takes at the least."""
    flops, n = 0.0, plan.size
    for move in plan.moves:
        if isinstance(move, Linear):
            after = len(move.matrix)
            flops += 2.0 * after * n * (n + after)
            n = after
        elif isinstance(move, Gated):
            k = int((move.kappa > 0).sum())
            flops += k**3 / 3 + float(k) * k * n + 2.0 * k * n * n
    return flops / _FLOPS
