"""The state of a search: the best points so far, and how candidates are evaluated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from pathlift.passes.attacks.domain import Domain, Point

Tensor = torch.Tensor
Objective = Callable[[Point], Tensor]
"""Inputs with a batch axis of candidates to ``(batch, objectives)``."""
AT_ONCE = 1 << 20
"""Numbers that are computed at once: more would be more memory, and longer past the end of the time."""


class Search:
    """What has been found of the maxima of some objectives over a box.

    Points are flat, ``(candidates, elements)``. Whatever is evaluated is in the box: it is clipped first, here and
    nowhere else. A value that is no finite number is as if it had not been seen.

    Parameters
    ----------
    objective
        What to maximize.
    domain
        The box.
    numbers
        How many numbers are computed for a candidate, about.

    Attributes
    ----------
    best
        ``(objectives,)``; -inf where nothing is found.
    points
        Where, ``(objectives, elements)``; the box's centre where nothing is found.
    """

    def __init__(self, objective: Objective, domain: Domain, numbers: int) -> None:
        self.objective, self.domain = objective, domain
        self.low, self.high = domain.flat_low, domain.flat_high
        self.width = self.high - self.low
        self.at_once = max(1, AT_ONCE // max(1, numbers))
        centre = domain.flat(domain.centre)
        with torch.no_grad():
            values = objective(domain.unflat(centre))
        self.best = torch.full((values.shape[1],), -torch.inf, dtype=torch.float64)
        self.points = centre.repeat(len(self.best), 1)
        self._record(centre, values)

    def values(self, x: Tensor) -> None:
        """Evaluate candidates, no more than `at_once`."""
        x = self.clip(x)
        with torch.no_grad():
            self._record(x, self.objective(self.domain.unflat(x)))

    def gradients(self, x: Tensor, which: Tensor) -> Tensor:
        """Evaluate candidates, and return the gradient of one objective for each; 0 where there is none."""
        x = self.clip(x).requires_grad_()
        with torch.enable_grad():
            values = self.objective(self.domain.unflat(x))
            self._record(x.detach(), values.detach())
            if not values.requires_grad:
                return torch.zeros_like(x)
            # One candidate's value says nothing about another: the gradient of their sum is each one's own.
            (found,) = torch.autograd.grad(values.gather(1, which[:, None]).sum(), x, allow_unused=True)
        return torch.zeros_like(x) if found is None else found.nan_to_num(0.0, 0.0, 0.0)

    def clip(self, x: Tensor) -> Tensor:
        """Return the nearest points in the box."""
        return torch.clamp(x.detach(), self.low, self.high)

    def uniform(self, count: int, generator: torch.Generator) -> Tensor:
        """Return random points of the box."""
        draws = torch.rand(count, self.low.shape[1], generator=generator, dtype=torch.float64)
        return self.clip(self.low + self.width * draws)

    def corners(self, count: int, generator: torch.Generator) -> Tensor:
        """Return random corners of the box."""
        up = torch.rand(count, self.low.shape[1], generator=generator, dtype=torch.float64) < 0.5
        return torch.where(up, self.high, self.low)

    def ranked(self) -> Tensor:
        """Objectives by what is found, the largest first: what time does not suffice for is what matters least."""
        return self.best.argsort(descending=True, stable=True)

    def _record(self, x: Tensor, values: Tensor) -> None:
        top, where = torch.where(values.isfinite(), values, -torch.inf).double().max(0)
        better = top > self.best
        self.best[better] = top[better]
        self.points[better] = x[where[better]]


def chunks(x: Tensor, size: int) -> Sequence[Tensor]:
    """Cut along the first axis into parts of no more than `size`."""
    return torch.tensor_split(x, tuple(range(size, len(x), size)))
