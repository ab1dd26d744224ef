"""Fuse what follows a Kronecker-sparse product, element by element, into its epilogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Node, Value, freeze_attrs
from pathlift.ir.kronecker import Pattern
from pathlift.ir.types import Param, TensorType
from pathlift.passes.base import Effect, Rewritten, Transform
from pathlift.passes.layers.edits import disconnect, drop_constants, is_read_once
from pathlift.passes.layers.weights import constant
from pathlift.passes.witness.rewritings import RewriteWitness
from pathlift.passes.witness.site import Site


@dataclass(frozen=True)
class FuseEpilogue(Transform):
    """Fuse biases, residuals and activations into the Kronecker-sparse layers before them."""

    name: ClassVar[str] = "ks-epilogue"
    effect: ClassVar[Effect] = Effect.KEEPS

    def run(self, graph: Graph) -> Rewritten:
        """Fuse a bias and a residual, then an activation, where nothing else reads what is between.

        A residual is a value of exactly the result's shape. The layer adds the bias first; where the graph adds it
        last, the sum is the same but for rounding.

        Parameters
        ----------
        graph
            Any graph. ONNX has no such epilogues: a saved file has bias, residual and activation as nodes again.
        """
        sites, starts = dict[str, Site](), dict[str, str]()
        current = graph
        for key in graph.order:
            for layer in _layers_before(current, key):
                fused = _fused(current, layer, key)
                if fused is not None:
                    current = fused
                    starts[key] = starts.pop(layer, layer)
                    sites.pop(layer, None)
                    sites[key] = _site(graph, fused, starts[key], key)
                    break
        return Rewritten(current, RewriteWitness("epilogues fused", tuple(sites.values())))


def _layers_before(graph: Graph, key: str) -> Iterator[str]:
    """Yield the Kronecker-sparse layers without activation that a node reads, and alone reads."""
    for value in graph.inputs_of(key):
        node = None if value is None else graph[value.node]
        if value is None or node is None or node.op != "KSLinear" or "activation" in node.attrs:
            continue
        if is_read_once(graph, value):
            yield value.node


def _fused(graph: Graph, layer: str, key: str) -> Graph | None:
    """The graph with a node in the epilogue of a layer that it reads; ``None`` if it has no place there."""
    if graph[key].op != "Add":
        return _with_activation(graph, layer, key)
    (other,) = [v for v in graph.inputs_of(key) if v != Value(layer)]
    assert other is not None
    return _with_bias(graph, layer, key, other) or _with_residual(graph, layer, key, other)


def _with_bias(graph: Graph, layer: str, key: str, other: Value) -> Graph | None:
    x, w, b, residual = _operands(graph, layer)
    bias = constant(graph, other)
    if b is not None or bias is None or not _is_per_feature(graph[layer], bias):
        return None
    builder = graph.edit()
    if len(bias.shape) > 1:
        vector = Param(bias.dtype, (bias.size,), lambda: bias.numpy().reshape(-1))
        other = builder.param(vector, builder.fresh(f"{graph.name_of(other)}_vector"), graph[other.node].origin)
    return _moved(builder, graph, layer, key, graph[layer].attrs, (x, w, other, residual))


def _with_residual(graph: Graph, layer: str, key: str, other: Value) -> Graph | None:
    """What nothing but the sum reads, the other summand does not depend on: there is no cycle."""
    x, w, b, residual = _operands(graph, layer)
    shapes = [type_.shape for v in (Value(layer), other) if isinstance(type_ := graph.type_of(v), TensorType)]
    if residual is not None or len(shapes) < 2 or shapes[0] != shapes[1] or shapes[0] is None or None in shapes[0]:
        return None
    return _moved(graph.edit(), graph, layer, key, graph[layer].attrs, (x, w, b, other))


def _operands(graph: Graph, layer: str) -> tuple[Value | None, ...]:
    """What a layer reads: x, weights, bias, residual; ``None`` for what it does not have."""
    return (*graph.inputs_of(layer), None, None)[:4]


def _is_per_feature(node: Node, bias: Param) -> bool:
    """Whether a constant is a vector along the features, and broadcasts over all else."""
    rows = Pattern(*node.attrs["pattern"]).rows  # type: ignore[misc]  # an attribute has the type that its op gives it
    if node.attrs.get("feature_major"):
        return bias.shape == (rows, 1)
    return bias.shape[-1:] == (rows,) and bias.size == rows and len(bias.shape) <= len(node.types[0].shape or ())  # type: ignore[union-attr]  # a tensor of known shape


def _with_activation(graph: Graph, layer: str, key: str) -> Graph | None:
    node = graph[key]
    activation = "GeluTanh" if node.op == "Gelu" and node.attrs.get("tanh") else node.op
    if activation not in ("Relu", "Gelu", "GeluTanh"):
        return None
    attrs = {**graph[layer].attrs, "activation": activation}
    return _moved(graph.edit(), graph, layer, key, attrs, graph.inputs_of(layer))


def _moved(
    builder: Builder, graph: Graph, layer: str, key: str, attrs: Mapping[str, Any], operands: tuple[Value | None, ...]
) -> Graph:
    """Let the node behind a layer be the layer, with these attributes and operands."""
    disconnect(builder, key)
    disconnect(builder, layer)
    origin = graph[layer].origin.merged(graph[key].origin)
    builder.replace_node(Value(key), op="KSLinear", attrs=freeze_attrs(attrs), origin=origin)
    for slot, value in enumerate(operands):
        if value is not None:
            builder.connect(key, slot, value)
    builder.remove(layer)
    drop_constants(builder, graph, (layer, key))
    return builder.finish()


def _site(graph: Graph, fused: Graph, start: str, key: str) -> Site:
    x, _, _, residual = _operands(fused, key)
    read = [v for v in (x, residual) if v is not None and fused[v.node].op != "Param"]
    names = tuple(dict.fromkeys(map(graph.name_of, read)))
    return Site(graph[key].names[0], names, f"{graph[start].label} … {graph[key].label}")
