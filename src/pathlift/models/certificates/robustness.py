"""Robustness of samples: certificates that no input near by has another class, and adversarial examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import torch

from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.errors import RuntimeFailureError, UnsupportedError, UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.models.certificates.enclosed import enclosed, tape_of
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.attacks.misclassification import misclassifications
from pathlift.passes.certificates.problem import Clock, Problem
from pathlift.passes.intervals.box import Box, down
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor
ATTACK_SHARE = 0.5
"""Of the time, for the adversary."""


@dataclass(eq=False)
class Sample:
    """What is known of one sample.

    Parameters
    ----------
    label
        The class that it is to have.
    own
        The class that the network gives it.
    margin
        The best lower bound of the label's score less any other over the ball; -∞ if none is finite.
    method
        Whose that is.
    adversary
        An input of the ball with another class, ``(1, *shape)`` by name; ``None`` if none was found.
    reason
        Why a method has no bound.
    """

    label: int
    own: int
    margin: float = -inf
    method: str = ""
    adversary: Mapping[str, Tensor] | None = None
    reason: str = ""

    @property
    def verdict(self) -> str:
        """``certified``, ``refuted`` or ``unknown``."""
        return "certified" if self.margin > 0 else "refuted" if self.adversary is not None else "unknown"

    def learn(self, margin: float, method: str) -> None:
        """Take a lower bound in."""
        if margin > self.margin:
            self.margin, self.method = margin, method


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network of one output, whose elements are the scores of classes.

    Parameters
    ----------
    graph
        The network, without a final activation.
    """

    graph: Graph

    def labels(self, domains: Sequence[Domain], samples: Mapping[str, Tensor], given: Array | None) -> list[Sample]:
        """Return the samples with their classes.

        Raises
        ------
        UsageError
            If the network is no classifier of samples, or a label is no class.
        """
        names = list(samples)
        found = []
        for i in range(len(domains)):
            feeds = {name: samples[name][i : i + 1] for name in names}
            outputs = list(run(self.graph, Numeric(), feeds).values())
            if len(outputs) != 1 or outputs[0].shape[:1] != (1,) or outputs[0].numel() < 2:
                shapes = [list(y.shape) for y in outputs]
                raise UsageError("1472", f"a classifier has one output, of scores, for one sample: {shapes}")
            scores = outputs[0].reshape(-1)
            own = int(scores.argmax())
            label = own if given is None else int(given[i])
            if not 0 <= label < len(scores):
                raise UsageError("1472", f"label {label} of sample {i} is none of the {len(scores)} classes")
            found.append(Sample(label, own))
        return found

    def judge(
        self, domains: Sequence[Domain], samples: Mapping[str, Tensor], radius: float, given: Array | None,
        limits: Domain | None, budget: float, seed: int,
    ) -> list[Sample]:  # fmt: skip
        """Certify what can be, and look for adversarial examples, each in a share of the time.

        Raises
        ------
        UsageError
            If there is nothing to judge.
        RuntimeFailureError
            If an adversarial example is found where there is none by a certificate.
        """
        end = Clock.of(budget)
        judged = self.labels(domains, samples, given)
        tape: Tape | None = None
        refusal = ""
        try:
            tape = tape_of(self.graph, domains[0])
        except UnsupportedError as error:
            refusal = f"{error.code} {error.message}"
        for sample in judged:
            sample.reason = refusal
        problems: dict[int, Problem] = {}
        for i, (sample, domain) in enumerate(zip(judged, domains, strict=True)):
            if tape is not None:
                problem = enclosed(self.graph, tape, domain)
                sample.learn(by_intervals(problem, sample.label), "interval")
                if sample.margin <= 0 and sample.own == sample.label:
                    problems[i] = problem
        for done, (i, problem) in enumerate(problems.items()):
            left = end.left - ATTACK_SHARE * budget
            if left > 0:
                _relaxed(judged[i], problem, Clock.of(left / (len(problems) - done)))
            else:
                judged[i].reason = "no time was left for relaxations; a larger --budget may help"
        self._attack(judged, samples, radius, limits, end, seed, tape)
        return judged

    def _attack(
        self, judged: Sequence[Sample], samples: Mapping[str, Tensor], radius: float, limits: Domain | None,
        end: Clock, seed: int, tape: Tape | None,
    ) -> None:  # fmt: skip
        labels = torch.tensor([sample.label for sample in judged])
        found = misclassifications(
            self.graph, samples, radius, budget=max(0.0, end.left), labels=labels, limits=limits, seed=seed
        )
        for i, (sample, adversary) in enumerate(zip(judged, found, strict=True)):
            if adversary is None or (tape is not None and not _differs(self.graph, tape, adversary, sample.label)):
                continue  # within rounding, the classes are level there
            if sample.margin > 0:
                message = f"sample {i}, certified by method {sample.method!r}, has an adversarial example"
                raise RuntimeFailureError(
                    "0941", message, hint="a bug: please report it with the model and the samples"
                )
            sample.adversary = adversary


def by_intervals(problem: Problem, label: int) -> float:
    """Bound the label's score less any other from below, by what is known of each."""
    (value,) = problem.outputs
    scores = problem.triples[value].a
    low, high = scores.low.reshape(-1), scores.high.reshape(-1)
    others = torch.cat([high[:label], high[label + 1 :]])
    return float(down(low[label] - others.max()).nan_to_num(-inf))


def _relaxed(sample: Sample, problem: Problem, clock: Clock) -> None:
    from pathlift.passes.certificates.joint import lower_bounds

    try:
        (value,) = problem.outputs
        rows = {value: margin_rows(problem.triples[value].a, sample.label)}
        margins = lower_bounds(problem, rows, clock, enough=0.0)
        sample.learn(float(margins.min()), "relaxation")
    except UnsupportedError as refusal:
        sample.reason = f"{refusal.code} {refusal.message}"


def margin_rows(scores: Box, label: int) -> Tensor:
    """Return e_label - e_j for all other classes j, ``(classes - 1, *shape)``."""
    count = scores.low.numel()
    rows = -torch.eye(count, dtype=torch.float64)
    rows[:, label] += 1
    return rows[torch.arange(count) != label].reshape(-1, *scores.low.shape)


def _differs(graph: Graph, tape: Tape, point: Mapping[str, Tensor], label: int) -> bool:
    """Whether some other class has a larger score than the label at a point, beyond rounding."""
    names = [graph[key].names[0] for key in graph.inputs]
    at = Domain({n: point[n].double() for n in names}, {n: point[n].double() for n in names})
    (value,) = tape.outputs.values()
    scores = enclosed(graph, tape, at).triples[value].a
    low, high = scores.low.reshape(-1), scores.high.reshape(-1)
    return bool((low > high[label]).any())


def witnesses(judged: Sequence[Sample]) -> dict[str, Array]:
    """Return the adversarial examples as arrays by input, and which sample each is of."""
    found = [(i, sample.adversary) for i, sample in enumerate(judged) if sample.adversary is not None]
    names = list(found[0][1]) if found else []
    arrays = {name: np.concatenate([adversary[name].numpy() for _, adversary in found]) for name in names}
    return {**arrays, "sample": np.array([i for i, _ in found], np.int64)}
