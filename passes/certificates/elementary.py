"""Methods that cost one pass: the difference by interval arithmetic, and the gap between two networks' intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf
from typing import ClassVar

import torch

from pathlift.passes.certificates.problem import Bound, Clock, Problem
from pathlift.passes.intervals.box import Box, gamma, up
from pathlift.passes.intervals.intervals import intervals

Tensor = torch.Tensor


class Differential:
    """Propagated differences with interval magnitudes: |δ'| ≤ |W_b||δ| + |W_b − W_a||z_a|, and the other way round."""

    name: ClassVar[str] = "differential"

    def search(self, problem: Problem, clock: Clock) -> Iterator[Bound]:
        """Yield the bound that interval arithmetic gives."""
        del clock
        yield self.check(problem, {})

    def check(self, problem: Problem, parameters: Mapping[str, Tensor]) -> Bound:
        """Return the bound that what is known gives."""
        del parameters
        return bound_of(self.name, [problem.triples[i].d for i in problem.outputs])


class Gap:
    """Intervals of either network on its own: how far apart their ends can be."""

    name: ClassVar[str] = "interval"

    def search(self, problem: Problem, clock: Clock) -> Iterator[Bound]:
        """Yield the bound."""
        del clock
        yield self.check(problem, {})

    def check(self, problem: Problem, parameters: Mapping[str, Tensor]) -> Bound:
        """Return the bound."""
        del parameters
        ours, theirs = (intervals(tape, problem.domain) for tape in (problem.first, problem.second))
        return bound_of(self.name, [theirs[i].minus(ours[i]) for i in problem.outputs])


def bound_of(method: str, differences: list[Box], parameters: Mapping[str, Tensor] | None = None) -> Bound:
    """Return the bound that boxes of the outputs' differences give, the sum being that of all elements."""
    sizes = [d.magnitude.reshape(-1) for d in differences]
    per_output = torch.cat(sizes) if sizes else torch.zeros(0, dtype=torch.float64)
    return Bound(method, per_output, total(per_output), dict(parameters or {}))


def total(sizes: Tensor) -> float:
    """Return an upper bound of the sum of non-negative numbers."""
    s = float(sizes.sum())
    return inf if s == inf or s != s else float(up(torch.tensor(s * (1 + gamma(sizes.numel())), dtype=torch.float64)))
