"""Remarks of a file beside its network, kept apart from it and said again on the way out.

These are doc strings and metadata of values and of the tensors that initialize them, denotations, types that are no
tensors', names of extents that no input has, and quantization annotations. The IR holds the doc strings and metadata of
inputs and parameters too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onnx import ModelProto, TensorProto, TypeProto, ValueInfoProto

from pathlift.frontend.protos import nested, subgraphs
from pathlift.frontend.provenance import origin
from pathlift.ir.graph import Graph, Origin

_LISTS = ("input", "output", "value_info")


def remarks_of(model: ModelProto) -> bytes:
    """Return what a file says, as a model that holds nothing else; empty if it says nothing."""
    kept = ModelProto()
    known = {"", *(d.dim_param for info in model.graph.input for d in info.type.tensor_type.shape.dim)}
    for name in _LISTS:
        for info in getattr(model.graph, name):
            other = info.type.WhichOneof("value") not in (None, "tensor_type")
            dims = info.type.tensor_type.shape.dim
            denoted = info.type.denotation or any(d.denotation or d.dim_param not in known for d in dims)
            if info.doc_string or info.metadata_props or denoted or other:
                getattr(kept.graph, name).append(info)
    for initializer in model.graph.initializer:
        if initializer.doc_string or initializer.metadata_props:
            kept.graph.initializer.append(_head(initializer))
    kept.graph.quantization_annotation.extend(model.graph.quantization_annotation)
    return bytes(kept.SerializeToString(deterministic=True))


def _head(tensor: TensorProto) -> TensorProto:
    head = TensorProto(name=tensor.name, doc_string=tensor.doc_string)
    head.metadata_props.extend(tensor.metadata_props)
    if not tensor.doc_string:
        head.ClearField("doc_string")
    return head


def not_kept(model: ModelProto) -> list[str]:
    """Return warnings of what a file says that is not said again."""
    nodes = list(nested([*model.graph.node, *(node for f in model.functions for node in f.node)]))
    graphs = [graph for node in nodes for graph in subgraphs(node.attribute)]
    found: dict[str, Sequence[object]] = {
        "training information is ignored": model.training_info,
        "sparse tensors are read as dense ones": model.graph.sparse_initializer,
        "quantization annotations inside subgraphs are ignored": [q for g in graphs for q in g.quantization_annotation],
        "what is said about devices is ignored": [
            *model.configuration,
            *(c for node in nodes for c in node.device_configurations),
        ],
    }
    return [warning for warning, present in found.items() if present]


def restate(model: ModelProto, names: Sequence[str], graph: Graph) -> dict[str, TensorProto]:
    """Say again, in place, what the file said about values that there still are, by their names.

    Parameters
    ----------
    model
        A graph as ONNX, apart from its initializers.
    names
        Of the initializers.
    graph
        The graph.

    Returns
    -------
    dict
        What was said about initializers, by name.
    """
    remarks = graph.info.remarks
    if remarks is None:
        return {}
    said = ModelProto.FromString(remarks.proto).graph
    whole = remarks.snapshot.holds(graph)
    values = {name: {info.name: info for info in getattr(said, name)} for name in _LISTS}
    tensors = _tensors(model, names, {t.name: t for t in said.initializer}, values)
    for name in _LISTS:
        for info in getattr(model.graph, name):
            if (ours := values[name].get(info.name)) is not None and info.name not in names:
                _say(info, ours)
                # Of what is computed on the way it is known only then that it has the extents that the file names.
                if whole or name == "output":
                    _name_extents(info, ours)
    present = {info.name for name in _LISTS for info in getattr(model.graph, name)}
    made = {output for node in model.graph.node for output in node.output}
    model.graph.value_info.extend(v for k, v in values["value_info"].items() if k in made - present)
    if whole:  # a rescaled value has another scale
        known = made.union(names, (info.name for info in model.graph.input))
        for annotation in said.quantization_annotation:
            used = {annotation.tensor_name, *(entry.value for entry in annotation.quant_parameter_tensor_names)}
            if used <= known:
                model.graph.quantization_annotation.append(annotation)
    return tensors


def _tensors(
    model: ModelProto,
    names: Sequence[str],
    tensors: Mapping[str, TensorProto],
    values: Mapping[str, Mapping[str, ValueInfoProto]],
) -> dict[str, TensorProto]:
    """Give back to initializers and to their declarations what the IR holds together, unless it has changed."""
    kept = {}
    entries = {info.name: (field, info) for field in ("input", "value_info") for info in _declared(model, field)}
    for name in names:
        tensor, (field, entry) = tensors.get(name), entries.get(name, ("value_info", ValueInfoProto()))
        ours = values[field].get(name)
        if _origin(entry) != _origin(ours).merged(_origin(tensor)):
            continue
        if tensor is not None:
            kept[name] = tensor
        if ours is not None:
            _say(entry, ours)
        elif field == "value_info" and tensor is not None:
            model.graph.value_info.remove(entry)
        elif tensor is not None:
            entry.ClearField("doc_string")
            entry.ClearField("metadata_props")
    return kept


def _declared(model: ModelProto, field: str) -> Iterator[ValueInfoProto]:
    yield from getattr(model.graph, field)


def _origin(said: ValueInfoProto | TensorProto | None) -> Origin:
    return Origin() if said is None else origin(None, said.doc_string, {e.key: e.value for e in said.metadata_props})


def _say(info: ValueInfoProto, said: ValueInfoProto) -> None:
    if said.doc_string:
        info.doc_string = said.doc_string
    info.ClearField("metadata_props")
    info.metadata_props.extend(said.metadata_props)
    _denote(info.type, said.type)


def _name_extents(info: ValueInfoProto, said: ValueInfoProto) -> None:
    dims: tuple[Any, Any] = (info.type.tensor_type.shape.dim, said.type.tensor_type.shape.dim)
    for dim, other in zip(*dims, strict=False) if len(dims[0]) == len(dims[1]) else ():
        if other.dim_param and not dim.HasField("dim_value"):
            dim.dim_param = other.dim_param


def _denote(ours: TypeProto, said: TypeProto) -> None:
    if ours.WhichOneof("value") != said.WhichOneof("value"):
        return
    if not said.HasField("tensor_type"):
        ours.CopyFrom(said)
        return
    if said.denotation:
        ours.denotation = said.denotation
    dims: tuple[Any, Any] = (ours.tensor_type.shape.dim, said.tensor_type.shape.dim)
    if len(dims[0]) == len(dims[1]):
        for dim, other in zip(*dims, strict=True):
            if other.denotation:
                dim.denotation = other.denotation
