"""Rehearsal of a plan: what an ellipsoid comes to, and gradients by multipliers, fast and without proof.

In float32, and with each coordinate scaled to about 1, so that no scale of a network's values overflows. Coordinates
that are zero after a gate are left out. Gradients are written by hand: one factorization serves both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from pathlift.passes.ellipsoids.evaluation import Multipliers, carried_out
from pathlift.passes.ellipsoids.moves import Linear, Widened
from pathlift.passes.ellipsoids.plan import Plan

Tensor = torch.Tensor
_MARGIN = 1e-5
"""By how much N ≻ 0 must hold, relatively, for float32 to mean it."""


@dataclass(frozen=True, eq=False)
class _Line:
    """M' = GMGᵀ."""

    matrix: Tensor

    def forward(self, m: Tensor) -> Tensor:
        return self.matrix @ m @ self.matrix.T

    def backward(self, p: Tensor) -> Tensor:
        return self.matrix.T @ p @ self.matrix


@dataclass(eq=False)
class _Box:
    """M' = M/s_0 + diag(ρ²/s)."""

    move: Widened
    index: Tensor
    square: Tensor

    def forward(self, m: Tensor, logits: Tensor) -> Tensor:
        self.shares = self.move.shares(logits[None])[0].to(m.dtype)
        self.before = m
        result = m.clone() if self.move.alone else m / self.shares[0]
        result.diagonal().index_add_(0, self.index, self.square / self.shares[1:])
        return result

    def backward(self, p: Tensor) -> tuple[Tensor, Tensor]:
        s = self.shares
        by_share = -p.diagonal()[self.index] * self.square / s[1:].square()
        first = torch.zeros_like(s[:1]) if self.move.alone else -(p * self.before).sum()[None] / s[0].square()
        free = torch.cat([torch.tensor([not self.move.alone]), self.square > 0])
        slopes = torch.cat([first, by_share])
        by_logit = torch.where(free, s * (slopes - (s * slopes)[free].sum()), 0.0)
        return (p if self.move.alone else p / s[0]), by_logit


@dataclass(eq=False)
class _Gate:
    """M' = αMα + B·N⁻¹·Bᵀ, as in `Gated`, where multipliers are measured by 1/M_ii."""

    active: Tensor
    at: Tensor
    kept: Tensor
    alpha: Tensor
    kappa: Tensor

    def forward(self, m: Tensor, logarithms: Tensor) -> Tensor | None:
        u, alpha = self.at, self.alpha
        column = m[:, u]
        inner = column[u]
        size = inner.diagonal().clamp(min=1e-30)
        t = logarithms[self.active].exp().to(m.dtype) / size
        normal = -(t[:, None] * inner * t)
        normal.diagonal().add_(2 * t * (1 - _MARGIN))
        lower, bad = torch.linalg.cholesky_ex(normal)
        if bool(bad):
            return None
        b = alpha[:, None] * column * t
        b[u, torch.arange(len(u))] += self.kappa
        y = torch.cholesky_solve(b.T, lower)
        self.saved = m, t, column, inner, y, size
        result = (alpha[:, None] * m * alpha).addmm_(b, y)
        if len(self.kept) < len(m):
            result = result[self.kept][:, self.kept]
        return (result + result.T) / 2

    def backward(self, p: Tensor) -> tuple[Tensor, Tensor]:
        m, t, column, inner, y, size = self.saved
        u, alpha = self.at, self.alpha
        if len(self.kept) < len(m):
            whole = torch.zeros_like(m)
            whole[self.kept[:, None], self.kept] = p
            p = whole
        h = p @ y.T
        k = y @ h
        by_column = 2 * alpha[:, None] * h
        by_t = (by_column * column).sum(0) - 2 * k.diagonal() + 2 * ((k * t) * inner).sum(1)
        back = alpha[:, None] * p * alpha
        part = by_column * t
        own = t[:, None] * k * t
        own.diagonal().sub_(by_t * t / size)
        part[u] += own
        back.index_add_(1, u, part)
        by_logarithm = torch.zeros(len(self.active), dtype=m.dtype)
        by_logarithm[self.active] = by_t * t
        return (back + back.T) / 2, by_logarithm


class Rehearsal:
    """A plan, ready to be carried out many times.

    Parameters
    ----------
    plan
        What to do.
    multipliers
        ``(1, k)`` by move, for which the plan can be carried out: scales are taken from what comes of them.
    first
        The ellipsoid to start from, if not the plan's.
    dtype
        To compute in.
    """

    def __init__(
        self, plan: Plan, multipliers: Multipliers, first: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        scales = _scales(plan, multipliers, first)
        begin = (plan.start() if first is None else first)[0]
        scale = scales[0]
        self.begin = (begin / scale / scale[:, None]).to(dtype)
        self.steps: list[tuple[str, _Line | _Box | _Gate]] = []
        here = torch.arange(len(begin))
        for i, move in enumerate(plan.moves):
            if isinstance(move, Linear):
                before, scale = scale, scales[i + 1]
                self.steps.append(("", _Line((move.matrix[:, here] * before[here] / scale[:, None]).to(dtype))))
                here = torch.arange(len(scale))
            elif isinstance(move, Widened):
                square = (move.radius / scale[move.index]).square()
                self.steps.append((move.name, _Box(move, move.index, square.to(dtype))))
            else:
                active = move.kappa[move.index] > 0
                u = move.index[active]
                if isinstance(next(iter(plan.moves[i + 1 :]), None), Linear):
                    here = torch.nonzero((move.alpha != 0) | (move.kappa != 0))[:, 0]
                alpha, kappa = move.alpha.to(dtype), move.kappa[u].to(dtype)
                self.steps.append((move.name, _Gate(active, u, here, alpha, kappa)))
        self.scale = scale[here].to(dtype)

    def __call__(
        self, logits: Mapping[str, Tensor], objective: Callable[[Tensor], Tensor]
    ) -> tuple[float, dict[str, Tensor]] | None:
        """Return the objective ``(1,)`` of the ellipsoid at the end ``(1, n, n)``, and its gradient by logits ``(k,)``.

        ``None`` where the multipliers prove nothing.
        """
        m: Tensor | None = self.begin
        for name, step in self.steps:
            assert m is not None
            m = step.forward(m) if isinstance(step, _Line) else step.forward(m, logits[name])
            if m is None:
                return None
        assert m is not None
        end = (m * self.scale * self.scale[:, None]).requires_grad_()
        value = objective(end[None]).sum()
        if not bool(value.isfinite()):
            return None
        (p,) = torch.autograd.grad(value, end)
        p = p * self.scale * self.scale[:, None]
        p = (p + p.T) / 2
        slopes = {}
        for name, step in reversed(self.steps):
            if isinstance(step, _Line):
                p = step.backward(p)
            else:
                p, slopes[name] = step.backward(p)
        return float(value.detach()), slopes


def _scales(plan: Plan, multipliers: Multipliers, first: Tensor | None) -> list[Tensor]:
    """Powers of two near the largest √M_ii between one linear map and the next, per move and at the end."""
    sizes: list[Tensor] = []
    with torch.no_grad():
        carried_out(plan, multipliers, lambda _, m: sizes.append(m[0].diagonal().clamp(min=0).sqrt()), first)
    for i in reversed(range(len(sizes) - 1)):
        if not isinstance(plan.moves[i], Linear):
            sizes[i] = torch.maximum(sizes[i], sizes[i + 1])
    return [torch.where(s > 2.0**-200, s, 1.0).log2().round().exp2() for s in sizes]
