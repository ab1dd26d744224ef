"""A random neuron-wise rescaling that is valid by inspection, for invariance laws.

Only one kind of site is rescaled: a Gemm or Conv whose output reaches the next Gemm or Conv as its only reader, through
ops that act within a channel and commute with positive factors. Other symmetries (skips, batch norms, tied weights) are
left alone, so that nothing here rests on the analysis under test.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value, freeze_attrs
from pathlift.ir.types import DTYPES, Array, Param, TensorType, ValueType, is_float

# Lists on purpose: traits of ops would be derived by what these laws test.
_ELEMENTWISE = {"Relu", "LeakyRelu", "Abs", "Identity"}
_PER_CHANNEL = _ELEMENTWISE | {"MaxPool", "AveragePool"}


def random_rescale(graph: Graph, rng: np.random.Generator, *, powers_of_two: bool = False, octaves: int = 3) -> Graph:
    """Return the same function with other weights: neurons' inputs and bias times λ > 0, their outputs divided by λ.

    Parameters
    ----------
    graph
        Any graph; one without a site comes back unchanged.
    rng
        What the factors are drawn from.
    powers_of_two
        Whether λ is a power of two, which rounds nothing; else the graph becomes float64, so that the weights are
        hardly rounded either.
    octaves
        λ is log-uniform in [2**-octaves, 2**octaves]. Beyond 40 or so, weights should be float64 already.
    """
    b = (graph if powers_of_two else in_float64(graph)).edit()
    for first, second, repeats in rescaling_sites(graph):
        weights, *bias = (v.node for v in graph.inputs_of(first)[1:] if v is not None)
        axis = _axis(graph, first, out=True)
        count = graph[weights].types[0].shape[axis]  # type: ignore[union-attr, index]  # a tensor of known shape
        assert isinstance(count, int)
        factors = np.exp2(
            rng.integers(-octaves, octaves + 1, count) if powers_of_two else rng.uniform(-octaves, octaves, count)
        )
        _multiply(b, weights, axis, factors, exact=powers_of_two)
        for key in bias:
            _multiply(b, key, -1, factors, exact=powers_of_two)
        reader = graph.inputs_of(second)[1]
        assert reader is not None
        inverse = np.repeat(1 / factors, repeats)
        _multiply(b, reader.node, _axis(graph, second, out=False), inverse, exact=powers_of_two)
    return b.finish()


def in_float64(graph: Graph) -> Graph:
    """Return the same graph with every real number held in float64: weights keep their values."""
    b = graph.edit()
    for key in graph.order:
        node = graph[key]
        changes: dict[str, Any] = {"types": tuple(map(_double, node.types))}
        if node.value is not None and is_float(node.value.dtype):
            changes["value"] = Param.of(node.value.numpy().astype(np.float64))
        if node.op == "Cast":
            changes["attrs"] = freeze_attrs({"to": "f64"})
        b.replace_node(Value(key), **changes)
    return b.finish()


def _double(type_: ValueType) -> ValueType:
    known = isinstance(type_, TensorType) and is_float(type_.dtype)
    return TensorType(DTYPES["f64"], type_.shape) if known and isinstance(type_, TensorType) else type_


def rescaling_sites(graph: Graph) -> Iterator[tuple[str, str, int]]:
    """Yield pairs of nodes whose neurons in between can be rescaled, and how many values each channel flattens to."""
    held: dict[int, int] = {}
    for key in graph.params:
        held[id(graph[key].value)] = held.get(id(graph[key].value), 0) + max(1, len(graph.users(key)))
    for first in graph.order:
        if not _is_linear(graph, first, held):
            continue
        key, repeats = first, 1
        while len(users := graph.users(key)) == 1 and not any(v.node == key for v in graph.outputs):
            reader, slot, _ = users[0]
            node, shape = graph[reader], _shape(graph, key)
            if slot == 0 and _is_linear(graph, reader, held) and _meet(graph, reader, first, shape):
                yield first, reader, repeats
                break
            if node.op == "Flatten" and node.attrs.get("axis", 1) == 1 and repeats == 1 and shape is not None:
                if graph[first].op != "Conv" or not all(isinstance(d, int) for d in shape[2:]):
                    break
                repeats = prod(d for d in shape[2:] if isinstance(d, int))
            elif node.op not in (_PER_CHANNEL if graph[first].op == "Conv" else _ELEMENTWISE):
                break
            key = reader


def _is_linear(graph: Graph, key: str, held: dict[int, int]) -> bool:
    """Whether a node is a Gemm or an ungrouped Conv whose parameters are its own."""
    node = graph[key]
    if node.op not in ("Gemm", "Conv") or node.attrs.get("groups", 1) != 1:
        return False
    operands = [graph[v.node] for v in graph.inputs_of(key)[1:] if v is not None]
    own = all(p.op == "Param" and held[id(p.value)] == 1 for p in operands)
    bias = operands[1].value if len(operands) > 1 and own else None
    return own and (bias is None or bias.size == _out(graph, key))


def _meet(graph: Graph, reader: str, first: str, shape: tuple[object, ...] | None) -> bool:
    """Whether the reader's input axis is the one that the channels of `first` lie along."""
    if graph[reader].op == "Conv":
        return graph[first].op == "Conv"
    return shape is not None and (graph[first].op == "Gemm" or len(shape) == 2)


def _axis(graph: Graph, key: str, *, out: bool) -> int:
    """The axis of a node's weights that its outputs (or inputs) lie along."""
    node = graph[key]
    rows_out = node.op == "Conv" or bool(node.attrs.get("trans_w", False))
    return 0 if rows_out == out else 1


def _out(graph: Graph, key: str) -> int:
    value = graph.inputs_of(key)[1]
    assert value is not None
    param = graph[value.node].value
    assert param is not None
    return param.shape[_axis(graph, key, out=True)]


def _shape(graph: Graph, key: str) -> tuple[object, ...] | None:
    type_ = graph.type_of(Value(key))
    return type_.shape if isinstance(type_, TensorType) else None


def _multiply(b: Builder, key: str, axis: int, factors: Array, *, exact: bool) -> None:
    param = b[Value(key)].value
    assert param is not None
    values = np.moveaxis(np.moveaxis(param.numpy().astype(np.float64), axis, -1) * factors, -1, axis)
    changed = Param.of(values.astype(param.dtype) if exact else values)
    b.replace_node(Value(key), value=changed, types=(changed.type,))
