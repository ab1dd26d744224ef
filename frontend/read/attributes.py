"""Checks of node attributes and of declared value types: each holds what it says, and something onnx_ir can carry."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain

from onnx import AttributeProto, FunctionProto, ModelProto, TensorProto, TypeProto, ValueInfoProto
from onnx_ir import DataType

from pathlift.frontend.other_types import taken_out
from pathlift.frontend.protos import all_graphs, quoted
from pathlift.frontend.read.tensors import MAX_RANK
from pathlift.ir.errors import InvalidModelError, UnsupportedError

_FIELD_OF = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
    AttributeProto.SPARSE_TENSOR: "sparse_tensor",
    AttributeProto.TYPE_PROTO: "tp",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
    AttributeProto.TENSORS: "tensors",
    AttributeProto.GRAPHS: "graphs",
    AttributeProto.SPARSE_TENSORS: "sparse_tensors",
    AttributeProto.TYPE_PROTOS: "type_protos",
}
_ELEMENT_TYPES = frozenset(DataType)
_VALUE_FIELDS = frozenset(_FIELD_OF.values())
_MESSAGES = frozenset({"t", "g", "sparse_tensor", "tp"})  # absent, they have no default; a scalar's default is zero


def check_attributes(attributes: Iterable[AttributeProto], owner: str, parameters: Collection[str]) -> None:
    """Raise unless the attributes of one node are well-formed.

    Parameters
    ----------
    attributes
        The attributes of the node, or a function's defaults.
    owner
        Names the node in messages.
    parameters
        Attribute names of the enclosing function, which a node inside it may refer to.
    """
    seen = set()
    for attribute in attributes:
        where = f"{owner}: attribute {quoted(attribute.name)}"
        if not attribute.name or attribute.name in seen:
            raise InvalidModelError("0117", f"{where} is unnamed or given twice")
        seen.add(attribute.name)
        own = _FIELD_OF.get(attribute.type)
        if own is None:
            raise InvalidModelError("0117", f"{where} has no type")
        filled = {field.name for field, _ in attribute.ListFields()} & _VALUE_FIELDS
        if attribute.ref_attr_name:
            if filled or attribute.ref_attr_name not in parameters:
                raise InvalidModelError("0117", f"{where} refers to unknown {quoted(attribute.ref_attr_name)}")
        elif filled - {own} or (own in _MESSAGES and not filled):
            raise InvalidModelError("0117", f"{where} is declared as {own!r}, which is not what it holds")
        for text in attribute.strings:
            _require_text(text, where)
        for declared in [attribute.tp] if attribute.HasField("tp") else attribute.type_protos:
            _check_type(declared, where)


def _require_text(text: bytes, where: str) -> None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise InvalidModelError("0105", f"{where} is not valid UTF-8") from error


def check_types(model: ModelProto, others: dict[str, str]) -> bool:
    """Raise unless every declared type can be represented; clear negative dimensions, and return whether any were.

    Types of maps, which `onnx_ir` does not have, are taken out: `others` gets how each is spelled, by value.
    """
    negative = False
    for function in model.functions:
        for info in function.value_info:
            taken_out(info)
            negative |= _check_type(info.type, f"value {quoted(info.name)}")
    for graph in all_graphs(model):
        tensors = {tensor.name: tensor for tensor in graph.initializer}
        for info in chain(graph.input, graph.output, graph.value_info):
            if (text := taken_out(info)) is not None:
                others[info.name] = text
            if info.name in tensors:
                _check_agreement(info, tensors[info.name])
            negative |= _check_type(info.type, f"value {quoted(info.name)}")
    return negative


def _check_agreement(info: ValueInfoProto, tensor: TensorProto) -> None:
    declared = info.type.tensor_type
    shape = [dim.dim_value if dim.HasField("dim_value") else None for dim in declared.shape.dim]
    same_rank = not declared.HasField("shape") or len(shape) == len(tensor.dims)
    if (
        declared.elem_type not in (0, tensor.data_type)
        or not same_rank
        or any(dim not in (None, actual) for dim, actual in zip(shape, tensor.dims, strict=False))
    ):
        raise InvalidModelError("0119", f"tensor {quoted(tensor.name)} is not of the type that is declared for it")


def _check_type(declared: TypeProto, where: str) -> bool:
    kind = declared.WhichOneof("value")
    if kind in ("map_type", "opaque_type"):
        raise UnsupportedError("0392", f"{where}: values of {kind.replace('_', ' ')} cannot be represented")
    if kind in ("sequence_type", "optional_type"):
        container = getattr(declared, kind)
        if container.elem_type.WhichOneof("value") is None:
            raise InvalidModelError("0118", f"{where}: a container without an element type")
        return _check_type(container.elem_type, where)
    if kind is None:
        return False
    tensor = getattr(declared, kind)
    if tensor.elem_type not in _ELEMENT_TYPES:
        raise InvalidModelError("0118", f"{where}: unknown element type {tensor.elem_type}")
    if len(tensor.shape.dim) > MAX_RANK:
        raise InvalidModelError("0118", f"{where}: {len(tensor.shape.dim)} dimensions, at most {MAX_RANK} are possible")
    negative = [dim for dim in tensor.shape.dim if dim.dim_value < 0]
    for dim in negative:
        dim.ClearField("dim_value")
    return bool(negative)


def parameters(function: FunctionProto) -> frozenset[str]:
    """Return the names of a function's attributes."""
    return frozenset([*function.attribute, *(attribute.name for attribute in function.attribute_proto)])
