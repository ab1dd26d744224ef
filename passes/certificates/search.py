"""The search for the smallest bound: methods in rising cost, each with a share of the time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from time import monotonic

import torch

from pathlift.ir.errors import InvalidModelError, UnsupportedError
from pathlift.passes.certificates.problem import Bound, Clock, Method, Problem

Tensor = torch.Tensor
Tell = Callable[[str, Bound], None]
"""Told of every bound that is found, and by which stage."""


@dataclass(frozen=True)
class Stage:
    """A method, and the share that it may take of the time left."""

    method: Method
    share: float = 1.0


@dataclass(frozen=True, eq=False)
class Step:
    """One check: replayed in order, they prove the bounds again."""

    method: str
    parameters: Mapping[str, Tensor]


@dataclass(eq=False)
class Outcome:
    """What the methods found.

    Parameters
    ----------
    bounds
        The best of each method.
    refused
        Why a method has no bound, by method.
    steps
        What to replay.
    seconds
        What each method took.
    interrupted
        Whether the user stopped it.
    """

    bounds: dict[str, Bound] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    interrupted: bool = False

    def keep(self, bound: Bound) -> None:
        """Take a bound in: of each method, elementwise the smallest of its bounds."""
        known = self.bounds.get(bound.method)
        if known is not None:
            bound = Bound(
                bound.method,
                torch.minimum(known.per_output, bound.per_output),
                min(known.l1, bound.l1),
                bound.parameters,
            )
        self.bounds[bound.method] = bound

    @property
    def per_output(self) -> Tensor:
        """The smallest bound of each element, by whatever method."""
        return torch.stack([b.per_output for b in self.bounds.values()]).amin(0)

    @property
    def linf(self) -> float:
        """The bound of the largest element."""
        sizes = self.per_output
        return float(sizes.max()) if sizes.numel() else 0.0

    @property
    def l1(self) -> float:
        """The bound of the sum."""
        from pathlift.passes.certificates.elementary import total

        return min([total(self.per_output), *(b.l1 for b in self.bounds.values())])

    def best(self, norm: str) -> str:
        """The method whose bound is the smallest."""
        return min(self.bounds, key=lambda name: getattr(self.bounds[name], norm), default="")


def search(problem: Problem, stages: Sequence[Stage], budget: float, tell: Tell | None = None) -> Outcome:
    """Run methods one after the other; each finds what the ones before have learnt.

    Parameters
    ----------
    problem
        What to bound; its triples are tightened.
    stages
        In rising cost. Those that cost one pass run whatever the time; the others as long as there is some.
    budget
        Seconds.
    tell
        Told of every bound.

    Returns
    -------
    Outcome
        Whatever was found, also when the user interrupts it.
    """
    outcome, end = Outcome(), Clock.of(budget)
    for stage in stages:
        name, began = stage.method.name, monotonic()
        if stage.share < 1.0 and end.left <= 0:
            outcome.refused.setdefault(name, "no time was left; a larger --budget may help")
            continue
        try:
            _run(outcome, problem, stage.method, Clock.of(max(0.0, end.left) * stage.share), tell)
        except UnsupportedError as refusal:
            if name not in outcome.bounds:
                outcome.refused[name] = f"{refusal.code} {refusal.message}"
        except KeyboardInterrupt:
            if not outcome.bounds:
                raise
            outcome.interrupted = True
            break
        finally:
            outcome.seconds[name] = outcome.seconds.get(name, 0.0) + monotonic() - began
    for name in outcome.bounds:
        outcome.refused.pop(name, None)
    return outcome


def _run(outcome: Outcome, problem: Problem, method: Method, clock: Clock, tell: Tell | None) -> None:
    last: Bound | None = None
    try:
        for bound in method.search(problem, clock):
            last = bound
            outcome.keep(bound)
            if tell is not None:
                tell(method.name, bound)
    except KeyboardInterrupt:
        if last is not None:  # what was found holds; its check makes the steps complete
            outcome.keep(method.check(problem, last.parameters))
            outcome.steps.append(Step(method.name, last.parameters))
        raise
    if last is not None:
        outcome.steps.append(Step(method.name, last.parameters))


def replay(problem: Problem, methods: Mapping[str, Method], steps: Sequence[Step]) -> Outcome:
    """Prove bounds again by the checks that they rest on.

    Raises
    ------
    InvalidModelError
        If a step names no method, or its parameters do not fit.
    """
    outcome = Outcome()
    for step in steps:
        if step.method not in methods:
            raise InvalidModelError("0191", f"there is no method {step.method!r}", hint=", ".join(methods))
        try:
            outcome.keep(methods[step.method].check(problem, step.parameters))
        except (RuntimeError, IndexError, KeyError, TypeError, ValueError) as error:
            reason = f"parameters of a step {step.method!r} are not what it takes: {error}"
            raise InvalidModelError("0192", reason) from error
        outcome.steps.append(step)
    return outcome


def is_vacuous(bound: float) -> bool:
    """Whether a bound says nothing."""
    return not bound < inf
