"""Blame: what each layer's change does alone, to the bound and to the difference that is found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from pathlift.passes.certificates.elementary import Differential
from pathlift.passes.certificates.problem import Problem
from pathlift.passes.intervals.box import Box
from pathlift.passes.tape.affine import Affine
from pathlift.passes.tape.steps import Gate, Step
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor
POINTS = 16
"""Random inputs on which each layer's change is tried, besides those that the adversary found."""


@dataclass(frozen=True)
class Layer:
    """One layer's change.

    Parameters
    ----------
    node
        Label of the node.
    bound
        Of the l1 difference of the outputs, if nothing else is changed; by propagated differences.
    measured
        The largest l1 difference that was found so.
    """

    node: str
    bound: float
    measured: float


def blame(problem: Problem, points: Sequence[Sequence[Tensor]], seed: int = 0) -> Iterator[Layer]:
    """Yield what each layer's change does if the others are those of the first network.

    Parameters
    ----------
    problem
        Two networks on a domain.
    points
        Inputs, in the order of the tapes', on which much was found.
    seed
        Of the random inputs that are tried besides.
    """
    generator = torch.Generator().manual_seed(seed)
    tried = [*points, *(_drawn(problem.domain, generator) for _ in range(POINTS))]
    before = [problem.first.run(point) for point in tried]
    for node, places in _changed(problem.first, problem.second).items():
        steps = [
            theirs if i in places else ours
            for i, (ours, theirs) in enumerate(zip(problem.first.steps, problem.second.steps, strict=True))
        ]
        changed = replace(problem.first, steps=tuple(steps))
        alone = Problem(problem.first, changed, problem.domain)
        found = 0.0
        for point, values in zip(tried, before, strict=True):
            after = changed.run(point)
            found = max(found, sum(float((after[i] - values[i]).abs().sum()) for i in problem.outputs))
        yield Layer(node, Differential().check(alone, {}).l1, found)


def _changed(first: Tape, second: Tape) -> dict[str, set[int]]:
    """By node, the places of the steps that differ."""
    places: dict[str, set[int]] = {}
    for i, (ours, theirs) in enumerate(zip(first.steps, second.steps, strict=True)):
        if _differ(ours, theirs):
            places.setdefault(ours.node, set()).add(i)
    return places


def _differ(ours: Step, theirs: Step) -> bool:
    if isinstance(ours, Affine) and isinstance(theirs, Affine):
        return theirs.minus(ours) is not None
    if isinstance(ours, Gate) and isinstance(theirs, Gate):
        from pathlift.passes.intervals.elementwise import Curve

        return not Curve.of(ours).same(Curve.of(theirs))
    return False


def _drawn(domain: Sequence[Box], generator: torch.Generator) -> list[Tensor]:
    point = []
    for box in domain:
        share = torch.rand(box.low.shape, dtype=torch.float64, generator=generator).to(box.low)
        point.append((box.low + (box.high - box.low) * share).clamp(box.low, box.high))
    return point
