"""A plan carried out: from multipliers to an ellipsoid of the outputs, and from an ellipsoid to bounds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
        after: Tensor | None
        if isinstance(move, Linear):
            after = move(m)
        else:
            given = multipliers.get(move.name)
            if given is None or given.ndim != 2 or given.shape[1] != _count(move) or not len(given):
                with torch.no_grad():
                    given = move.start(m)
            after = move(m, given)
        if after is None or not bool(after.detach().abs().amax() <= MOST):  # NaN, too
            return None
        m = after
    if watch is not None:
        watch(len(plan.moves), m)
    return m


def started(
    plan: Plan, start: Tensor | None = None, relative: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return multipliers, ``(1, k)`` each, for which the plan can be carried out, and what they are relatively.

    Parameters
    ----------
    plan
        What to do.
    start
        The ellipsoid to start from, if not the plan's.
    relative
        Where to look for them, by move ``(k,)``: the logarithm of t_i·M_ii for gates, logits of shares for boxes.
    """
    found: dict[str, Tensor] = {}
    measured: dict[str, Tensor] = {}
    m = plan.start() if start is None else start
    with torch.no_grad():
        for move in plan.moves:
            if isinstance(move, Linear):
                m = move(m)
                continue
            unit = torch.zeros(_count(move), dtype=m.dtype)
            if isinstance(move, Gated):
                unit = m[0].diagonal()[move.index].clamp(min=1e-300).log()
            known = None if relative is None else relative.get(move.name)
            logits = move.start(m) if known is None or len(known) != len(unit) else (known - unit)[None]
            after, less = move(m, logits), 2.0**-6
            while after is None:
                if not bool((logits >= -500).any()):  # also where they are no numbers
                    return found, measured
                logits, less = logits - less, 2 * less
                after = move(m, logits)
            found[move.name], measured[move.name], m = logits, logits[0] + unit, after
    return found, measured


def _count(move: Gated | Widened) -> int:
    return len(move.index) + isinstance(move, Widened)


@dataclass(frozen=True, eq=False)
class Projection:
    """What an ellipsoid says of a few linear functions wᵀv.

    Parameters
    ----------
    square
        wᵀMw.
    size
        Σ|w_i|√M_ii, at least.
    count
        How many products wᵀMw is a sum of.
    mean, top
        (Mw)_0 and M_00 where coordinate 0 is the number 1.
    """

    square: Tensor
    size: Tensor
    count: int
    mean: Tensor | None = None
    top: Tensor | None = None

    def ends(self) -> tuple[Tensor, Tensor]:
        """The least and the most that wᵀv is, rounded outward.

        For every number c, (wᵀv − c·1)² ≤ Q(c) = wᵀMw − 2c(Mw)_0 + c²M_00. The best c for either end is where the
        ellipsoid touches it in the plane on which coordinate 0 is 1; any other is sound as well.
        """
        if self.mean is None or self.top is None:
            root = self._root(self.square, torch.zeros_like(self.square))
            return -root, root
        rest = (self.square - self.mean.square() / self.top).clamp(min=0) + 1e-300
        step = (rest / (self.top * (self.top - 1).clamp(min=1e-12))).sqrt()
        ends = []
        for sign in (-1.0, 1.0):
            c = self.mean / self.top - sign * step
            root = self._root(self.square - 2 * c * self.mean + c.square() * self.top, c)
            end = c + sign * root
            ends.append(end + sign * 4 * U * end.detach().abs())
        return ends[0], ends[1]

    def largest(self) -> Tensor:
        """The most that |wᵀv| is."""
        low, high = self.ends()
        return torch.maximum(-low, high).clamp(min=0)

    def _root(self, square: Tensor, c: Tensor) -> Tensor:
        """√Q(c), at least, and a little more for the sum with c."""
        with torch.no_grad():
            top = 0 if self.top is None else self.top.clamp(min=0).sqrt() * (1 + 4 * U)
            reach = self.size + c.abs() * top
            error = 4 * gamma(self.count + 8) * reach.square() + 1e-300
        root: Tensor = (square.clamp(min=0) + error).sqrt() * (1 + 8 * U)
        return root + 4 * U * c.detach().abs()


def projected(m: Tensor, constant: bool, w: Tensor) -> Projection:
    """Apply an ellipsoid ``(R, n, n)`` to the functions ``(R or 1, S, n)``, which leave out a constant coordinate."""
    through = w @ m
    size = m.detach().diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt() * (1 + 4 * U)
    reach = (w.abs() * size[:, None]).sum(-1) * (1 + gamma(m.shape[-1]))
    square = (through * w).sum(-1)
    if not constant:
        return Projection(square, reach, m.shape[-1])
    return Projection(square, reach, m.shape[-1], through[..., 0], m[:, 0, :1])


def support(m: Tensor, constant: bool, w: Tensor) -> Tensor:
    """The most that |wᵀv| is, in exact arithmetic: ``(R, S)``, as in `projected`."""
    return projected(m, constant, w).largest()


def output_rows(plan: Plan) -> tuple[Tensor, Tensor]:
    """Return a row per element of the outputs that has a difference, ``(k, n)``, and which elements these are."""
    places: list[int] = []
    at = 0
    for place, count in zip(plan.outputs, plan.sizes, strict=True):
        places += range(at, at + count) if place is not None else ()
        at += count
    held = [s for s in plan.outputs if s is not None]
    rows = torch.cat([torch.arange(s.start, s.stop) for s in held]) if held else torch.zeros(0, dtype=torch.long)
    size = max([int(plan.constant), *(s.stop for s in held)])
    return torch.eye(size, dtype=torch.float64)[rows], torch.tensor(places, dtype=torch.long)


def sum_bound(m: Tensor, constant: bool, w: Tensor) -> float:
    """The most that Σ|w_iᵀv| is, over rows w_i of ``(k, n)``; m is ``(1, n, n)``.

    The largest of all signs' sums; of more than `SIGNS` rows, the square root of λ·Σ q_i, where q is the diagonal of
    Q = wMwᵀ, and λ the largest eigenvalue of Q scaled to a diagonal of ones, bounded by its largest row sum.
    """
    if len(w) <= SIGNS:
        parts = torch.split(signs(len(w)) @ w, 4096)
        return max(float(support(m, constant, p[None]).max()) for p in parts)
    q = w @ m[0] @ w.T
    size = (w.abs() @ m[0].diagonal().clamp(min=0).sqrt()) * (1 + gamma(m.shape[-1]))
    error = 4 * gamma(m.shape[-1] + 4)
    scale = size.clamp(min=1e-150)
    scaled = (q / scale[:, None] / scale).abs() + error
    largest = min(float(scaled.sum(1).max()), _largest_eigenvalue(q / scale[:, None] / scale, error))
    entries = float((q.abs() + error * size[:, None] * size).sum())
    most = min(largest * float(scale.square().sum()), entries) * (1 + gamma(len(w) ** 2 + 8))
    return math.sqrt(most) * (1 + 4 * U)


def largest_eigenvalue(m: Tensor, w: Tensor) -> float:
    """The most that the Euclidean norm of all w_iᵀv is: the square root of the largest eigenvalue of wMwᵀ."""
    size = (w.abs() @ m[0].diagonal().clamp(min=0).sqrt()) * (1 + gamma(m.shape[-1]))
    scale = float(size.max().clamp(min=1e-150))
    c = w @ m[0] @ w.T / scale / scale
    return math.sqrt(_largest_eigenvalue(c, 4 * gamma(m.shape[-1] + 8)) * (1 + 8 * U)) * scale * (1 + 8 * U)


def _largest_eigenvalue(c: Tensor, error: float) -> float:
    """An upper bound, of a matrix of entries up to 1, each within an error: one above is proved by factorizing."""
    n = len(c)
    guess = float(torch.linalg.eigvalsh(c)[-1]) * (1 + 1e-9) + 1e-9
    shift = n * (error + 4 * gamma(n + 2) * (guess + 2))
    _, bad = torch.linalg.cholesky_ex((guess - shift) * torch.eye(n, dtype=c.dtype) - c)
    return guess if not bool(bad) else float("inf")


def signs(count: int) -> Tensor:
    """All vectors of signs up to a common sign, ``(2^(count − 1), count)``."""
    return torch.tensor([[1.0, *s] for s in itertools.product([1.0, -1.0], repeat=count - 1)], dtype=torch.float64)
