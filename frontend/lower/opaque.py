"""Opaque nodes: what they read, what they return, and the serialized node that is carried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import onnx_ir

from pathlift.frontend.fold import Constant
from pathlift.frontend.types import infer_types, typed, value_type
from pathlift.ir.types import UNKNOWN, ValueType

if TYPE_CHECKING:
    from pathlift.frontend.lower.node import OnnxNode


def subgraphs(node: onnx_ir.Node) -> Iterator[onnx_ir.Graph]:
    """Yield the graphs that a node's attributes hold."""
    for attribute in node.attributes.values():
        if attribute.type == onnx_ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == onnx_ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def captures(node: onnx_ir.Node) -> list[onnx_ir.Value]:
    """Return the values that a node's subgraphs read from around it, in the order of first use."""
    found: dict[onnx_ir.Value, None] = {}
    for graph in subgraphs(node):
        own = {*graph.inputs, *graph.initializers.values(), *(v for inner in graph for v in inner.outputs)}
        for inner in graph:
            used = [v for v in inner.inputs if v is not None] + captures(inner)
            found |= dict.fromkeys(v for v in used if v not in own)
        found |= dict.fromkeys(v for v in graph.outputs if v not in own)
    return [v for v in found if v not in node.inputs]


def inputs_of(node: onnx_ir.Node) -> list[onnx_ir.Value | None]:
    """Return all that a node reads: its inputs, then what its subgraphs capture."""
    return [*node.inputs, *captures(node)]


def opaque_attributes(view: OnnxNode, reason: str, hint: str) -> dict[str, Any]:
    """Return the attributes of the opaque node that carries `view`."""
    node = view.node
    _embed(node)
    return {
        "op_type": node.op_type,
        "domain": node.domain,
        "version": view.version,
        "reason": reason,
        "hint": hint,
        "proto": onnx_ir.serde.serialize_node(node).SerializeToString(deterministic=True),
        "captures": tuple(v.name or "" for v in captures(node)),
    }


def _embed(node: onnx_ir.Node) -> None:
    """Read the external tensors of a node, its subgraphs included, into memory: what is carried must need no file."""
    for name, attribute in node.attributes.items():
        if attribute.type == onnx_ir.AttributeType.TENSOR:
            held = _embedded(attribute.as_tensor())
            node.attributes[name] = onnx_ir.AttrTensor(name, held, doc_string=attribute.doc_string)
        elif attribute.type == onnx_ir.AttributeType.TENSORS:
            all_held = [_embedded(t) for t in attribute.as_tensors()]
            node.attributes[name] = onnx_ir.AttrTensors(name, all_held, doc_string=attribute.doc_string)
    for graph in subgraphs(node):
        for value in graph.initializers.values():
            if value.const_value is not None:
                value.const_value = _embedded(value.const_value)
        for inner in graph:
            _embed(inner)


def _embedded(tensor: onnx_ir.TensorProtocol) -> onnx_ir.TensorProtocol:
    if isinstance(tensor, onnx_ir.ExternalTensor):
        return onnx_ir.Tensor(
            tensor.numpy().copy(),
            name=tensor.name,
            doc_string=tensor.doc_string,
            metadata_props=tensor.metadata_props,
        )
    return tensor


def output_types(view: OnnxNode) -> list[ValueType]:
    """Return what ONNX's type inference knows about a node's outputs, and the element types that the file declares."""
    declared = [value_type(v) for v in view.node.outputs]
    if not any(True for _ in subgraphs(view.node)):
        operands = view.operands
        known = [None if x is None else view.lowerer.type_of(x) for x in operands]
        proto = onnx_ir.serde.serialize_node(view.node)
        data = {n: c.numpy() for n, c in zip(proto.input, operands, strict=True) if isinstance(c, Constant) and c.small}
        inferred = infer_types(proto, known, view.version, data)
        if inferred is not None:
            named = [*inferred, *[UNKNOWN] * (len(declared) - len(inferred))]  # outputs left out at the end are cut off
            return list(map(typed, named, declared))
    return [typed(UNKNOWN, d) for d in declared]
