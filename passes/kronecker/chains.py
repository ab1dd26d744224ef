"""Chains of Kronecker-sparse layers in the place of dense ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.ir.kronecker import pattern_of
from pathlift.ir.types import Array, Param, TensorType
from pathlift.passes.layers.edits import disconnect, drop_constants, source


def replaced(graph: Graph, chains: Mapping[str, Sequence[Array]]) -> Graph:
    """Return the graph in which chains of factors stand for dense layers.

    Parameters
    ----------
    graph
        Any graph.
    chains
        By key of the layer, its factors from left to right as they multiply; each ``(a, d, b, c)`` and of the layer's
        own element type.
    """
    builder = graph.edit()
    for key, factors in chains.items():
        _replace(builder, graph, key, factors)
    return builder.finish()


def _replace(builder: Builder, graph: Graph, key: str, factors: Sequence[Array]) -> None:
    node, (x, weight, *biases) = graph[key], graph.inputs_of(key)
    assert x is not None
    assert weight is not None
    name, stem = node.names[0], graph.name_of(weight)
    type_ = graph.type_of(x)
    rank = len(type_.shape or ()) if isinstance(type_, TensorType) else 0
    h = source(builder, key)
    if node.op == "Conv":
        h = builder.op("Transpose", h, name=builder.fresh(f"{name}_rows"), perm=(0, *range(2, rank), 1))
    bias = _vector(builder, graph, biases[0], pattern_of(factors[0]).rows) if biases else None
    for i, factor in reversed(list(enumerate(factors))):
        p = pattern_of(factor)
        k = builder.param(Param.of(np.ascontiguousarray(factor)), builder.fresh(f"{stem}.ks{i}"))
        hint = builder.fresh(f"{name}_ks{i}")
        h = builder.op("KSLinear", h, k, None if i else bias, name=hint, origin=node.origin, pattern=tuple(p))
    if node.op == "Conv":
        h = builder.op("Transpose", h, name=builder.fresh(f"{name}_map"), perm=(0, rank - 1, *range(1, rank - 1)))
    builder.replace_value(Value(key), h)
    disconnect(builder, key)
    builder.remove(key)
    builder.rename(h, name)
    drop_constants(builder, graph, (key,))


def _vector(builder: Builder, graph: Graph, bias: Value | None, rows: int) -> Value | None:
    """Return a bias with one element per output."""
    param = None if bias is None else graph[bias.node].value
    if bias is None or param is None or param.shape == (rows,):
        return bias
    wide = Param.of(np.ascontiguousarray(np.broadcast_to(param.numpy(), (rows,))))
    return builder.param(wide, builder.fresh(f"{graph.name_of(bias)}_vector"), graph[bias.node].origin)
