"""Slopes of relaxations, by gradient ascent. Whatever it finds is sound: it can only be less tight than it might be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic

import torch

from pathlift.passes.relaxations.gates import Chosen

Tensor = torch.Tensor
STEPS = 80
RATE = 0.05
_DECAY = (0.9, 0.999)
"""Of Adam's averages of gradients and of their squares (Kingma, Ba 2015)."""


def climb(
    bound: Callable[[Mapping[int, Chosen]], Tensor], start: Mapping[int, Chosen], left: Callable[[], float]
) -> dict[int, Chosen]:
    """Improve slopes, and return those that were best for each row; nothing where there is nothing to improve.

    Parameters
    ----------
    bound
        Of slopes, ``(R,)``: each row's bound by its own slopes.
    start
        Slopes by gate.
    left
        Seconds left.
    """
    scales = {n: c.slopes.abs().mean((0, 1)) + 1e-30 for n, c in start.items()}
    free = {n: (c.slopes / scales[n]).requires_grad_() for n, c in start.items()}
    averages = {n: (torch.zeros_like(x), torch.zeros_like(x)) for n, x in free.items()}
    found: dict[int, Tensor] = {}
    best = weights = torch.zeros(0)
    longest, now = 0.0, monotonic()
    for step in range(STEPS if start else 0):
        if left() < longest:
            break
        with torch.enable_grad():
            value = bound({n: Chosen(start[n].at, x * scales[n]) for n, x in free.items()})
            if not step:
                best = value.detach()
                weights = torch.where(best.isfinite(), 1 / (best.abs() + 1e-30), 0.0)
                found = {n: c.slopes.clone() for n, c in start.items()}
                if not bool(best.isfinite().any()):
                    return {}
            gradients = torch.autograd.grad((value * weights)[weights > 0].sum(), list(free.values()))
        with torch.no_grad():
            better = value > best
            best = torch.where(better, value, best)
            rate = RATE * (1 - step / STEPS) + 1e-4
            for (n, x), g in zip(free.items(), gradients, strict=True):
                found[n] = torch.where(better[:, None], x * scales[n], found[n])
                mean, square = averages[n]
                mean.lerp_(g, 1 - _DECAY[0])
                square.lerp_(g * g, 1 - _DECAY[1])
                size = (square / (1 - _DECAY[1] ** (step + 1))).sqrt() + 1e-8
                x.add_(mean / (1 - _DECAY[0] ** (step + 1)) / size, alpha=rate)
        longest, now = max(longest, monotonic() - now), monotonic()
    return {n: Chosen(start[n].at, x) for n, x in found.items()}
