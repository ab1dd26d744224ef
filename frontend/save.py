"""ONNX out: the model that a graph is, and the file it is saved to.

Value names, shapes with their symbols, doc strings and metadata are the graph's own. How the opset is chosen is told
in `pathlift.frontend.emit`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from onnx import FunctionProto, ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from pathlift.frontend.emit import Emitted, emit
from pathlift.frontend.emit.values import value_info
from pathlift.ir.errors import OutputError, UsageError
from pathlift.ir.files import replacing
from pathlift.ir.graph import Graph, ModelInfo, Node, Origin, Value
from pathlift.ir.types import Param, TensorType

MAX_INLINE = 2**31 - 2**26
"""Bytes of weights that fit a protobuf message of 2 GB, with room for the rest of the model."""
_SMALL = 1024  # bytes: smaller tensors stay in the model, since shape inference may have to read them
_PAGE = 2**16  # memory can be mapped at multiples of this on every system
_NAMES, _METADATA_IR = ("producer_name", "producer_version", "domain", "doc_string"), 10

Store = Callable[[Param, str], TensorProto]


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
    """
    return _model(graph, _inline)


def save(graph: Graph, path: str | os.PathLike[str], *, force: bool = False, external_threshold: int = 2**30) -> None:
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
        Bytes of weights above which they go to a file of their own, ``path`` with ``.data`` appended. They are
        streamed into it one by one, and it is always written anew: only what this model needs is in it.

    Raises
    ------
    UnsupportedError
        If a node cannot be written; names it.
    OutputError
        If a file exists, or cannot be written.
    """
    if not isinstance(graph, Graph):
        raise UsageError("0475", f"an object of type {type(graph).__name__} is not a Graph", hint="save(graph, path)")
    with replacing(path, force=force) as staged:
        if sum(_nbytes(graph[key]) for key in graph.params) <= min(external_threshold, MAX_INLINE):
            model = _model(graph, _inline)
        else:
            with open(f"{staged}.data", "xb") as file:
                model = _model(graph, _Sidecar(file, f"{staged.name}.data"))
        try:
            data = model.SerializeToString()
        except ValueError as error:
            raise OutputError("0708", "the model without its weights exceeds protobuf's limit of 2 GB") from error
        staged.write_bytes(data)


def _nbytes(node: Node) -> int:
    return 0 if node.value is None else node.value.size * node.value.dtype.itemsize


def _inline(param: Param, name: str) -> TensorProto:
    array = param.numpy()
    # Strings may come as numpy's own type of fixed width, which ONNX does not know.
    return numpy_helper.from_array(array.astype(object) if array.dtype.kind == "S" else array, name)


class _Sidecar:
    """A file for the weights; called with each of them in turn."""

    def __init__(self, file: BinaryIO, location: str) -> None:
        self.file, self.location = file, location

    def __call__(self, param: Param, name: str) -> TensorProto:
        tensor = _inline(param, name)
        if len(tensor.raw_data) < _SMALL:
            return tensor
        self.file.seek(-self.file.tell() % _PAGE, os.SEEK_CUR)
        where = {"location": self.location, "offset": self.file.tell(), "length": len(tensor.raw_data)}
        self.file.write(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in where.items():
            tensor.external_data.add(key=key, value=str(value))
        return tensor


def _model(graph: Graph, store: Store) -> ModelProto:
    emitted, info = emit(graph), graph.info
    proto = helper.make_graph(
        emitted.nodes,
        info.name or "graph",  # ONNX insists on a name
        list(_inputs(graph, emitted)),
        [value_info(emitted.names[v], graph.type_of(v)) for v in graph.outputs],
        list(_initializers(graph, emitted, store)),
        doc_string=info.doc,
        value_info=list(_intermediates(graph, emitted)),
    )
    helper.set_model_props(proto, dict(info.graph_metadata))
    opsets = _opsets(graph, emitted)
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = helper.make_model(proto, opset_imports=imports, ir_version=_ir_version(info, opsets))
    for name in _NAMES:
        setattr(model, name, info.properties.get(name, ""))
    model.functions.extend(map(FunctionProto.FromString, info.functions))
    model.model_version = int(info.properties.get("model_version", 0))
    helper.set_model_props(model, dict(info.metadata))
    return model


def _inputs(graph: Graph, emitted: Emitted) -> Iterator[ValueInfoProto]:
    for key in graph.inputs:
        yield value_info(graph.name_of(Value(key)), graph[key].types[0], graph[key].origin)
    for key in graph.params:
        if graph.name_of(Value(key)) in emitted.overridable:
            yield value_info(graph.name_of(Value(key)), graph[key].types[0], graph[key].origin)


def _initializers(graph: Graph, emitted: Emitted, store: Store) -> Iterator[TensorProto]:
    written: set[str] = set()
    for key in graph.params:
        node, name = graph[key], emitted.names[Value(key)]
        if name in written:
            continue
        written.add(name)
        assert node.value is not None
        yield store(node.value, name)
    for name, array in emitted.constants.items():
        yield numpy_helper.from_array(array, name)


def _intermediates(graph: Graph, emitted: Emitted) -> Iterator[ValueInfoProto]:
    for key in graph.order:
        node = graph[key]
        if node.op == "Param" and node.origin != Origin() and graph.name_of(Value(key)) not in emitted.overridable:
            yield value_info(emitted.names[Value(key)], node.types[0], node.origin)
        for port, type_ in enumerate(node.types):
            value = Value(key, port)
            known = isinstance(type_, TensorType) and type_.dtype is not None and type_.shape is not None
            if known and node.op not in ("Input", "Param") and emitted.names[value] and value not in graph.outputs:
                yield value_info(emitted.names[value], type_)


def _opsets(graph: Graph, emitted: Emitted) -> Mapping[str, int]:
    opsets = {"": emitted.opset, **{d: v for d, v in graph.info.opsets.items() if d}}
    for _, node in graph.nx.nodes(data="node"):
        if node.op == "Opaque" and (domain := str(node.attrs.get("domain", ""))):
            opsets.setdefault(domain, int(node.attrs.get("version", 0)) or 1)
    return opsets


def _ir_version(info: ModelInfo, opsets: Mapping[str, int]) -> int:
    """Return the model's own IR version, raised to what its opset asks for; IR 3 made every weight an input."""
    known = [helper.make_opsetid("", opsets[""])]
    return max(4, info.ir_version or _METADATA_IR, helper.find_min_ir_version_for(known))
