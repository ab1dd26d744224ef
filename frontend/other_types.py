"""Types of values that are no tensors, spelled as ONNX's operator schemas do: ``seq(map(int64,tensor(float)))``."""

from __future__ import annotations

from onnx import TensorProto, TypeProto, ValueInfoProto, helper

from pathlift.ir.errors import UnsupportedError

OTHER_TYPE = "pathlift.other_type"
"""Where a value's `meta` holds how its type is spelled, if `onnx_ir` has none for it."""
_ELEMENTS = {name.lower(): number for name, number in TensorProto.DataType.items()}
_NAMES = {number: name for name, number in _ELEMENTS.items()}


def has_map(declared: TypeProto) -> bool:
    """Whether a map is in it, at any depth: of the types that ONNX has, the one that `onnx_ir` lacks."""
    kind = declared.WhichOneof("value")
    if kind in ("sequence_type", "optional_type"):
        inner: TypeProto = getattr(declared, kind).elem_type
        return has_map(inner)
    return bool(kind == "map_type")


def taken_out(info: ValueInfoProto) -> str | None:
    """Clear the type of a value if there is a map in it, and return how it is spelled."""
    if not has_map(info.type):
        return None
    text = type_text(info.type)
    info.ClearField("type")
    return text


def type_text(declared: TypeProto) -> str:
    """Spell a type; the shapes of tensors in it are left out."""
    match declared.WhichOneof("value"):
        case "sequence_type":
            return f"seq({type_text(declared.sequence_type.elem_type)})"
        case "optional_type":
            return f"optional({type_text(declared.optional_type.elem_type)})"
        case "map_type":
            key = _NAMES.get(declared.map_type.key_type, "undefined")
            return f"map({key},{type_text(declared.map_type.value_type)})"
        case "sparse_tensor_type":
            return f"sparse_tensor({_NAMES.get(declared.sparse_tensor_type.elem_type, 'undefined')})"
    return f"tensor({_NAMES.get(declared.tensor_type.elem_type, 'undefined')})"


def type_proto(text: str) -> TypeProto:
    """Read a type that is spelled so.

    Raises
    ------
    UnsupportedError
        If it is none.
    """
    kind, _, inner = text.removesuffix(")").partition("(")
    key, _, value = inner.partition(",")
    if kind == "seq":
        return helper.make_sequence_type_proto(type_proto(inner))
    if kind == "optional":
        return helper.make_optional_type_proto(type_proto(inner))
    if kind == "map" and key in _ELEMENTS and value:
        return helper.make_map_type_proto(_ELEMENTS[key], type_proto(value))
    if kind in ("tensor", "sparse_tensor") and inner in _ELEMENTS:
        make = helper.make_tensor_type_proto if kind == "tensor" else helper.make_sparse_tensor_type_proto
        return make(_ELEMENTS[inner], None)
    raise UnsupportedError("0375", f"a value of type {text!r} cannot be written")
