"""Lipschitz constants of a model by every method that has one, and the steepest slope that an adversary finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf, log10, nextafter, prod
from time import monotonic
from typing import Literal

import torch

from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.shape import Shape
from pathlift.ir.errors import ExecutionError, RuntimeFailureError, UnsupportedError, UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.types import TensorType
from pathlift.models.certificates.enclosed import enclosed, tape_of, tighten
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.attacks.slopes import largest_slopes
from pathlift.passes.certificates.problem import Clock, Problem
from pathlift.passes.generalization.operator_norms import NormName
from pathlift.passes.generalization.product import norm_product
from pathlift.passes.generalization.rademacher import value
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.intervals import intervals
from pathlift.passes.intervals.lipschitz import box_constant
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.sizes import Extents
from pathlift.passes.tape.record import record
from pathlift.passes.tape.tape import Tape

Norm = Literal["linf", "l1", "l2"]
METHODS = ("path_norm", "operator_norms", "interval", "relaxation", "ellipsoid")
ATTACK_SHARE, TIGHTEN_SHARE, RELAXED_SHARE = 0.25, 0.3, 0.4
"""Of the time, for the adversary; of what is left then, for intervals by linear relaxations; for Jacobians by them."""
SPEED = 1e7
"""Numbers in a second, at the least, that relaxations of Jacobians are expected to compute."""
REACH = (1.0, 100.0)
"""Half the widths of the boxes around 0 in which slopes are looked for where no domain is given."""
TOLERATED = 1e-9
"""How far, relatively, a slope that was found may be above the truth by rounding."""


@dataclass(frozen=True)
class Constant:
    """An upper bound of a Lipschitz constant.

    Parameters
    ----------
    log10
        Its decimal logarithm, rounded up; -∞ for 0.
    value
        The bound, rounded up; ``None`` where float64 cannot hold it.
    """

    log10: float
    value: float | None

    @classmethod
    def of_log10(cls, log: float | None) -> Constant:
        """The constant with this logarithm, ``None`` standing for 0."""
        return cls(-inf, 0.0) if log is None else cls(log, value(log))

    @classmethod
    def of_value(cls, number: float) -> Constant:
        """The constant of this value, perhaps infinite."""
        return cls(_up(log10(number)) if number > 0 else -inf, number if number < inf else None)


@dataclass(eq=False)
class Figures:
    """What is known of a network on one box, or everywhere.

    Parameters
    ----------
    bounds
        By method.
    refused
        Why a method has none.
    seconds
        What each method took.
    found
        The steepest slope that was found; ``None`` where none could be looked for.
    silent
        Why not.
    """

    bounds: dict[str, Constant] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    found: float | None = None
    silent: str = ""

    @property
    def best(self) -> str:
        """The method whose bound is the smallest; empty if there is none."""
        return min(self.bounds, key=lambda name: self.bounds[name].log10, default="")

    def attempt(self, method: str, bound: Callable[[], Constant]) -> None:
        """Keep what a method says, or why it says nothing."""
        began = monotonic()
        try:
            found = bound()
            if found.log10 < inf:
                self.bounds[method] = found
            else:
                self.refused[method] = "what it finds is more than float64 can hold"
        except UnsupportedError as refusal:
            self.refused[method] = f"{refusal.code} {refusal.message}"
        self.seconds[method] = monotonic() - began

    def check(self) -> None:
        """Check that no bound is beaten by a slope that was found.

        Raises
        ------
        RuntimeFailureError
            If one is.
        """
        for name, bound in self.bounds.items():
            if self.found is not None and bound.value is not None and self.found > bound.value * (1 + TOLERATED):
                message = f"the bound {bound.value!r} of method {name!r} is beaten by a slope of {self.found!r}"
                raise RuntimeFailureError("0941", message, hint="a bug: please report it with the model")


@dataclass(frozen=True, eq=False)
class Lipschitz:
    """A network whose Lipschitz constant is asked for.

    Parameters
    ----------
    graph
        The network, without a final activation.
    inputs
        Shapes by name; all inputs are one vector, and all outputs.
    norm
        ``linf``: ‖Δf‖_∞ by ‖Δx‖_∞; ``l1``: ‖Δf‖₁ by ‖Δx‖_∞; ``l2``: ‖Δf‖₂ by ‖Δx‖₂.
    shape
        Extents by symbol, from which the inputs' shapes are.
    memory_limit
        In bytes.
    """

    graph: Graph
    inputs: Mapping[str, Extents]
    norm: Norm
    shape: tuple[tuple[str, int], ...]
    memory_limit: int

    def everywhere(self) -> Figures:
        """Bound it by the methods that know no domain."""
        figures = Figures()
        if self.norm == "l2":
            figures.refused["path_norm"] = "paths bound what inputs do in the maximum norm: norm linf, or l1"
        else:
            figures.attempt("path_norm", self._by_paths)
        figures.attempt("operator_norms", self._by_layers)
        return figures

    def on(self, domain: Domain | None, budget: float, seed: int) -> Figures:
        """Bound it on a box, or on all of ℝⁿ, by the methods that look at a domain, and look for steep slopes there."""
        end, figures = Clock.of(budget), Figures()
        self._attack(figures, domain, ATTACK_SHARE * budget, seed)
        try:
            tape, known = self._known(domain, Clock.of(TIGHTEN_SHARE * end.left))
        except UnsupportedError as refusal:
            figures.refused |= dict.fromkeys(METHODS[2:], f"{refusal.code} {refusal.message}")
            return figures
        boxes = [t.a for t in known.triples] if isinstance(known, Problem) else known
        figures.attempt("interval", lambda: Constant.of_value(box_constant(tape, boxes, self.norm)))
        clock = Clock.of(RELAXED_SHARE * end.left)
        figures.attempt(
            "relaxation",
            lambda: Constant.of_value(
                box_constant(tape, boxes, self.norm, lambda numbers: numbers < SPEED * clock.left)
            ),
        )
        problem = known if isinstance(known, Problem) else None
        figures.attempt("ellipsoid", lambda: self._by_ellipsoids(tape, problem, end))
        return figures

    def _known(self, domain: Domain | None, clock: Clock) -> tuple[Tape, Problem | list[Box]]:
        if domain is None:
            tape = record(self.graph, dict(self.inputs))
            shapes = list(tape.inputs.values())
            ends = [[torch.full(s, x, dtype=torch.float64) for s in shapes] for x in (-inf, inf)]
            return tape, intervals(tape, [Box(low, high) for low, high in zip(*ends, strict=True)])
        tape = tape_of(self.graph, domain)
        problem = enclosed(self.graph, tape, domain)
        tighten(problem, clock)
        return tape, problem

    def _by_paths(self) -> Constant:
        return Constant.of_log10(path_constant(self.graph, self.norm, self.shape, self.memory_limit))

    def _by_layers(self) -> Constant:
        """The smaller of the products from ℓ_∞ to ℓ_∞ and from ℓ₂ to ℓ₂, as far as those norms bound the one asked for.

        ‖y‖₁ ≤ m·‖y‖_∞, ‖y‖₁ ≤ √m·‖y‖₂ and ‖y‖₂ ≤ √m·‖y‖_∞ for m elements; ‖x‖₂ ≤ √n·‖x‖_∞.
        """
        n, m = (log10(max(1, size)) for size in self._sizes())
        between = {
            ("linf", "linf"): 0.0, ("l2", "linf"): n / 2, ("linf", "l1"): m, ("l2", "l1"): m / 2 + n / 2,
            ("linf", "l2"): m / 2, ("l2", "l2"): 0.0,
        }  # fmt: skip
        found: list[float] = []
        refusal: UnsupportedError | None = None
        names: tuple[NormName, ...] = ("linf", "l2")
        for own in names:
            try:
                log = norm_product(self.graph, self.inputs, own).log10
            except UnsupportedError as error:
                refusal = error
                continue
            factor = between[own, self.norm]
            found.append(-inf if log is None else _up(log + factor) if factor else log)
        if not found:
            assert refusal is not None
            raise refusal
        return Constant.of_log10(None if min(found) == -inf else min(found))

    def _sizes(self) -> tuple[int, int]:
        """The numbers of elements of all inputs, and of all outputs."""
        types = {}
        for key in self.graph.inputs:
            type_ = self.graph[key].types[0]
            name = self.graph[key].names[0]
            types[name] = TensorType(type_.dtype, self.inputs[name]) if isinstance(type_, TensorType) else type_
        results = run(self.graph, Shape(), types)
        ends = [results[self.graph.name_of(v)] for v in self.graph.outputs]
        shapes = [[d for d in t.shape or () if isinstance(d, int)] for t in ends if isinstance(t, TensorType)]
        return sum(prod(s) for s in self.inputs.values()), sum(map(prod, shapes))

    def _by_ellipsoids(self, tape: Tape, problem: Problem | None, clock: Clock) -> Constant:
        from pathlift.passes.ellipsoids.lipschitz import lipschitz

        triples = None if problem is None else problem.triples
        found = lipschitz(tape, triples, "l2" if self.norm == "l2" else "linf", lambda: clock.left)
        if self.norm == "linf":
            return Constant.of_value(float(found.per_output.max()) if found.per_output.numel() else 0.0)
        return Constant.of_value(found.l1 if self.norm == "l1" else found.l2)

    def _attack(self, figures: Figures, domain: Domain | None, budget: float, seed: int) -> None:
        places = [Domain.from_interval(self.inputs, -r, r) for r in REACH] if domain is None else [domain]
        try:
            for place in places:
                found = largest_slopes(self.graph, place, budget=budget / len(places), seed=seed)
                slopes = {"linf": found.per_output, "l1": (found.inf_to_one,), "l2": (found.spectral,)}[self.norm]
                steepest = max((s.value for s in slopes), default=0.0)
                figures.found = max(figures.found or 0.0, steepest)
        except (UsageError, ExecutionError) as error:
            figures.silent = f"no slope was looked for: {error.message}"


def path_constant(graph: Graph, norm: Norm, shape: tuple[tuple[str, int], ...], memory_limit: int) -> float | None:
    """Bound a Lipschitz constant by paths, with pools as maxima and without those that start at biases.

    From ℓ_∞ to ℓ_∞ (``linf``) it is the largest path-norm of an output, from ℓ_∞ to ℓ₁ (``l1``) the sum of all.

    Returns
    -------
    float or None
        The decimal logarithm, rounded up; ``None`` for 0.

    Raises
    ------
    UnsupportedError
        If a node has no exact rule, or jumps: path-norms read quantizers as the identity.

    References
    ----------
    Gonon, Brisebarre, Riccietti, Gribonval, "A path-norm toolkit for modern networks", arXiv 2310.01225.
    """
    for node in (graph[key] for key in graph.order if key in graph.live):
        if node.op == "FakeQuantize":
            reason = "its slopes are not bounded there, which leaves no Lipschitz constant"
            raise UnsupportedError("1395", reason, node=node.label, op=node.op)
    mixed = inf if norm == "linf" else None
    wanted = PathNorm(mixed=mixed, inputs_only=True, pooling="max", shape=shape, memory_limit=memory_limit)
    (found,) = wanted.run(graph).norms
    return found.upper_log10


def _up(x: float) -> float:
    return nextafter(x + 1e-15 * (1 + abs(x)), inf)
