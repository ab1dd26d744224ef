"""A plan carried out: from multipliers to an ellipsoid of the outputs, and from an ellipsoid to bounds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import torch

from pathlift.passes.ellipsoids.moves import MOST, Gated, Linear, Widened
from pathlift.passes.ellipsoids.plan import Plan
from pathlift.passes.intervals.box import U, gamma

Tensor = torch.Tensor
Multipliers = Mapping[str, Tensor]
"""Per move that has some: ``(R, k)``, logarithms of a gate's, logits of a box's shares."""
SIGNS = 16
"""Up to how many outputs all vectors of signs are tried."""


def carried_out(
    plan: Plan,
    multipliers: Multipliers,
    watch: Callable[[int, Tensor], None] | None = None,
    start: Tensor | None = None,
) -> Tensor | None:
    """Return the ellipsoid at the end, ``(R, n, n)``; ``None`` where the multipliers prove nothing.

    Parameters
    ----------
    plan
        What to do.
    multipliers
        By name; a move whose multipliers are missing or do not fit gets those it would start from.
    watch
        Called with the number of moves made, and the ellipsoid so far.
    start
        The ellipsoid to start from, if not the plan's.
    """
    m = plan.start() if start is None else start
    for i, move in enumerate(plan.moves):
        if watch is not None:
            watch(i, m)
        if isinstance(move, Linear):
            m = move(m)
            continue
        given = multipliers.get(move.name)
        if given is None or given.ndim != 2 or given.shape[1] != _count(move):
            with torch.no_grad():
                given = move.start(m)
        after = move(m, given)
        if after is None:
            return None
        m = after
    if not bool((m.detach().abs() <= MOST).all()):
        return None
    if watch is not None:
        watch(len(plan.moves), m)
    return m


def started(plan: Plan, start: Tensor | None = None) -> dict[str, Tensor]:
    """Return multipliers, ``(1, k)`` each, for which the plan can be carried out."""
    found: dict[str, Tensor] = {}
    m = plan.start() if start is None else start
    with torch.no_grad():
        for move in plan.moves:
            if isinstance(move, Linear):
                m = move(m)
                continue
            logits = move.start(m)
            after = move(m, logits)
            while after is None:
                if bool((logits < -500).all()):
                    return found
                logits = logits - 0.5
                after = move(m, logits)
            found[move.name], m = logits, after
    return found


def _count(move: Gated | Widened) -> int:
    return len(move.index) + isinstance(move, Widened)


def support(m: Tensor, constant: bool, w: Tensor) -> Tensor:
    """The most that |wᵀv| is, in exact arithmetic, for v in an ellipsoid.

    For every number c, (wᵀv − c·1)² ≤ (w, −c)ᵀM(w, −c), which is √Q(c) from c; the best c is where the ellipsoid is cut
    by the plane on which its first coordinate is 1.

    Parameters
    ----------
    m
        ``(R, n, n)``.
    constant
        Whether coordinate 0 is 1.
    w
        ``(R or 1, S, n)``, zero in that coordinate.

    Returns
    -------
    Tensor
        ``(R, S)``.
    """
    through = w @ m
    square = (through * w).sum(-1)
    if not constant:
        return _root(m, w, square, torch.zeros_like(square))
    top, mean = m[:, 0, :1], through[..., 0]
    rest = (square - mean.square() / top).clamp(min=0) + 1e-300
    step = (rest / (top * (top - 1).clamp(min=1e-12))).sqrt()
    ends = []
    for sign in (1.0, -1.0):
        c = mean / top - sign * step
        ends.append(sign * c + _root(m, w, square - 2 * c * mean + c.square() * top, c))
    return torch.maximum(*ends).clamp(min=0) * (1 + 4 * U)


def _root(m: Tensor, w: Tensor, square: Tensor, c: Tensor) -> Tensor:
    """√Q(c), at least: Q is a sum of products of entries, no larger than its rounding errors are relative to."""
    with torch.no_grad():
        size = m.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt() * (1 + 4 * U)
        reach = (w.abs() * size[:, None]).sum(-1) + c.abs() * size[:, :1]
        error = 4 * gamma(m.shape[-1] + 4) * reach.square() + 1e-300
    root: Tensor = (square.clamp(min=0) + error).sqrt() * (1 + 8 * U)
    return root + 4 * U * c.abs()


def output_rows(plan: Plan) -> tuple[Tensor, Tensor]:
    """Return a row per element of the outputs that has a difference, ``(k, n)``, and which elements these are."""
    rows, places = [], []
    at = 0
    size = sum(s.stop - s.start for s in plan.outputs if s is not None) + plan.constant
    for place, count in zip(plan.outputs, plan.sizes, strict=True):
        if place is not None:
            rows += list(range(place.start, place.stop))
            places += list(range(at, at + count))
        at += count
    size = max([size, *(s.stop for s in plan.outputs if s is not None)])
    return torch.eye(size, dtype=torch.float64)[rows], torch.tensor(places, dtype=torch.long)


def signs(count: int) -> Tensor:
    """All vectors of signs up to a common sign, ``(2^(count − 1), count)``."""
    return torch.tensor([[1.0, *s] for s in itertools.product([1.0, -1.0], repeat=count - 1)], dtype=torch.float64)
