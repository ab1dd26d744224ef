"""Fuse what follows a Kronecker-sparse product, element by element, into its epilogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Node, Value, freeze_attrs
from pathlift.ir.kronecker import Pattern
from pathlift.ir.types import Param
from pathlift.passes.base import Effect, Rewritten, Transform
from pathlift.passes.layers.edits import disconnect, drop_constants, is_read_once
from pathlift.passes.layers.weights import constant
from pathlift.passes.witness.rewritings import RewriteWitness
from pathlift.passes.witness.site import Site


@dataclass(frozen=True)
class FuseEpilogue(Transform):
    """Fuse biases and activations into the Kronecker-sparse layers before them."""

    name: ClassVar[str] = "ks-epilogue"
    effect: ClassVar[Effect] = Effect.KEEPS

    def run(self, graph: Graph) -> Rewritten:
        """Fuse a bias, then an activation, where nothing else reads what is between.

        Parameters
        ----------
        graph
            Any graph. ONNX has no such epilogues: a saved file has the bias and the activation as nodes again.
        """
        sites, starts = dict[str, Site](), dict[str, str]()
        current = graph
        for key in graph.order:
            layer = _layer_before(current, key)
            if layer is None:
                continue
            fused = _with_bias(current, layer, key) or _with_activation(current, layer, key)
            if fused is not None:
                current = fused
                starts[key] = starts.pop(layer, layer)
                sites.pop(layer, None)
                sites[key] = _site(graph, starts[key], key)
        return Rewritten(current, RewriteWitness("epilogues fused", tuple(sites.values())))


def _layer_before(graph: Graph, key: str) -> str | None:
    """The Kronecker-sparse layer that a node reads, and alone reads; it has no activation yet."""
    for value in graph.inputs_of(key):
        if value is not None and graph[value.node].op == "KSLinear" and is_read_once(graph, value):
            return None if "activation" in graph[value.node].attrs else value.node
    return None


def _with_bias(graph: Graph, layer: str, key: str) -> Graph | None:
    node, operands = graph[layer], graph.inputs_of(layer)
    if graph[key].op != "Add" or len(operands) > 2:
        return None
    (other,) = [v for v in graph.inputs_of(key) if v != Value(layer)] or [None]
    bias = constant(graph, other)
    if bias is None or other is None or not _is_per_feature(node, bias):
        return None
    builder = graph.edit()
    if len(bias.shape) > 1:
        vector = Param(bias.dtype, (bias.size,), lambda: bias.numpy().reshape(-1))
        other = builder.param(vector, builder.fresh(f"{graph.name_of(other)}_vector"), graph[other.node].origin)
    return _moved(builder, graph, layer, key, {**node.attrs}, (*operands, other))


def _is_per_feature(node: Node, bias: Param) -> bool:
    """Whether a constant is a vector along the features, and broadcasts over all else."""
    rows = Pattern(*node.attrs["pattern"]).rows  # type: ignore[misc]
    if node.attrs.get("feature_major"):
        return bias.shape == (rows, 1)
    return bias.shape[-1:] == (rows,) and bias.size == rows and len(bias.shape) <= len(node.types[0].shape or ())  # type: ignore[union-attr]


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


def _site(graph: Graph, layer: str, key: str) -> Site:
    x = graph.inputs_of(layer)[0]
    assert x is not None
    return Site(graph[key].names[0], (graph.name_of(x),), f"{graph[layer].label} … {graph[key].label}")
