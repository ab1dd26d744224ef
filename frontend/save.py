"""ONNX out: the model that a graph is, and the file it is saved to.

Value names, shapes with their symbols, doc strings and metadata are the graph's own. How the opset is chosen is told
in `pathlift.frontend.emit`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import starmap
from typing import BinaryIO

from google.protobuf.message import EncodeError  # type: ignore[import-untyped]  # protobuf has no types
from onnx import FunctionProto, GraphProto, ModelProto, ValueInfoProto, helper

from pathlift.frontend.emit import Emitted, emit
from pathlift.frontend.emit.sparse import is_smaller, sparse_initializer
from pathlift.frontend.emit.tensors import Initializer, external, nbytes, streamed, whole
from pathlift.frontend.emit.values import value_info
from pathlift.frontend.files import replacing, writing
from pathlift.frontend.ks_function import DOMAIN, VERSION, ks_function
from pathlift.frontend.remarks import restate
from pathlift.frontend.wire import MessagePart, field, join, part
from pathlift.ir.errors import OutputError, UsageError
from pathlift.ir.graph import Graph, ModelInfo, Origin, Value
from pathlift.ir.stages import stage
from pathlift.ir.types import Param, TensorType

MAX_MESSAGE = 2**31 - 1
"""Bytes of a message that protobuf can write and read."""
MAX_INLINE = MAX_MESSAGE - 2**26
"""Bytes of a file that holds its weights: leaves room for what tools add to a model."""
_NAMES, _METADATA_IR = ("producer_name", "producer_version", "domain", "doc_string"), 10
_FUNCTIONS_IR = 8


def to_onnx(graph: Graph) -> ModelProto:
    """Return the ONNX model that a graph is, weights included.

    Parameters
    ----------
    graph
        Opaque nodes are written as they were read; all others in the spelling of the model's opset.

    Returns
    -------
    onnx.ModelProto
        Holds a copy of the weights. Above 2 GB protobuf cannot serialize it: use `save`.

    Raises
    ------
    UnsupportedError
        If a node cannot be written at an opset that suits all the others; names the node.
    GraphError
        If a parameter's values have another type than it declares; names the parameter.
    """
    model, params, _ = _split(graph)
    model.graph.initializer.extend(starmap(whole, params.items()))
    return model


def save(
    graph: Graph,
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    external_threshold: int = 2**30,
    sparse: bool = False,
) -> tuple[str, ...]:
    """Save a graph as an ONNX file: all of it or nothing.

    Parameters
    ----------
    graph
        What to save.
    path
        The file.
    force
        Replace files that exist.
    external_threshold
        Bytes of weights above which they go to a file of their own, ``path`` with ``.data`` appended. It is always
        written anew: only what this model needs is in it. Either way they are written one by one, and no two are in
        memory at once.
    sparse
        Write parameters of mostly zeros as sparse initializers, where that is smaller.

    Returns
    -------
    tuple
        What the file cannot hold as the graph does, one sentence each: numbers of modules of float64 in attributes,
        which ONNX has in float32.

    Raises
    ------
    UnsupportedError
        If a node cannot be written; names it.
    GraphError
        If a parameter's values have another type than it declares; names the parameter.
    OutputError
        If a file exists, or cannot be written.
    """
    if not isinstance(graph, Graph):
        raise UsageError("0475", f"an object of type {type(graph).__name__} is not a Graph", hint="save(graph, path)")
    with replacing(path, force=force) as staged, stage(f"saving {os.path.basename(path)}"):
        model, params, rounded = _split(graph)
        thin = _thin(model, params) if sparse else []
        thinned = [sparse_initializer(name, params.pop(name)) for name in thin]
        message = _message(model, starmap(streamed, params.items()), thinned)
        if message.length > MAX_INLINE or sum(nbytes(tensor.param) for tensor in params.values()) > external_threshold:
            message = _message(model, external(params, staged.with_name(f"{staged.name}.data")), thinned)
        if message.length > MAX_MESSAGE:
            raise _too_large()
        with open(staged, "xb") as file:
            file.writelines(message.chunks())
    return rounded


def save_stream(graph: Graph, stream: BinaryIO) -> tuple[tuple[str, ...], int]:
    """Write a graph as one ONNX file to a stream, weights included; returns what `save` does, and the bytes.

    Raises
    ------
    OutputError
        If that would be more than protobuf can read, or the stream takes no more.
    """
    model, params, rounded = _split(graph)
    message = _message(model, starmap(streamed, params.items()))
    if message.length > MAX_MESSAGE:
        raise OutputError("0709", "the model exceeds protobuf's limit of 2 GB for one file", hint="name a file")
    with writing(stream):
        stream.writelines(message.chunks())
    return rounded, message.length


def _thin(model: ModelProto, params: Mapping[str, Initializer]) -> list[str]:
    """The parameters to write as sparse ones; one that a caller may replace is an input, which is dense."""
    inputs = {value.name for value in model.graph.input}
    return [name for name, tensor in params.items() if name not in inputs and is_smaller(tensor.param)]


def _message(model: ModelProto, initializers: Iterable[MessagePart], sparse: Iterable[MessagePart] = ()) -> MessagePart:
    """Return the bytes of a model with initializers; `model` has none."""
    tensors = [field(GraphProto.INITIALIZER_FIELD_NUMBER, each) for each in initializers]
    tensors += [field(GraphProto.SPARSE_INITIALIZER_FIELD_NUMBER, each) for each in sparse]
    rest = ModelProto()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    try:
        graph = part(model.graph.SerializeToString())
        return join(part(rest.SerializeToString()), field(ModelProto.GRAPH_FIELD_NUMBER, graph, *tensors))
    except EncodeError as error:
        raise _too_large() from error


def _too_large() -> OutputError:
    return OutputError("0708", "the model without its weights exceeds protobuf's limit of 2 GB")


def _split(graph: Graph) -> tuple[ModelProto, dict[str, Initializer], tuple[str, ...]]:
    """Return the model that a graph is, without its initializers, those by name and in order, and what is rounded."""
    emitted, info = emit(graph), graph.info
    proto = helper.make_graph(
        emitted.nodes,
        info.name or "graph",  # ONNX insists on a name
        list(_inputs(graph, emitted)),
        [value_info(emitted.names[v], graph.shown_type(v)) for v in graph.outputs],
        doc_string=info.doc,
        value_info=list(_intermediates(graph, emitted)),
    )
    helper.set_model_props(proto, dict(info.graph_metadata))
    opsets = _opsets(graph, emitted)
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = helper.make_model(proto, opset_imports=imports, ir_version=_ir_version(info, opsets, emitted))
    for name in _NAMES:
        setattr(model, name, info.properties.get(name, ""))
    model.functions.extend(_functions(info, emitted))
    model.model_version = int(info.properties.get("model_version", 0))
    helper.set_model_props(model, dict(info.metadata))
    params = dict(_initializers(graph, emitted))
    said = restate(model, list(params), graph)
    initializers = {name: Initializer(param, said.get(name)) for name, param in params.items()}
    return model, initializers, tuple(dict.fromkeys(emitted.rounded))


def _functions(info: ModelInfo, emitted: Emitted) -> Iterator[FunctionProto]:
    kept = list(map(FunctionProto.FromString, info.functions))
    taken = {function.name for function in kept if function.domain == DOMAIN}
    for name in sorted(emitted.functions):
        if name not in taken:
            yield ks_function(name, emitted.opset)
    yield from kept


def _inputs(graph: Graph, emitted: Emitted) -> Iterator[ValueInfoProto]:
    for key in graph.inputs:
        yield value_info(graph.name_of(Value(key)), graph[key].types[0], graph[key].origin)
    for key in graph.params:
        if graph.name_of(Value(key)) in emitted.overridable:
            yield value_info(graph.name_of(Value(key)), graph[key].types[0], graph[key].origin)


def _initializers(graph: Graph, emitted: Emitted) -> Iterator[tuple[str, Param]]:
    for key in emitted.params:
        value = graph[key].value
        assert value is not None
        yield emitted.names[Value(key)], value
    yield from emitted.constants.items()


def _intermediates(graph: Graph, emitted: Emitted) -> Iterator[ValueInfoProto]:
    params = set(emitted.params)
    for key in graph.order:
        node = graph[key]
        if key in params and node.origin != Origin() and graph.name_of(Value(key)) not in emitted.overridable:
            yield value_info(emitted.names[Value(key)], node.types[0], node.origin)
        for value in (Value(key, port) for port in range(len(node.types))):
            type_ = graph.shown_type(value)
            known = (
                isinstance(type_, TensorType) and type_.dtype is not None
            )  # even without a shape: nobody else may tell
            if known and node.op not in ("Input", "Param") and emitted.names[value] and value not in graph.outputs:
                yield value_info(emitted.names[value], type_)
    for name, origin in emitted.origins.items():
        yield value_info(name, emitted.constants[name].type, origin)


def _opsets(graph: Graph, emitted: Emitted) -> Mapping[str, int]:
    opsets = {"": emitted.opset, **{d: v for d, v in graph.info.opsets.items() if d}}
    for _, node in graph.nx.nodes(data="node"):
        if node.op == "Opaque" and (domain := str(node.attrs.get("domain", ""))):
            opsets.setdefault(domain, int(node.attrs.get("version", 0)) or 1)
    if emitted.functions:
        opsets.setdefault(DOMAIN, VERSION)
    return opsets


def _ir_version(info: ModelInfo, opsets: Mapping[str, int], emitted: Emitted) -> int:
    """Return the model's own IR version, raised to what a newer opset asks for; IR 3 made every weight an input."""
    oldest = _FUNCTIONS_IR if emitted.functions else 4
    if not info.ir_version or opsets[""] != info.opsets.get(""):
        oldest = max(oldest, helper.find_min_ir_version_for([helper.make_opsetid("", opsets[""])]))
    return max(oldest, info.ir_version or _METADATA_IR)
