"""Types and shapes of intermediate values, inferred by ONNX on a copy of the graph that has no weights in it."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import onnx_ir
from onnx_ir import AttributeType, ExternalTensor, Graph, Model, Node, Shape, TensorProtocol, TensorType, Value

from pathlift.frontend.protos import foreign
from pathlift.frontend.read.budget import SMALL, is_affordable

_PLACEHOLDER = "pathlift.weight"  # a domain unknown to ONNX, which therefore believes the declared type of the output


def infer_shapes(model: Model) -> list[str]:
    """Fill in types and shapes that can be inferred, in place, and return warnings.

    Values that inference knows nothing about keep what the file declares. A failure, or a declaration that contradicts
    the operators, is a warning: whoever needs a shape that is missing says so, by name.
    """
    if not is_affordable(model):
        return ["shapes are not inferred: the model computes shapes of absurd size"]
    with foreign("copy the model for shape inference"):
        light = model.clone()
        for graph in (*light.graphs(), *(function.graph for function in light.functions.values())):
            _strip(graph)
        light.opset_imports[_PLACEHOLDER] = 1
        proto = onnx_ir.to_proto(light)
    warnings = []
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # the library says what contradicts what, and stops there
        warnings.append(f"shape inference is incomplete: {' '.join(str(error)[:300].split())}")
        try:
            inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
        except Exception:  # it cannot go around it either: what the file declares has to do
            return warnings
    with foreign("read the inferred shapes"):
        for graph, known in zip(model.graphs(), onnx_ir.from_proto(inferred).graphs(), strict=True):
            _merge(graph, known)
    return warnings


def _strip(graph: Graph) -> None:
    """Replace big tensors by placeholder nodes whose outputs are declared to have the same type."""
    for value in list(graph.initializers.values()):
        tensor = value.const_value
        if tensor is None:
            continue
        if tensor.nbytes <= SMALL:
            if isinstance(tensor, ExternalTensor):
                value.const_value = _loaded(tensor)
            continue
        del graph.initializers[str(value.name)]
        if value not in graph.inputs:
            node = _placeholder(str(value.name), tensor)
            value.replace_all_uses_with(node.outputs[0], replace_graph_outputs=True)
            _prepend(graph, node)
    for node in graph:
        attribute = node.attributes.get("value")
        if (
            node.op_type == "Constant"
            and attribute
            and not attribute.is_ref()
            and attribute.type == AttributeType.TENSOR
        ):
            tensor = attribute.as_tensor()
            if tensor.nbytes > SMALL or isinstance(tensor, ExternalTensor):
                stand_in = _placeholder(str(node.outputs[0].name), tensor)
                node.outputs[0].replace_all_uses_with(stand_in.outputs[0], replace_graph_outputs=True)
                graph.insert_before(node, stand_in)
                graph.remove(node)


def _placeholder(name: str, tensor: TensorProtocol) -> Node:
    output = Value(name=name, type=TensorType(tensor.dtype), shape=Shape(tensor.shape.numpy()))
    return Node(_PLACEHOLDER, "Weight", [], outputs=[output])


def _prepend(graph: Graph, node: Node) -> None:
    if len(graph):
        graph.insert_before(graph[0], node)
    else:
        graph.append(node)


def _merge(graph: Graph, known: Graph) -> None:
    inferred = {value.name: value for value in _computed(known) if value.name}
    for value in _computed(graph):
        if (source := inferred.get(value.name or "")) is None:
            continue
        if source.type is not None:
            value.type = source.type
        if source.shape is not None:
            value.shape = source.shape


def _computed(graph: Graph) -> Iterator[Value]:
    for node in graph:
        yield from node.outputs


def _loaded(tensor: ExternalTensor) -> TensorProtocol:
    """Return a small tensor in memory, and let go of its file: each mapping holds a file descriptor."""
    array = tensor.numpy().copy()
    tensor.release()
    return onnx_ir.Tensor(array, dtype=tensor.dtype, name=tensor.name)
