"""Pairs of networks: copies that say the same in another way, and what holds of every pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pathlift.ir.algebras.traits import traits
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array, Param, is_float
from pathlift.passes.equivalence.value_numbering import is_activation
from pathlift.passes.pairing.pair import Pair, pair
from pathlift.testing.assertions import assert_close, execute, random_feeds
from pathlift.testing.rescaling import in_float64


def rewritten(graph: Graph, rng: np.random.Generator, *, noise: float = 0.0) -> Graph:
    """Return a copy with other names, nodes in another order, operands of sums exchanged, and identities in between.

    Parameters
    ----------
    graph
        Any graph.
    rng
        What decides.
    noise
        By how much weights differ, relative to themselves.
    """
    b, new, number = Builder(), dict[Value, Value](), 0
    pending = [key for key in graph.order if graph[key].op != "Input"]
    for key in graph.inputs:
        new[Value(key)] = b.input_of(f"i_{graph[key].names[0]}", graph[key].types[0])
    while pending:
        ready = [k for k in pending if all(v is None or v in new for v in graph.inputs_of(k))]
        key = ready[int(rng.integers(len(ready)))]
        pending.remove(key)
        node, number = graph[key], number + 1
        if node.value is not None:
            new[Value(key)] = b.param(_noisy(node.value, rng, noise), f"p{number}")
            continue
        operands = [None if v is None else new[v] for v in graph.inputs_of(key)]
        if traits(graph, key).commutative:
            operands = [operands[i] for i in rng.permutation(len(operands))]
        if operands and operands[0] is not None and b[operands[0]].op != "Param" and rng.random() < 0.3:
            operands[0] = b.op("Identity", operands[0])
        names = [f"n{number}_{i}" if name else "" for i, name in enumerate(node.names)]
        attrs: dict[str, Any] = dict(node.attrs)
        values = b.node(node.op, *operands, names=names, types=node.types, **attrs)
        new.update({Value(key, i): v for i, v in enumerate(values)})
    b.info = type(b.info)(name="copy", functions=graph.info.functions, opsets=graph.info.opsets)
    return b.finish(*(new[v] for v in graph.outputs))


def _noisy(param: Param, rng: np.random.Generator, noise: float) -> Param:
    values = param.numpy()
    if not noise or not is_float(param.dtype):
        return param
    return Param.of((values * (1 + noise * rng.uniform(-1, 1, values.shape))).astype(param.dtype))


def by_position(graph: Graph, feeds: Sequence[Array]) -> dict[str, Array]:
    """Run a graph in float64 on inputs in order; outputs are named by position."""
    outputs = execute(graph, {graph[k].names[0]: x for k, x in zip(graph.inputs, feeds, strict=True)})
    return {str(i): outputs[graph.name_of(v)] for i, v in enumerate(graph.outputs)}


def assert_pairs(a: Graph, b: Graph, *, rtol: float = 1e-9, extent: int = 2) -> Pair:
    """Pair two graphs, and assert what holds of every pair; returns it.

    Parameters
    ----------
    a, b
        The graphs.
    rtol
        How far networks of the pair may be off their graphs, relative to the largest magnitude of an output.
    extent
        Of symbolic axes.
    """
    found = pair(a, b)
    first, second = found.first, found.second
    assert first.order == second.order
    assert first.outputs == second.outputs
    for key in first.order:
        assert first.inputs_of(key) == second.inputs_of(key)
        ours, theirs = first[key], second[key]
        if not (is_activation(first, key) and is_activation(second, key)):
            assert ours.op == theirs.op, key
            assert ours.op == "BatchNormalization" or ours.attrs == theirs.attrs, key
    params = {key for key in first.params if key in first.live}
    assert set(found.sources) == set(found.errors) == params
    assert all(len(first.users(key)) <= 1 for key in params)
    assert set(found.nodes) == set(first.order) - set(first.params) - set(first.inputs)
    feeds = list(random_feeds(a, np.random.default_rng(0), extent=extent).values())
    for graph, one in ((a, first), (b, second)):
        expected = by_position(in_float64(graph), feeds)
        assert_close(by_position(one, feeds), expected, rtol=rtol)
    return found
