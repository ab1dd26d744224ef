"""Walking a parsed ONNX protobuf, and naming its parts in messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

from pathlift.ir.errors import InvalidModelError
from pathlift.ir.foreign import foreign as errors_of

FunctionId = tuple[str, str, str]  # domain, name, overload: what a call is resolved by


def quoted(name: str) -> str:
    """Return a name fit for a one-line message: quoted, control codes escaped, cut when absurdly long."""
    return repr(name if len(name) <= 80 else f"{name[:77]}...")


def foreign(task: str) -> AbstractContextManager[None]:
    """Turn what a library that reads the file raises into a coded error; wrap calls of libraries only, not our own."""
    return errors_of(task, lambda said: InvalidModelError("0106", f"cannot {task}: {said}"), programs=True)


def describe(node: NodeProto) -> str:
    """Name a node the way users know it: by its name, else by what it produces."""
    op = quoted(node.op_type)[1:-1]
    if node.name:
        return f"node {quoted(node.name)} ({op})"
    return f"node producing {quoted(next(filter(None, node.output), ''))} ({op})"


def function_id(proto: FunctionProto) -> FunctionId:
    """Return the identifier that calls use for this function."""
    return proto.domain, proto.name, proto.overload


def callee(node: NodeProto) -> FunctionId:
    """Return the identifier of the function that a node would call, if the model defines it."""
    return node.domain, node.op_type, node.overload


def subgraphs(attributes: Iterable[AttributeProto]) -> Iterator[GraphProto]:
    """Yield the graphs held directly by some attributes."""
    for attribute in attributes:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def nested(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Yield some nodes and, at any depth, those of the graphs they hold."""
    for node in nodes:
        yield node
        for graph in subgraphs(node.attribute):
            yield from nested(graph.node)


def all_graphs(model: ModelProto) -> Iterator[GraphProto]:
    """Yield the main graph and every subgraph, at any depth, functions included."""
    pending = [model.graph]
    for function in model.functions:
        pending += subgraphs(function.attribute_proto)
        for node in function.node:
            pending += subgraphs(node.attribute)
    while pending:
        graph = pending.pop()
        yield graph
        for node in graph.node:
            pending += subgraphs(node.attribute)


def all_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Yield every node of every graph and function."""
    for function in model.functions:
        yield from function.node
    for graph in all_graphs(model):
        yield from graph.node


def _attribute_tensors(attributes: Iterable[AttributeProto], owner: str) -> Iterator[tuple[str, TensorProto]]:
    for attribute in attributes:
        where = f"attribute {quoted(attribute.name)} of {owner}"
        if attribute.HasField("t"):
            yield where, attribute.t
        for tensor in attribute.tensors:
            yield where, tensor
        for sparse in [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else attribute.sparse_tensors:
            yield from _sparse_parts(sparse, where)


def _sparse_parts(sparse: SparseTensorProto, where: str) -> Iterator[tuple[str, TensorProto]]:
    yield f"values of {where}", sparse.values
    yield f"indices of {where}", sparse.indices


def all_tensors(model: ModelProto) -> Iterator[tuple[str, TensorProto]]:
    """Yield every tensor of the model with a phrase that says where it is."""
    for graph in all_graphs(model):
        for tensor in graph.initializer:
            yield f"tensor {quoted(tensor.name)}", tensor
        for sparse in graph.sparse_initializer:
            yield from _sparse_parts(sparse, f"sparse tensor {quoted(sparse.values.name)}")
    for node in all_nodes(model):
        yield from _attribute_tensors(node.attribute, describe(node))
    for function in model.functions:
        yield from _attribute_tensors(function.attribute_proto, f"function {quoted(function.name)}")
