"""The path metric is above the distance of two networks, equals what enumerating paths gives, and is attained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import strategies as st

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.passes.path_metric.path_metric import PathMetric, path_metric
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.rewrites.strip_head import StripHead
from pathlift.testing import execute, oracle, random_rescale
from pathlift.testing.perturbations import CHANGES, perturbed, with_parameters
from pathlift.testing.strategies import feeds, graphs

CheckLaw = Callable[..., None]
LIMIT = 5_000
EDGES = ["Gemm", "Conv", "Relu", "LeakyRelu", "Add", "AveragePool", "MaxPool", "Flatten", "Concat", "Mul", "Identity"]
"""Ops whose parameters are edges and biases as they are."""
SEEDS = st.integers(0, 2**16)


def value(figure: float | None) -> float:
    """A number from its logarithm."""
    return 0.0 if figure is None else 10**figure


@pytest.mark.parametrize("pooling", ["sum", "max"])
def test_networks_differ_by_no_more(check_law: CheckLaw, pooling: str) -> None:
    def law(graph: Graph, change: str, seed: int, data: st.DataObject) -> None:
        rng = np.random.default_rng(seed)
        first = StripHead().run(graph).graph
        second = perturbed(first, change, rng)
        fed = data.draw(feeds(first, max_extent=1))
        points = [fed, {name: np.sign(x) * np.abs(x).max(initial=0) for name, x in fed.items()}]
        try:
            for point in points:
                magnitudes = {name: np.abs(x) for name, x in point.items()}
                bound = path_metric(first, second, inputs=magnitudes, pooling=pooling)
                assert_holds(bound, first, second, point)
        except UnsupportedError:
            return

    check_law(law, graphs(batch=1), st.sampled_from(CHANGES), SEEDS, st.data(), examples=2)


def assert_holds(bound: PathMetric, first: Graph, second: Graph, point: Mapping[str, Array]) -> None:
    """The networks are as close at a point as the bound says, but for the rounding of their execution."""
    reach = max(1.0, *(float(np.abs(x).max(initial=0)) for x in point.values()))
    norms = [PathNorm(dtype="float64").run(g).norms[0].value or 0.0 for g in (first, second)]
    rounding = 1e-13 * sum(norms) * reach
    a, b = execute(first, point), execute(second, point)
    apart = {name: np.abs(a[name] - b[name]) for name in a}
    for name, found in apart.items():
        assert (found <= 10 ** bound.outputs[name].numpy() * (1 + 1e-9) + rounding).all(), name
    listed = [apart[first.name_of(v)] for v in first.outputs]
    assert sum(float(x.sum()) for x in listed) <= value(bound.l1.upper_log10) * (1 + 1e-9) + rounding
    assert max(float(x.max(initial=0)) for x in listed) <= value(bound.linf.upper_log10) * (1 + 1e-9) + rounding


def enumerated(*networks: Graph) -> list[tuple[float, ...]]:
    """The weight of every path, in one network after another."""
    neurons = [oracle.neuron_graph(graph) for graph in networks]
    if oracle.path_count(neurons[0]) > LIMIT:
        return []
    ends = [neurons[0].graph["outputs"][networks[0].name_of(v)] for v in networks[0].outputs]
    return [
        weights
        for ids in ends
        for v in map(int, ids.flat)
        for weights in zip(*(oracle.path_weights(n, v) for n in neurons), strict=True)
    ]


def test_pruning_equals_enumeration(check_law: CheckLaw) -> None:
    def law(first: Graph, change: str, seed: int) -> None:
        second = perturbed(first, change, np.random.default_rng(seed))
        paths = enumerated(first, second)
        for a, b in ((first, second), (second, first)):
            bound = path_metric(a, b)
            assert bound.case in ("pruning", "equal")
            assert bound.is_path_metric
            if paths:
                expected = math.fsum(abs(p - q) for p, q in paths)
                assert value(bound.l1.log10) == pytest.approx(expected, rel=1e-9, abs=0)

    check_law(law, graphs(ops=EDGES, octaves=6), st.sampled_from(["prune", "shrink"]), SEEDS)


def test_any_signs_equal_enumeration_of_what_both_have(check_law: CheckLaw) -> None:
    def law(first: Graph, change: str, seed: int) -> None:
        second = perturbed(first, change, np.random.default_rng(seed))
        between = _between(first, second)
        bound = path_metric(first, second)
        if paths := enumerated(first, second, between):
            sides = [math.fsum(abs(p[i]) - abs(p[2]) for p in paths) for i in (0, 1)]
            assert [value(f.log10) for f in (bound.first, bound.second)] == pytest.approx(sides, rel=1e-9, abs=0)
            assert value(bound.l1.log10) == pytest.approx(sum(sides), rel=1e-9, abs=0)

    check_law(law, graphs(ops=EDGES), st.sampled_from(CHANGES), SEEDS)


def _between(first: Graph, second: Graph) -> Graph:
    changed = {}
    for key in first.params:
        a, b = (g[key].value.numpy() for g in (first, second))
        changed[key] = np.where(a * b > 0, np.sign(a) * np.minimum(np.abs(a), np.abs(b)), 0)
    return with_parameters(first, changed)


def test_is_never_below_the_distance_of_the_path_liftings(check_law: CheckLaw) -> None:
    def law(first: Graph, change: str, seed: int) -> None:
        second = perturbed(first, change, np.random.default_rng(seed))
        bound = path_metric(first, second)
        rounding = 1e-5 if any(first[key].op == "Resize" for key in first.order) else 1e-9
        expected = math.fsum(abs(p - q) for p, q in enumerated(first, second))
        assert expected <= value(bound.l1.upper_log10) * (1 + rounding) + 1e-12

    check_law(law, graphs(homogeneous=True), st.sampled_from(CHANGES), SEEDS)


def test_is_attained_by_networks_without_signs(check_law: CheckLaw) -> None:
    def law(graph: Graph, seed: int) -> None:
        first = with_parameters(graph, {key: np.abs(graph[key].value.numpy()) for key in graph.params})
        second = perturbed(first, "shrink", np.random.default_rng(seed))
        ones = {name: np.ones(first[name].types[0].shape) for name in first.inputs}
        a, b = execute(first, ones), execute(second, ones)
        bound = path_metric(first, second)
        apart = sum(float((a[name] - b[name]).sum()) for name in map(first.name_of, first.outputs))
        assert value(bound.l1.log10) == pytest.approx(apart, rel=1e-9, abs=1e-12)

    ops = [op for op in EDGES if op not in ("MaxPool", "LeakyRelu")]  # of a pool, or of slopes, one is taken
    check_law(law, graphs(ops=ops, batch=1), SEEDS)


def test_does_not_see_rescalings(check_law: CheckLaw) -> None:
    def law(first: Graph, change: str, seed: int) -> None:
        second = perturbed(first, change, np.random.default_rng(seed))
        a = path_metric(first, second).l1.log10
        copies = [random_rescale(g, np.random.default_rng(seed), powers_of_two=True) for g in (first, second)]
        b = path_metric(copies[0], copies[1]).l1.log10
        assert (a is None) == (b is None)
        assert a is None or b == pytest.approx(a, rel=1e-12, abs=1e-12)

    ops = ["Gemm", "Conv", "Relu", "LeakyRelu", "Identity", "MaxPool", "AveragePool", "Flatten", "Add"]
    check_law(law, graphs(ops=ops, tied=False), st.sampled_from(CHANGES), SEEDS)


def test_pools_as_maxima_and_equal_networks(check_law: CheckLaw) -> None:
    def law(first: Graph, change: str, seed: int) -> None:
        second = perturbed(first, change, np.random.default_rng(seed))
        one, other = (path_metric(first, second, pooling=pooling).l1 for pooling in ("max", "sum"))
        assert value(one.log10) <= value(other.log10) * (1 + 1e-12)
        assert path_metric(first, first.edit().finish()).case == "equal"
        assert path_metric(second, perturbed(second, change, np.random.default_rng(0), share=0)).l1.value == 0

    check_law(law, graphs(homogeneous=True), st.sampled_from(CHANGES), SEEDS)


def test_shares_add_up(check_law: CheckLaw) -> None:
    def law(first: Graph, change: str, seed: int) -> None:
        second = perturbed(first, change, np.random.default_rng(seed))
        try:
            bound = path_metric(first, second, per_node=True)
        except UnsupportedError:
            return
        assert all(node.share >= 0 for node in bound.nodes)
        total = math.fsum(node.share for node in bound.nodes)
        assert total == pytest.approx(0 if bound.l1.log10 is None else 1, rel=1e-9)

    check_law(law, graphs(), st.sampled_from(CHANGES), SEEDS)
