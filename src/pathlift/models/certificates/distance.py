"""The distance of two models on a domain: all methods, and the adversary, on every box."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

import torch

from pathlift.ir.errors import PathliftError, RuntimeFailureError, UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.types import TensorType
from pathlift.passes.attacks.differences import largest_difference
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.certificates.elementary import Differential, Gap, bound_of
from pathlift.passes.certificates.ellipsoid import Ellipsoid
from pathlift.passes.certificates.joint import Joint
from pathlift.passes.certificates.metric import Metric
from pathlift.passes.certificates.pairs import boxes, enclosed_difference, tapes
from pathlift.passes.certificates.problem import Bound, Method, Problem
from pathlift.passes.certificates.search import Outcome, Stage, Step, replay, search
from pathlift.passes.intervals.intervals import intervals
from pathlift.passes.pairing.pair import Pair, pair
from pathlift.passes.rewrites.strip_head import StripHead
from pathlift.passes.tape.record import record

if TYPE_CHECKING:
    from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor
ATTACK_SHARE = 0.25
"""Of the time, for the adversary."""
NOISE = 1e-9
"""What rounding may have made of outputs that were computed in float64, relative to them."""


@dataclass(frozen=True, eq=False)
class Attacked:
    """The largest difference that was found.

    Parameters
    ----------
    l1, linf
        At least so much: in exact arithmetic, or, where intervals of a point are too wide to tell, as computed in
        float64 less what rounding may have made of it (`NOISE`).
    witness
        By norm, where it is: ``(1, *shape)`` by input.
    """

    l1: float
    linf: float
    witness: Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True, eq=False)
class Measured:
    """One box: what is proved, and what was found.

    Parameters
    ----------
    domain
        The box.
    outcome
        What the methods say.
    attacked
        What the adversary found.
    """

    domain: Domain
    outcome: Outcome
    attacked: Attacked


@dataclass(eq=False)
class Comparison:
    """Two models, brought to one form where that is possible.

    Parameters
    ----------
    first, second
        The graphs, final activations left out.
    remarks
        What was done to them.
    pair
        Node by node; ``None`` where they have no common structure.
    apart
        Why not.
    """

    first: Graph
    second: Graph
    remarks: tuple[str, ...] = ()
    pair: Pair | None = None
    apart: str = ""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _recorded: dict[tuple[tuple[int, ...], ...], tuple[Tape, Tape]] = field(default_factory=dict)

    @classmethod
    def of(cls, a: Graph, b: Graph, device: torch.device | None = None) -> Comparison:
        """Strip final activations where both have them, and match the rest."""
        ours, theirs = StripHead().run(a), StripHead().run(b)
        heads = [len(getattr(s.witness, "heads", ())) for s in (ours, theirs)]
        remarks = []
        if heads[0] and heads[0] == heads[1]:
            a, b = ours.graph, theirs.graph
            remarks.append(f"models are compared before their ends: {ours.witness.describe()}")
        try:
            found, apart = pair(a, b), ""
            remarks.extend(found.remarks)
        except PathliftError as error:
            if error.code in ("PL1470",):
                raise
            found, apart = None, error.message
        return cls(a, b, tuple(remarks), found, apart, device or torch.device("cpu"))

    def problem(self, domain: Domain) -> Problem:
        """Return the pair on a box.

        Raises
        ------
        UnsupportedError
            If a node is made of something that certificates know nothing about.
        """
        assert self.pair is not None
        shapes = tuple(tuple(low.shape) for low in domain.low.values())
        if shapes not in self._recorded:
            self._recorded[shapes] = tapes(self.pair, domain, self.device)
        first, second = self._recorded[shapes]
        return Problem(first, second, boxes(self.first, domain))

    def stages(self) -> list[Stage]:
        """Return the methods in rising cost."""
        assert self.pair is not None
        return [
            Stage(Differential()), Stage(Gap()), Stage(Metric(self.pair.first, self.pair.second, self.pair.errors)),
            Stage(Joint(), 0.2), Stage(Ellipsoid(), 0.7), Stage(Joint(), 0.95),
        ]  # fmt: skip

    def methods(self) -> dict[str, Method]:
        """Return the methods by name."""
        return {stage.method.name: stage.method for stage in self.stages()} if self.pair is not None else {}

    def measure(
        self, domain: Domain, budget: float, seed: int, tell: Callable[[str, Bound], None] | None = None
    ) -> Measured:
        """Bound the difference on a box, and attack it.

        Raises
        ------
        RuntimeFailureError
            If the adversary beats a bound: a bug, and no user's fault.
        """
        began = monotonic()
        problem = self._problem_or_reason(domain)
        attacked = self._attack(domain, problem, budget * ATTACK_SHARE, seed)
        if isinstance(problem, str):
            outcome = self._gap(domain, problem)
        else:
            outcome = search(problem, self.stages(), budget - (monotonic() - began), tell)
        check(outcome, attacked)
        return Measured(domain, outcome, attacked)

    def again(self, domain: Domain, steps: Sequence[Step]) -> Outcome:
        """Prove a bound again."""
        problem = self._problem_or_reason(domain)
        if isinstance(problem, str):
            return self._gap(domain, problem)
        return replay(problem, self.methods(), steps)

    def _problem_or_reason(self, domain: Domain) -> Problem | str:
        """The pair on a box, or why there is none."""
        if self.pair is None:
            return self.apart
        try:
            return self.problem(domain)
        except UnsupportedError as refusal:
            return f"{refusal.code} {refusal.message}"

    def as_fed(self, measured: Measured, norm: str, tolerance: float) -> Mapping[str, Tensor]:
        """Return the input where most was found, in the types that the first network takes if it is one there, too."""
        point, domain = measured.attacked.witness[norm], measured.domain
        problem = self._problem_or_reason(domain)
        fed = {}
        for key in self.first.inputs:
            name, type_ = self.first[key].names[0], self.first[key].types[0]
            dtype = str(type_.dtype) if isinstance(type_, TensorType) else ""
            wanted = {"float32": torch.float32, "float16": torch.float16}.get(dtype, torch.float64)
            fed[name] = _inside(point[name], domain.low[name], domain.high[name], wanted)
        fed = {name: fed[name] for name in point}
        if isinstance(problem, str) or not domain.contains({name: x.double() for name, x in fed.items()}):
            return point
        return fed if _found(problem, fed, norm) > tolerance else point

    def _gap(self, domain: Domain, reason: str) -> Outcome:
        """What can be said of two networks that have nothing in common but inputs and outputs."""
        outcome = Outcome()
        outcome.refused = dict.fromkeys(("differential", "path_metric", "joint", "ellipsoid"), reason)
        try:
            ends = []
            for graph in (self.first, self.second):
                shapes = [tuple(low.shape) for low in domain.low.values()]
                names = [graph[key].names[0] for key in graph.inputs]
                tape = record(graph, dict(zip(names, shapes, strict=True)), self.device)
                known = intervals(tape, boxes(self.first, domain))
                ends.append([known[i] for i in tape.outputs.values()])
            outcome.keep(bound_of("interval", [y.minus(x) for x, y in zip(*ends, strict=True)]))
        except UnsupportedError as refusal:
            outcome.refused["interval"] = f"{refusal.code} {refusal.message}"
        return outcome

    def _attack(self, domain: Domain, problem: Problem | str, budget: float, seed: int) -> Attacked:
        found = largest_difference(self.first, self.second, domain, budget=budget, seed=seed)
        names = list(domain.low)
        norms, witness = {}, {}
        for norm, index in (("l1", -2), ("linf", -1)):
            point = {name: x[[index]] for name, x in found.inputs.items()}
            witness[norm] = point
            value = float(found.value[index])
            if isinstance(problem, Problem):  # what they do there, rounding left out
                value = _found(problem, {name: point[name] for name in names}, norm)
            norms[norm] = max(0.0, value)
        return Attacked(norms["l1"], norms["linf"], witness)


def _found(problem: Problem, point: Mapping[str, Tensor], norm: str) -> float:
    """What the difference is at least at a point: as intervals say, or float64, whichever has more to say."""
    sizes = enclosed_difference(problem, point)
    if not sizes.numel():
        return 0.0
    sure = float(sizes.sum()) * (1 - 2.0**-40) if norm == "l1" else float(sizes.max())
    ends = []
    for tape in (problem.first, problem.second):
        values = tape.run([x.double() for x in point.values()])
        ends.append(torch.cat([values[i].reshape(-1) for i in tape.outputs.values()]))
    seen = (ends[1] - ends[0]).abs() - NOISE * torch.maximum(*(y.abs() for y in ends))
    seen = seen.nan_to_num(0.0, 0.0, 0.0).clamp(min=0.0)
    return max(sure, float(seen.sum() if norm == "l1" else seen.max()))


def _inside(x: Tensor, low: Tensor, high: Tensor, dtype: torch.dtype) -> Tensor:
    """The nearest numbers of a type that are in a box, if it holds some there."""
    found = x.to(dtype)
    found = torch.where(found.double() < low, found.nextafter(torch.full_like(found, inf)), found)
    return torch.where(found.double() > high, found.nextafter(torch.full_like(found, -inf)), found)


def check(outcome: Outcome, attacked: Attacked) -> None:
    """Check that no bound is beaten.

    Raises
    ------
    RuntimeFailureError
        If one is.
    """
    for name, bound in outcome.bounds.items():
        for norm in ("l1", "linf"):
            found, proved = getattr(attacked, norm), getattr(bound, norm)
            if proved < inf and found > proved:
                message = f"the {norm} bound {proved!r} of method {name!r} is beaten by a difference of {found!r}"
                raise RuntimeFailureError("0940", message, hint="a bug: please report it with both files")
