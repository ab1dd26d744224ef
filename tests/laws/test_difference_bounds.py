"""No difference of two networks is above any bound of any method; where it is attained, no bound is looser."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.types import is_float
from pathlift.models.distance import Comparison
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.certificates.problem import Bound, Method, Problem
from pathlift.passes.sizes import resolve_inputs
from pathlift.testing.perturbations import CHANGES, perturbed, with_parameters
from pathlift.testing.rescaling import in_float64
from pathlift.testing.strategies import graphs

CheckLaw = Callable[..., None]
SEEDS = st.integers(0, 2**16)
POINTS, CLIMBS = 40, 3
MONOTONE = ["Gemm", "Conv", "Relu", "Add", "AveragePool", "MaxPool", "Flatten", "Concat", "Identity", "LeakyRelu"]
"""Ops that raise no output where no weight is negative and an input falls, and that have exact path metrics."""
CLIPPING = 1e-9
"""How far, relatively, a bound may be above a difference that attains it."""

torch.set_num_threads(1)


def domain_of(graph: Graph, seed: int) -> Domain:
    """A box, a small one, a point in some directions, or the one from 0 to 1."""
    rng = np.random.default_rng(seed)
    shapes = resolve_inputs(graph, {})
    width = rng.choice([0.01, 0.3, 2.0])
    low = {n: torch.from_numpy(np.round(rng.normal(size=s), 2)) for n, s in shapes.items()}
    high = {n: x + width * torch.from_numpy(rng.integers(0, 3, x.shape) / 2) for n, x in low.items()}
    return Domain(low, high)


def bounds_of(problem: Problem, methods: dict[str, Method]) -> list[Bound]:
    """What each method says, alone and after the others, without a search."""
    found = []
    for method in methods.values():
        try:
            fresh = Problem(problem.first, problem.second, problem.domain)
            found.append(method.check(fresh, {}))
            found.append(method.check(problem, {}))
        except UnsupportedError:
            continue
    return found


def attacked(problem: Problem, domain: Domain, seed: int) -> torch.Tensor:
    """Differences of all outputs, ``(points, elements)``: at corners, elsewhere, and where gradients lead from there."""
    generator = torch.Generator().manual_seed(seed)
    low, high = domain.flat_low, domain.flat_high
    share = torch.rand(POINTS, low.shape[1], generator=generator, dtype=torch.float64)
    share[: POINTS // 2].round_()
    share[0], share[1] = 0.0, 1.0
    rows = []
    for i, x in enumerate(low + (high - low) * share):
        x = torch.minimum(torch.maximum(x[None], low), high)
        for climb in range(CLIMBS if i < 4 else 1):
            x = x.detach().requires_grad_()
            d = difference(problem, domain, x)
            rows.append(d.detach())
            if i < 4 and climb + 1 < CLIMBS and d.requires_grad and d.numel():
                (slope,) = torch.autograd.grad(d.abs().max(), x, allow_unused=True)
                x = torch.where((x if slope is None else slope) > 0, high, low)
    return torch.stack(rows)


def difference(problem: Problem, domain: Domain, x: torch.Tensor) -> torch.Tensor:
    point = [domain.unflat(x)[name] for name in domain.low]
    a, b = problem.first.run(point), problem.second.run(point)
    return torch.cat([(b[i] - a[i]).reshape(-1) for i in problem.outputs])


def rounding(problem: Problem) -> float:
    """What executing both networks in float64 rounds off, about."""
    sizes = [float(t.both.magnitude.nan_to_num(0.0, 0.0, 0.0).max()) for t in problem.triples if t.both.low.numel()]
    return 1e-13 * (1 + max(sizes, default=0.0))


def assert_sound(first: Graph, second: Graph, domain: Domain, seed: int) -> Comparison:
    """No attack beats any bound of any method."""
    comparison = Comparison.of(first, second)
    assume(comparison.pair is not None)
    try:
        problem = comparison.problem(domain)
    except UnsupportedError:
        assume(False)
    found = attacked(problem, domain, seed).abs().nan_to_num(0.0, 0.0, 0.0)
    slack = rounding(problem)
    bounds = bounds_of(problem, comparison.methods())
    for bound in bounds:
        beaten = found > bound.per_output * (1 + 1e-12) + slack
        assert not bool(beaten.any()), (bound.method, found.amax(0), bound.per_output)
        sums = float(found.sum(1).max())
        assert sums <= bound.l1 * (1 + 1e-12) + slack * found.shape[1], (bound.method, sums, bound.l1)
    assert bounds
    return comparison


def law(graph: Graph, change: str, seed: int) -> None:
    assert_sound(graph, perturbed(graph, change, np.random.default_rng(seed)), domain_of(graph, seed), seed)


def test_no_attack_beats_a_bound(check_law: CheckLaw) -> None:
    check_law(law, graphs(batch=1, capacity=16, max_nodes=6), st.sampled_from(CHANGES), SEEDS, examples=0.25)


def non_negative(graph: Graph) -> Graph:
    params = {k: graph[k].value for k in graph.params}
    return with_parameters(graph, {k: abs(p.numpy()) for k, p in params.items() if p is not None and is_float(p.dtype)})


def attained(graph: Graph, change: str, seed: int) -> None:
    """At the upper corner of [0, 1]: where no weight is negative, and none grows, that is the largest difference."""
    rng = np.random.default_rng(seed)
    first = non_negative(in_float64(graph))
    second = perturbed(first, change, rng)
    domain = Domain.from_interval(resolve_inputs(first, {}), 0.0, 1.0)
    comparison = assert_sound(first, second, domain, seed)
    problem = comparison.problem(domain)
    corner = difference(problem, domain, domain.flat_high).abs()
    for bound in (m.check(problem, {}) for name, m in comparison.methods().items() if name in ("differential", "joint", "path_metric")):
        slack = CLIPPING * (1 + float(corner.max()))
        assert bool((bound.per_output <= corner + slack).all()), (bound.method, bound.per_output, corner)
        assert bound.l1 <= float(corner.sum()) + slack * len(corner), bound.method


def test_bounds_of_monotone_networks_are_attained(check_law: CheckLaw) -> None:
    strategy = graphs(batch=1, ops=MONOTONE, capacity=16, max_nodes=6)
    check_law(attained, strategy, st.sampled_from(["prune", "shrink"]), SEEDS, examples=0.25)
