"""Kinds of paths, against every path of the unrolled network, and the lemma on pools that counts them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from math import exp, log, prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.passes.generalization.constants import outgoing
from pathlift.passes.generalization.words import Letter, Paths, joined
from pathlift.passes.sizes import resolve_inputs
from pathlift.testing.oracle import neuron_graph, path_count
from pathlift.testing.strategies import graphs

LINEAR = {"Gemm", "Conv", "ConvTranspose", "Einsum"}
POOLS = {"MaxPool", "ReduceMax", "ReduceMin", "TopK"}
OPS = {
    "Gemm",
    "Conv",
    "ConvTranspose",
    "Relu",
    "Add",
    "Concat",
    "MaxPool",
    "ReduceMax",
    "AveragePool",
    "Flatten",
    "TopK",
}


def paths_of(graph: Graph) -> Paths:
    return joined(outgoing(graph, resolve_inputs(graph, {})), ())


def walks(graph: Graph, key: str) -> Iterator[tuple[str, ...]]:
    """All ways from the inputs to a node, as the ops on them."""
    if graph[key].op == "Input":
        yield ()
    signals = graph.inputs_of(key)[:1] if graph[key].op in LINEAR else graph.inputs_of(key)
    for source in signals:
        if source is not None:
            yield from ((*walk, graph[key].op) for walk in walks(graph, source.node))


@settings(max_examples=60)
@given(graphs(ops=OPS, max_nodes=7, batch=1))
def test_the_longest_path_by_enumeration(graph: Graph) -> None:
    every = [walk for v in graph.outputs for walk in walks(graph, v.node)]
    found = paths_of(graph)
    assert found.layers == max((sum(op in LINEAR for op in walk) for walk in every), default=0)
    assert found.pools == max((sum(op in POOLS for op in walk) for walk in every), default=0)


def neuron_words(neurons: Any, output: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """Of each path, from the output: its gates as (0, 0) and its pools as (rank from the largest, values)."""
    stack: list[tuple[int, tuple[tuple[int, int], ...]]] = [(output, ())]
    while stack:
        v, word = stack.pop()
        data = neurons.nodes[v]
        if data["kind"] in ("input", "one"):
            yield word
        if data["kind"] == "gate":
            word = (*word, (0, 0))
        if data["kind"] == "pool":
            word = (*word, (data["rank"] % neurons.in_degree(v) + 1, neurons.in_degree(v)))
        stack.extend((u, word) for u, _ in neurons.in_edges(v))


@settings(max_examples=25)
@given(graphs(ops=OPS - {"ConvTranspose"}, max_nodes=5, batch=1, capacity=8))
def test_no_path_of_the_neurons_is_left_out(graph: Graph) -> None:
    neurons = neuron_graph(graph)
    if path_count(neurons) > 3000:
        return
    real = {w for ids in neurons.graph["outputs"].values() for v in ids.flat for w in neuron_words(neurons, int(v))}
    found = paths_of(graph)
    assert found.words is not None
    told = {tuple(itertools.chain.from_iterable(_parts(letter) for letter in word)) for word in found.words}
    # Where a letter is a pool and an activation, their order is not told; nor are the sizes of pools at borders.
    assert {tuple(sorted((r > 0, r) for r, _ in w)) for w in real} <= {tuple(sorted(w)) for w in told}
    assert max((n for w in real for _, n in w), default=1) <= found.fan_in


def _parts(letter: Letter) -> list[tuple[bool, int]]:
    pool = [] if letter.pool is None else [(True, letter.pool[0])]
    return pool + ([] if letter.activation is None else [(False, 0)])


CHAIN = """
    %x = Input : f32[N, 1, 6, 6]
    %w = Param {value=[[[[1.0, 2.0], [3.0, 4.0]]]]} : f32[1, 1, 2, 2]
    %h = Conv(%x, %w) {strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]}
    %r = Relu(%h)
    %p = MaxPool(%r) {kernel=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], dilations=[1, 1]}
    %q = Conv(%p, %w) {strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]}
    %y = Relu(%q)
    return %y
"""


def test_a_pool_and_its_activation_are_one_letter() -> None:
    found = paths_of(parse_graph(CHAIN))
    relu = ("Relu", 0.0, 1.0)
    assert found.words == {(Letter(relu), Letter(relu, (1, 9)))}
    assert (found.layers, found.pools, found.fan_in, found.kinds) == (2, 1, 9, {(True, 1)})
    assert found.log_count == pytest.approx(log(2 * 2 * 9))


def test_pools_of_other_sizes_at_borders_are_other_letters() -> None:
    found = paths_of(parse_graph(CHAIN.replace("MaxPool(%r)", "MaxPool(%h)")))
    assert found.words is not None
    assert {word[-1].pool for word in found.words} == {(1, 4), (1, 6), (1, 9)}
    assert found.log_count == pytest.approx(log(2 * (2 * 4 + 2 * 6 + 2 * 9)))


def test_a_skip_is_another_word() -> None:
    text = CHAIN.replace("%y = Relu(%q)", "%s = Relu(%q)\n    %z = Relu(%s)\n    %y = Add(%s, %z)")
    found = paths_of(parse_graph(text))
    assert found.words is not None
    assert sorted(map(len, found.words)) == [2, 3]


def test_too_many_words_are_counted_by_length() -> None:
    known = paths_of(parse_graph(CHAIN))
    coarse = Paths(
        known.shape, None, known.letters, known.longest, known.layers, known.pools, known.kinds, known.fan_in
    )
    assert coarse.log_count >= known.log_count
    every = [w for n in range(3) for w in itertools.product(known.letters, repeat=n)]
    most = sum(prod(2 for _ in w) for w in every) * 9
    assert coarse.log_count >= log(most)


@pytest.mark.parametrize("op", ["Tanh(%q)", "Clip(%q) {low=0.0, high=6.0}"])
def test_what_the_theorem_does_not_cover_is_refused(op: str) -> None:
    with pytest.raises(UnsupportedError, match=r"PL1375.*holds for ReLU"):
        paths_of(parse_graph(CHAIN.replace("Relu(%q)", op)))


@pytest.mark.parametrize("seed", range(40))
def test_signs_of_a_pool_may_be_replaced_by_signs_of_its_values(seed: int) -> None:
    """The lemma of docs/theory, E exp sup Σ ε_i·pool(t_i) ≤ E exp sup Σ σ_ij·t_ij, by all signs there are."""
    rng = np.random.default_rng(seed)
    n, k, members = 3, int(rng.integers(2, 4)), int(rng.integers(1, 6))
    t = rng.normal(size=(members, n, k)) * rng.choice([0.3, 1.0, 3.0])
    pooled = np.sort(t, axis=2)[:, :, rng.integers(k)]
    left = np.mean([exp((pooled @ e).max()) for e in itertools.product([-1, 1], repeat=n)])
    flat = t.reshape(members, -1)
    right = np.mean([exp((flat @ s).max()) for s in itertools.product([-1, 1], repeat=n * k)])
    assert left <= right * (1 + 1e-12)
