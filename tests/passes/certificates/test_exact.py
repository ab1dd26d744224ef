"""Certificates and the adversary against the truth: the largest differences of tiny networks, by branch and bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint, milp

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph
from pathlift.passes.attacks.differences import largest_difference
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.certificates.elementary import Differential, Gap
from pathlift.passes.certificates.ellipsoid import Ellipsoid
from pathlift.passes.certificates.joint import Joint
from pathlift.passes.certificates.metric import Metric
from pathlift.passes.certificates.problem import Bound, Clock, Method, Problem
from pathlift.passes.intervals.box import Box
from pathlift.passes.tape.record import record
from pathlift.testing.perturbations import perturbed

torch.set_num_threads(1)
Array = np.ndarray[Any, np.dtype[np.float64]]
Layers = list[tuple[Array, Array]]
SIGNS = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
"""Either output's magnitude is the larger of two functionals, the sum of both the largest of four."""
CHANGES = ("round", "prune", "flip")
CLOSE = 1e-7
SOLVED = 1e-6
"""How far the solver may be off: it takes a neuron for on that is so but for a millionth."""
REACHED = 0.99
"""Of the truth, by an adversary that takes few steps."""


def network(rng: np.random.Generator) -> Graph:
    """Two or three inputs, two hidden layers of ReLUs, two outputs."""
    widths = [int(rng.integers(2, 4)), int(rng.integers(3, 5)), int(rng.integers(3, 5)), 2]
    b = Builder()
    x = b.input("x", (1, widths[0]), "f64")
    for k, (n, m) in enumerate(pairwise(widths)):
        x = b.op("Relu", x) if k else x
        x = b.op("Gemm", x, b.param(rng.normal(size=(n, m))), b.param(0.5 * rng.normal(size=m)))
    return b.finish(x)


def layers(graph: Graph) -> Layers:
    """Weights ``(in, out)`` and biases, read off the graph's parameters."""
    params = [graph[key].value for key in graph.params]
    values = [p.numpy().astype(np.float64) for p in params if p is not None]
    return list(zip(values[::2], values[1::2], strict=True))


def run(net: Layers, x: Array) -> Array:
    for w, c in net[:-1]:
        x = np.maximum(x @ w + c, 0.0)
    return x @ net[-1][0] + net[-1][1]


class Encoding:
    """Two networks on a box as a mixed-integer linear program.

    A neuron y = max(x, 0) of −l ≤ x ≤ h is y ≥ x, y ≤ x + l(1 − on), 0 ≤ y ≤ h·on with `on` 0 or 1.
    """

    def __init__(self, nets: Sequence[Layers], low: Array, high: Array) -> None:
        self.low, self.high, self.whole = list(low), list(high), [0] * len(low)
        self.rows: list[dict[int, float]] = []
        self.limits: list[tuple[float, float]] = []
        self.inputs, self.nets = len(low), nets
        self.outputs = [self._network(net) for net in nets]

    def _column(self, low: float, high: float, whole: int = 0) -> int:
        self.low.append(low)
        self.high.append(high)
        self.whole.append(whole)
        return len(self.low) - 1

    def _row(self, row: dict[int, float], low: float, high: float) -> None:
        self.rows.append(row)
        self.limits.append((low, high))

    def _network(self, net: Layers) -> list[int]:
        xs = list(range(self.inputs))
        for k, (w, c) in enumerate(net):
            xs = [self._gate(x) for x in xs] if k else xs
            xs = [self._sum(xs, w[:, j], c[j]) for j in range(len(c))]
        return xs

    def _sum(self, xs: list[int], w: Array, c: float) -> int:
        low = c + sum(min(v * self.low[x], v * self.high[x]) for v, x in zip(w, xs, strict=True))
        high = c + sum(max(v * self.low[x], v * self.high[x]) for v, x in zip(w, xs, strict=True))
        y = self._column(low - 1e-9, high + 1e-9)
        self._row({y: -1.0, **dict(zip(xs, w, strict=True))}, -c, -c)
        return y

    def _gate(self, x: int) -> int:
        low, high = min(self.low[x], 0.0), max(self.high[x], 0.0)
        y, on = self._column(0.0, high), self._column(0.0, 1.0, 1)
        self._row({y: 1.0, x: -1.0}, 0.0, np.inf)
        self._row({y: 1.0, x: -1.0, on: -low}, -np.inf, -low)
        self._row({y: 1.0, on: -high}, -np.inf, 0.0)
        return y

    @cached_property
    def constraint(self) -> LinearConstraint:
        a = np.zeros((len(self.rows), len(self.low)))
        for i, row in enumerate(self.rows):
            a[i, list(row)] = list(row.values())
        return LinearConstraint(a, *np.array(self.limits).T)

    def largest(self, s: Array) -> tuple[float, float]:
        """The maximum of s·(second − first): what is attained somewhere, and what is shown to be the most."""
        c = np.zeros(len(self.low))
        c[self.outputs[0]], c[self.outputs[1]] = s, -s
        found = milp(
            c, constraints=self.constraint, bounds=Bounds(self.low, self.high), integrality=self.whole,
            options={"mip_rel_gap": 0.0},
        )  # fmt: skip
        assert found.status == 0
        x = np.clip(found.x[: self.inputs], self.low[: self.inputs], self.high[: self.inputs])
        first, second = (run(net, x) for net in self.nets)
        attained, most = float(s @ (second - first)), -float(found.mip_dual_bound)
        assert most == pytest.approx(attained, abs=SOLVED, rel=SOLVED)
        return attained, max(attained, most)


@dataclass(frozen=True)
class Case:
    """Two networks on a box, and how large the functionals become: ``(8, 2)``, attained and at the most."""

    first: Graph
    second: Graph
    domain: Domain
    values: Array

    @property
    def per_output(self) -> Array:
        """Each output's largest difference, ``(2, 2)``."""
        return np.maximum(self.values[0:4:2], self.values[1:4:2])

    @property
    def l1(self) -> tuple[float, float]:
        """The largest sum of both."""
        return float(self.values[4:, 0].max()), float(self.values[4:, 1].max())

    def problem(self) -> Problem:
        ours, theirs = (record(g, {"x": tuple(self.domain.low["x"].shape)}) for g in (self.first, self.second))
        return Problem(ours, theirs, [Box(self.domain.low["x"], self.domain.high["x"])])

    def check(self, bound: Bound) -> None:
        assert (bound.per_output.numpy() >= self.per_output[:, 0] - CLOSE).all(), bound.method
        assert bound.linf >= self.per_output[:, 0].max() - CLOSE, bound.method
        assert bound.l1 >= self.l1[0] - CLOSE, bound.method


@cache
def case(seed: int, change: str) -> Case:
    rng = np.random.default_rng([seed, CHANGES.index(change)])
    first = network(rng)
    second = perturbed(first, change, rng, share=1.0)
    nets = layers(first), layers(second)
    centre, radius = rng.normal(size=(1, len(nets[0][0][0]))), rng.choice([0.3, 1.0])
    low, high = centre - radius, centre + radius
    encoding = Encoding(nets, low[0], high[0])
    values = np.array([encoding.largest(s) for s in SIGNS])
    return Case(first, second, Domain({"x": torch.from_numpy(low)}, {"x": torch.from_numpy(high)}), values)


FAST = [(0, "round"), (1, "prune"), (2, "flip"), (3, "round"), (4, "prune"), (5, "flip")]
SLOW = [(seed, change) for seed in range(6) for change in CHANGES if (seed, change) not in FAST]
cases = pytest.mark.parametrize(("seed", "change"), [*FAST, *(pytest.param(*c, marks=pytest.mark.slow) for c in SLOW)])


@cases
def test_no_bound_is_below_the_truth(seed: int, change: str) -> None:
    """Every method alone, and those that others feed."""
    tried = case(seed, change)
    alone: list[Method] = [Differential(), Gap(), Metric(tried.first, tried.second), Joint(), Ellipsoid()]
    for method in alone:
        tried.check(method.check(tried.problem(), {}))
    problem = tried.problem()
    fed: list[Method] = [Ellipsoid(rounds=0), Joint(), Differential()]
    for method in fed:
        tried.check(method.check(problem, {}))


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "change"), FAST)
def test_no_search_ends_below_the_truth(seed: int, change: str) -> None:
    tried = case(seed, change)
    problem = tried.problem()
    for method in (Joint(), Ellipsoid(), Joint()):
        for bound in method.search(problem, Clock.of(1.0)):
            tried.check(bound)


@cases
def test_the_adversary_reaches_the_truth(seed: int, change: str) -> None:
    tried = case(seed, change)
    found = largest_difference(tried.first, tried.second, tried.domain, budget=60.0, restarts=8, steps=10, rounds=1)
    assert (found.per_element.numpy() <= tried.per_output[:, 1] + CLOSE).all()
    assert found.linf <= tried.per_output[:, 1].max() + CLOSE
    assert found.l1 <= tried.l1[1] + CLOSE
    assert found.linf >= REACHED * tried.per_output[:, 0].max()
    assert found.l1 >= REACHED * tried.l1[0]


def test_relaxations_are_near_the_truth() -> None:
    ratios = []
    for tried in (case(*c) for c in FAST):
        bound = Joint().check(tried.problem(), {})
        ratios.append((bound.linf / tried.per_output[:, 0].max(), bound.l1 / tried.l1[0]))
    assert (np.median(ratios, 0) < 1.2).all()
