"""The heaviest path weighs what ‖Φ‖_∞ does, and is a path of the network unrolled into neurons, edge by edge."""

from __future__ import annotations

import math
import re

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from pathlift.frontend.load import load
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Param
from pathlift.passes.heaviest_path.heaviest_path import HeaviestPath, HeaviestPathResult, PathStart
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.testing import in_float64, oracle, samples, zoo
from pathlift.testing.strategies import graphs

MOST_PATHS = 20_000
DERIVED = {"BatchNormalization", "PRelu", "Div"}  # whose factors are computed from their parameters


def assert_heaviest(graph: Graph, *, inputs_only: bool = False) -> None:
    """Assert that the path weighs the maximum over all paths of the neuron graph, and that it is one of them."""
    # The oracle has its resize coefficients from ONNX Runtime, in float32.
    rtol = 1e-5 if any(graph[key].op == "Resize" for key in graph.order) else 1e-9
    result = HeaviestPath(inputs_only=inputs_only).run(graph)
    assert_weighs_the_norm(graph, result, inputs_only=inputs_only)
    neurons = oracle.neuron_graph(exposed(graph))
    outputs = {graph.name_of(value) for value in graph.outputs}
    sums = oracle.power_sums(neurons, math.inf, inputs_only=inputs_only)
    largest = max((float(v) for name in outputs for v in sums[name].flat), default=0.0)
    assert 10**result.log10 == pytest.approx(largest, rel=rtol, abs=0) if result.log10 is not None else largest == 0
    if result.start is not None:
        assert_is_a_path(neurons, result, result.start, rtol)


def assert_weighs_the_norm(graph: Graph, result: HeaviestPathResult, *, inputs_only: bool) -> None:
    expected = PathNorm((math.inf,), inputs_only=inputs_only).run(graph).norms[0].log10
    if expected is None:
        assert result.log10 is None
        return
    assert result.start is not None
    factors = [result.start.value, *(step.value for step in result.steps)]
    assert result.log10 == pytest.approx(expected, abs=1e-9)
    assert math.fsum(math.log10(abs(f)) for f in factors) == pytest.approx(expected, abs=1e-9)
    params = {graph[key].names[0]: graph[key].value for key in graph.params}
    for factor in (result.start, *result.steps):
        if factor.parameter is not None and factor.op not in DERIVED:
            assert abs(factor.value) == abs(float(params[factor.parameter].numpy()[factor.index]))  # type: ignore[union-attr]  # a parameter has a value


def exposed(graph: Graph) -> Graph:
    """The same graph with every value an output."""
    b, outputs = graph.edit(), set(graph.outputs)
    b.output(*(v for key in graph.order for i in range(len(graph[key].types)) if (v := Value(key, i)) not in outputs))
    return b.finish()


def assert_is_a_path(neurons: nx.MultiDiGraph, result: HeaviestPathResult, first: PathStart, rtol: float) -> None:
    """Walk from step to step: between two, there is nothing but the second one's edge."""
    at = (oracle.ONE, first.value)
    if first.op == "Input":
        at = (int(neurons.graph["inputs"][first.node][first.index]), 1.0)
    ends = [(step.node, step.position, step.value) for step in result.steps]
    for name, position, value in [*ends, (result.output, result.position, 1.0)]:
        # The neuron that makes a value an output has one edge, from the neuron that the value is a multiple of.
        ((neuron, _, multiple),) = neurons.in_edges(int(neurons.graph["outputs"][name][position]), data="weight")
        found = {abs(product * multiple) for product in products(neurons, at[0], neuron)}
        assert any(f == pytest.approx(abs(at[1] * value), rel=rtol, abs=0) for f in found), (
            f"no edge to {name}{position}"
        )
        at = (neuron, multiple)


def products(neurons: nx.MultiDiGraph, source: int, target: int) -> set[float]:
    """Weights of all paths between two neurons, which are numbered in topological order."""
    reached = {source: {1.0}}
    for v in range(source + 1, target + 1):
        gain = max(map(abs, neurons.nodes[v].get("slopes", (1.0,))))
        edges = [(u, w * gain) for u, _, w in neurons.in_edges(v, data="weight") if u in reached]
        reached[v] = {p * w for u, w in edges for p in reached[u]}
    return reached[target]


@pytest.mark.parametrize("inputs_only", [False, True])
@pytest.mark.parametrize("name", samples())
def test_on_samples(name: str, inputs_only: bool) -> None:
    graph = samples()[name]
    try:
        oracle.neuron_graph(graph)
    except UnsupportedError as refusal:
        pytest.skip(str(refusal))
    assert_heaviest(graph, inputs_only=inputs_only)


@pytest.mark.parametrize("name", samples())
def test_covers_what_path_norms_cover(name: str) -> None:
    graph = samples()[name]
    try:
        PathNorm((math.inf,)).run(graph)
    except UnsupportedError as refusal:
        with pytest.raises(UnsupportedError, match=re.escape(str(refusal))):
            HeaviestPath().run(graph)
    else:
        assert_weighs_the_norm(graph, HeaviestPath().run(graph), inputs_only=False)


@settings(max_examples=100)
@given(graphs(homogeneous=True, octaves=6), st.booleans())
def test_on_random_networks(graph: Graph, inputs_only: bool) -> None:
    note(str(graph))
    if oracle.path_count(oracle.neuron_graph(graph)) <= MOST_PATHS:
        assert_heaviest(graph, inputs_only=inputs_only)


@settings(max_examples=50)
@given(graphs(homogeneous=True), st.integers(0, 2**16))
def test_weights_of_any_magnitude(graph: Graph, seed: int) -> None:
    graph = reweighed(graph, np.random.default_rng(seed))
    note(str(graph))
    sums = oracle.power_sums(oracle.neuron_graph(graph, number=mpf), math.inf)
    largest = max((v for y in sums.values() for v in y.flat), default=0)
    assert HeaviestPath().run(graph).log10 == (pytest.approx(float(mp.log10(largest)), abs=1e-6) if largest else None)


def reweighed(graph: Graph, rng: np.random.Generator) -> Graph:
    """Weights in float64 whose magnitudes have nothing to do with each other."""
    b = in_float64(graph).edit()
    for key in graph.params:
        values = b[key].value.numpy()  # type: ignore[union-attr]  # a parameter has a value
        b.replace_node(key, value=Param.of(values * 2.0 ** rng.integers(-200, 201, values.shape)))
    return b.finish()


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) for n in ("unet", "resnet18")])
def test_on_whole_networks(name: str) -> None:
    graph = load(zoo.export(name, image=32, width=0.125))
    for inputs_only in (False, True):
        assert_weighs_the_norm(graph, HeaviestPath(inputs_only=inputs_only).run(graph), inputs_only=inputs_only)
