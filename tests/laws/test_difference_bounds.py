"""No difference of two networks is above any bound of any method; where it is attained, no bound is looser."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from pathlift.ir.builder import Builder
from pathlift.ir.errors import PathliftError, UnsupportedError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import TensorType, is_float
from pathlift.models.certificates.distance import Comparison
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.certificates.problem import Bound, Method, Problem
from pathlift.passes.sizes import resolve_inputs
from pathlift.testing.perturbations import CHANGES, perturbed, with_parameters
from pathlift.testing.samples import samples
from pathlift.testing.strategies import graphs

CheckLaw = Callable[..., None]
SEEDS = st.integers(0, 2**16)
POINTS, CLIMBS = 24, 3
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
    """What each method says, knowing what those before have learnt, without a search."""
    found = []
    for method in methods.values():
        try:
            found.append(method.check(problem, {}))
        except UnsupportedError:
            continue
    return found


def attacked(problem: Problem, domain: Domain, seed: int) -> torch.Tensor:
    """Differences of all outputs, ``(points, elements)``: at corners, elsewhere, and where gradients lead."""
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
    """No attack beats any bound of any method.

    Raises
    ------
    UnsupportedError
        If certificates know nothing about the networks.
    """
    comparison = Comparison.of(first, second)
    if comparison.pair is None:
        raise UnsupportedError("0345", comparison.apart)
    problem = comparison.problem(domain)
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


def fed_by_scales(graph: Graph, rng: np.random.Generator) -> Graph:
    """Return the graph with inputs scaled and shifted by parameters, so that networks differ before any of its ops."""
    b, new = Builder(), dict[Value, Value]()
    for key in graph.order:
        node = graph[key]
        if node.op == "Input":
            x = b.input_of(node.names[0], node.types[0])
            shape = b.type_of(x).shape[1:] if isinstance(b.type_of(x), TensorType) else ()
            w, c = rng.choice([-1.5, 0.5, 1.0, 2.0], shape), rng.choice([-0.5, 0.0, 0.25, 1.0], shape)
            new[Value(key)] = b.op("Add", b.op("Mul", x, b.param(w.astype(np.float32))), b.param(c.astype(np.float32)))
        elif node.value is not None:
            new[Value(key)] = b.param(node.value)
        else:
            operands = [None if v is None else new[v] for v in graph.inputs_of(key)]
            names = [f"{name}_" if name else "" for name in node.names]
            for i, v in enumerate(b.node(node.op, *operands, names=names, types=node.types, **node.attrs)):
                new[Value(key, i)] = v
    b.info = type(b.info)(functions=graph.info.functions, opsets=graph.info.opsets)
    return b.finish(*(new[v] for v in graph.outputs))


def check_op(name: str, change: str, positive: bool) -> bool:
    """Check a sample of an op, and say whether there was something to check."""
    seed = zlib.crc32(f"{name} {change} {positive}".encode())
    rng = np.random.default_rng(seed)
    try:
        first = fed_by_scales(samples()[name], rng)
        if positive:
            first = non_negative(first)
        second = perturbed(first, change, rng, share=1)
        domain = Domain.from_interval(resolve_inputs(first, {}), 0.0, 1.0) if positive else domain_of(first, seed)
        return assert_sound(first, second, domain, seed) is not None
    except PathliftError as refusal:  # what tapes know nothing about, or no batch of one
        if refusal.exit_code not in (2, 4):
            raise
        return False


OPS = sorted(samples())
FAST = [(name, CHANGES[i % len(CHANGES)], i % 2 == 0) for i, name in enumerate(OPS)][::4]


def test_no_attack_beats_a_bound_of_an_op() -> None:
    checked = [check_op(*case) for case in FAST]
    assert sum(checked) >= 0.7 * len(FAST)


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_no_attack_beats_a_bound_of_any_op(change: str) -> None:
    """Six changes of about a hundred networks, half of which have no negative weight and are attacked at a corner."""
    checked = [check_op(name, change, i % 2 == 0) for i, name in enumerate(OPS)]
    assert sum(checked) >= 84


def law(graph: Graph, change: str, seed: int) -> None:
    try:
        assert_sound(graph, perturbed(graph, change, np.random.default_rng(seed)), domain_of(graph, seed), seed)
    except UnsupportedError:
        return


def test_no_attack_beats_a_bound(check_law: CheckLaw) -> None:
    check_law(law, graphs(batch=1, capacity=12, max_nodes=5), st.sampled_from(CHANGES), SEEDS, examples=0.1)


def non_negative(graph: Graph) -> Graph:
    params = {k: graph[k].value for k in graph.params}
    return with_parameters(graph, {k: abs(p.numpy()) for k, p in params.items() if p is not None and is_float(p.dtype)})


DENSE: dict[str, Any] = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}


def monotone(seed: int, positive: bool = True) -> Graph:
    """Layers of all kinds that raise their outputs where inputs rise, if no weight is negative."""
    rng, b = np.random.default_rng(seed), Builder()

    def w(*shape: int) -> Value:
        values = rng.integers(1, 9, shape) / 8
        return b.param(values if positive else values * rng.choice([-1, 1], shape))

    x = b.input("x", (1, 1, 3, 3), "f64")
    x = b.op("Relu", b.op("Conv", x, w(2, 1, 2, 2), w(2), **DENSE))
    pool = {"kernel": (2, 1), "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    y = b.op("Add", x, b.op("LeakyRelu", b.op("Conv", x, w(2, 2, 1, 1), **DENSE), alpha=0.25))
    x = b.op("MaxPool", y, **pool)
    x = b.op("Relu", b.op("Gemm", b.op("Flatten", x), w(4, 3), w(3)))
    return b.finish(b.op("Gemm", x, w(3, 2), w(2)))


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(i, marks=pytest.mark.slow) for i in range(3, 20))])
@pytest.mark.parametrize("change", ["prune", "shrink"])
def test_bounds_of_monotone_networks_are_attained(seed: int, change: str) -> None:
    """At the upper corner of [0, 1], where no weight is negative and none grows."""
    first = monotone(seed)
    second = perturbed(first, change, np.random.default_rng(seed), share=1)
    domain = Domain.from_interval({"x": (1, 1, 3, 3)}, 0.0, 1.0)
    comparison = assert_sound(first, second, domain, seed)
    problem = comparison.problem(domain)
    corner = difference(problem, domain, domain.flat_high).abs()
    for name in ("differential", "path_metric", "joint"):
        bound = comparison.methods()[name].check(problem, {})
        assert bool((bound.per_output <= corner * (1 + CLIPPING)).all()), (name, bound.per_output, corner)
        assert bound.l1 <= float(corner.sum()) * (1 + CLIPPING), name


@pytest.mark.parametrize("seed", range(2))
def test_networks_of_both_signs(seed: int) -> None:
    first = monotone(seed, positive=False)
    for change in ("flip", "scale"):
        second = perturbed(first, change, np.random.default_rng(seed), share=1)
        assert_sound(first, second, Domain.from_interval({"x": (1, 1, 3, 3)}, -1.0, 1.0), seed)
