"""The brute-force oracle: a network unrolled into scalar neurons, and its paths enumerated one by one.

Nothing here is shared with the algebras: every op is unrolled by loops over scalar edges, and `Resize` by what ONNX
Runtime does to unit impulses. It is for tiny networks only; it exists to be obviously right.

The model is that of Gonon et al., "A path-norm toolkit for modern networks" (arXiv 2310.01225): a path starts at an
input or at a bias, ends at an output, and weighs the product of its edges (times the bias it starts at).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import fsum, inf
from typing import Any, Literal

import networkx as nx
import numpy as np

from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array, TensorType
from pathlift.testing.unroll import RULES, Net, Number, Signal

ONE = Net.ONE


def neuron_graph(
    graph: Graph, shapes: Mapping[str, tuple[int, ...]] | None = None, *, number: Number = float
) -> nx.MultiDiGraph:
    """Unroll a network into scalar neurons.

    Parameters
    ----------
    graph
        What to unroll; only ops that path-norms cover.
    shapes
        Shapes of inputs, by name. Where left out, symbolic and unknown extents are 1.
    number
        What the weights are converted to, and computed in where they are computed (frozen batch norms, averages):
        ``mpmath.mpf``, for instance. Resizing has the single precision of ONNX Runtime in any case.

    Returns
    -------
    networkx.MultiDiGraph
        Nodes are integers in topological order, 0 is the constant 1 that biases start from. Node attributes: ``kind``
        (``one``, ``input``, ``identity``, ``gate`` or ``pool``), ``slopes`` of a gate (left and right of 0), ``rank``
        of a pool (0 selects the largest). Edges carry ``weight``; parallel edges are paths of their own. Graph
        attributes ``inputs`` and ``outputs`` map names to arrays of nodes.

    Raises
    ------
    UnsupportedError
        If an op has no neurons (softmax, products …); names the node.
    """
    net = Net(number)
    inputs = {name: net.create(_extents(graph, name, shapes or {}), "input") for name in graph.inputs}
    values: dict[tuple[str, int], Signal] = {(name, 0): signal for name, signal in inputs.items()}
    for key in graph.order:
        node = graph[key]
        if node.value is not None:
            values[key, 0] = net.constant(node.value.numpy().astype(np.float64))
        elif node.op != "Input":
            if node.op not in RULES:
                raise UnsupportedError("0302", "the oracle has no neurons for it").at(node.label, node.op)
            operands = [None if v is None else values[v.node, v.port] for v in graph.inputs_of(key)]
            try:
                result = RULES[node.op](net, *operands, **node.attrs)
            except UnsupportedError as refusal:
                raise refusal.at(node.label, node.op) from None
            results = result if isinstance(result, list) else [result]
            values.update({(key, i): y for i, y in enumerate(results)})
    outputs = {graph.name_of(v): net.total(values[v.node, v.port]).ids for v in graph.outputs}
    net.graph.graph.update(inputs={name: signal.ids for name, signal in inputs.items()}, outputs=outputs)
    return net.graph


def evaluate(neurons: nx.MultiDiGraph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Run the neuron graph on inputs, scalar by scalar; shows that it is the network it claims to be."""
    values: dict[int, float] = {ONE: 1.0}
    for name, ids in neurons.graph["inputs"].items():
        values.update(zip(ids.flat, map(float, feeds[name].flat), strict=True))
    for v, data in neurons.nodes(data=True):
        if v in values:
            continue
        terms = [values[u] * w for u, _, w in neurons.in_edges(v, data="weight")]
        if data["kind"] == "pool":
            values[v] = sorted(terms, reverse=True)[data["rank"]]
        else:
            total = fsum(terms)
            left, right = data.get("slopes", (1.0, 1.0))
            values[v] = total * (right if total > 0 else left)
    return {name: _per_element(ids, values.__getitem__) for name, ids in neurons.graph["outputs"].items()}


def path_weights(neurons: nx.MultiDiGraph, output: int, *, inputs_only: bool = False) -> Iterator[float]:
    """Enumerate the weights of all paths that end at one output neuron, biases included unless `inputs_only`."""
    stack = [(output, 1.0)]
    while stack:
        v, weight = stack.pop()
        kind = neurons.nodes[v]["kind"]
        if kind == "input" or (kind == "one" and not inputs_only):
            yield weight
        gain = _gain(neurons.nodes[v])
        stack.extend((u, weight * w * gain) for u, _, w in neurons.in_edges(v, data="weight"))


def path_count(neurons: nx.MultiDiGraph) -> int:
    """Return the number of paths, zero weights included."""
    counts: dict[int, int] = {}
    for v, data in neurons.nodes(data=True):
        counts[v] = 1 if data["kind"] in ("input", "one") else sum(counts[u] for u, _ in neurons.in_edges(v))
    return sum(counts[v] for ids in neurons.graph["outputs"].values() for v in map(int, ids.flat))


def power_sums(
    neurons: nx.MultiDiGraph,
    q: float,
    *,
    pooling: Literal["sum", "max"] = "sum",
    inputs_only: bool = False,
) -> dict[str, Array]:
    """Return the sum of the q-th powers of all path weights per output element, by recursion on the neurons.

    Parameters
    ----------
    neurons
        Of any size; the arithmetic is that of its weights.
    q
        0 counts the paths of non-zero weight, ``inf`` takes the largest weight.
    pooling
        With ``max``, a pool takes the largest of its antecedents' sums instead of adding them up.
    inputs_only
        Whether to leave out the paths that start at a bias.

    Returns
    -------
    dict
        Arrays of numbers (dtype object) of the outputs' shapes, by name; no root is taken.
    """
    sums: dict[int, Any] = {ONE: 0 if inputs_only else 1}
    for v, data in neurons.nodes(data=True):
        if data["kind"] == "input":
            sums[v] = 1
        elif v != ONE:
            gain = _gain(data)
            terms = [_power(w * gain, q) * sums[u] for u, _, w in neurons.in_edges(v, data="weight")]
            largest = q == inf or (pooling == "max" and data["kind"] == "pool")
            sums[v] = max(terms, default=0) if largest else sum(terms)
    return {name: np.frompyfunc(sums.__getitem__, 1, 1)(ids) for name, ids in neurons.graph["outputs"].items()}


def _gain(neuron: Mapping[str, Any]) -> Any:
    """What a neuron multiplies a path by: the steeper of a gate's slopes."""
    return max(map(abs, neuron.get("slopes", (1.0,))))


def _power(weight: Any, q: float) -> Any:
    if q == 0 or weight == 0:
        return int(weight != 0)
    return abs(weight) if q == inf else abs(weight) ** q


def path_norm(
    graph: Graph,
    q: float = 1.0,
    *,
    pooling: Literal["sum", "max"] = "sum",
    inputs_only: bool = False,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    limit: int = 200_000,
) -> dict[str, Array]:
    """Return the q-norm of the path weights that end at each output element.

    Paths are enumerated; only where pools are read as maxima, which no set of paths expresses, is it `power_sums`.

    Parameters
    ----------
    graph, shapes
        As for `neuron_graph`.
    q, pooling, inputs_only
        As for `power_sums`.
    limit
        The most paths to enumerate.

    Returns
    -------
    dict
        Arrays of the outputs' shapes, by name. The norm of the network is the q-norm of all their elements, for q = 0
        their sum.

    Raises
    ------
    UsageError
        If there are more than `limit` paths.
    """
    neurons = neuron_graph(graph, shapes)
    if pooling == "max":
        sums = power_sums(neurons, q, pooling=pooling, inputs_only=inputs_only)
        return {name: y.astype(np.float64) ** (1 / q if 0 < q < inf else 1.0) for name, y in sums.items()}
    count = path_count(neurons)
    if count > limit:
        raise UsageError("0419", f"{count} paths are more than {limit}", hint="use a smaller network")

    def norm(output: int) -> float:
        return vector_norm([abs(w) for w in path_weights(neurons, output, inputs_only=inputs_only)], q)

    return {name: _per_element(ids, norm) for name, ids in neurons.graph["outputs"].items()}


def vector_norm(magnitudes: list[float], q: float) -> float:
    """Return the q-norm of non-negative numbers; q may be 0 (the count of non-zeros) or ``inf``."""
    if q == inf:
        return max(magnitudes, default=0.0)
    if q == 0:
        return float(sum(m > 0 for m in magnitudes))
    return float(fsum(m**q for m in magnitudes) ** (1 / q))


def _per_element(ids: Array, f: Callable[[int], float]) -> Array:
    return np.array([f(v) for v in map(int, ids.flat)], dtype=np.float64).reshape(ids.shape)


def _extents(graph: Graph, name: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    type_ = graph[name].types[0]
    if name in shapes:
        return shapes[name]
    if not isinstance(type_, TensorType) or type_.shape is None:
        raise UsageError("0490", f"the shape of input {name!r} is not known", hint="pass it in shapes")
    return tuple(d if isinstance(d, int) else 1 for d in type_.shape)
