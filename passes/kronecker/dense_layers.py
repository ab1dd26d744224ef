"""Dense layers that Kronecker-sparse ones can stand for, and the graph in which they do."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.ir.kronecker import pattern_of
from pathlift.ir.types import Array, Param, TensorType
from pathlift.passes.layers.edits import disconnect, drop_constants, source
from pathlift.passes.layers.layers import OPS, Layer, read_layer


@dataclass(frozen=True)
class DenseLayer:
    """A Gemm, MatMul or 1×1 Conv with constant weights.

    Parameters
    ----------
    key
        Of the node.
    label
        What the user calls it.
    axis
        Of the features: 1 for a Conv, else −1.
    """

    graph: Graph
    key: str
    label: str
    axis: int

    def read(self) -> Layer:
        """Return the layer; its weights are float64, ``(out, in)`` or ``(out, in, 1, …)``."""
        layer = read_layer(self.graph, self.key)
        assert layer is not None
        return layer

    def weight(self) -> Array:
        """Return the matrix, ``(out, in)``, float64."""
        weight = self.read().weight
        return weight.reshape(weight.shape[:2])


def dense_layers(graph: Graph, names: str) -> tuple[list[DenseLayer], dict[str, str]]:
    """Find the layers that a glob names.

    Parameters
    ----------
    graph
        Any graph.
    names
        Globs, separated by commas, of the node's name, or of that of its weights, with or without a final
        ``.weight``.

    Returns
    -------
    tuple
        The layers, in topological order; and why others of that name cannot be replaced, by label.
    """
    globs = [glob.strip() for glob in names.split(",") if glob.strip()]
    found, refused = list[DenseLayer](), dict[str, str]()
    for key in graph.order:
        node = graph[key]
        if key not in graph.live or not any(fnmatch.fnmatchcase(n, g) for n in _names(graph, key) for g in globs):
            continue
        reason = _refusal(graph, key)
        if reason:
            refused[node.label] = reason
        else:
            found.append(DenseLayer(graph, key, node.label, 1 if node.op == "Conv" else -1))
    return found, refused


def _names(graph: Graph, key: str) -> Iterator[str]:
    node, operands = graph[key], graph.inputs_of(key)
    if node.op in OPS or node.op in ("ConvTranspose", "KSLinear"):
        yield node.label
        weight = operands[1]
        if weight is not None:
            yield graph.name_of(weight)
            yield graph.name_of(weight).removesuffix(".weight")


def _refusal(graph: Graph, key: str) -> str:
    """Why a layer cannot be replaced; empty if it can."""
    node, operands = graph[key], graph.inputs_of(key)
    if node.op == "KSLinear":
        return "it is Kronecker-sparse already"
    type_ = graph.type_of(operands[1]) if operands[1] is not None else None
    shape = type_.shape if isinstance(type_, TensorType) else None
    if node.op == "ConvTranspose" or (node.op == "Conv" and shape is not None and any(n != 1 for n in shape[2:])):
        return "it is a convolution with a kernel larger than 1×1"
    if node.op == "Conv" and node.attrs.get("groups", 1) != 1:
        return "its channels are in groups: `ks detect` reads it as Kronecker-sparse"
    if node.op == "Conv" and (any(node.attrs["pads"]) or set(node.attrs["strides"]) != {1}):  # type: ignore[arg-type]
        return "it has padding or strides"
    if read_layer(graph, key) is None:
        return "its weights are not constant, or it is no product with one matrix"
    return ""


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
