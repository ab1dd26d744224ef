"""ONNX's value types as those of the IR, and ONNX's type inference of a single node."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir
from onnx import TypeProto, helper
from onnx.onnx_cpp2py_export.shape_inference import InferenceError

from pathlift.frontend.other_types import OTHER_TYPE
from pathlift.frontend.read.tensors import MAX_RANK
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.types import DTYPE_NAMES, UNKNOWN, Array, Dim, Dims, OtherType, TensorType, ValueType, named


def numpy_dtype(dtype: onnx_ir.DataType, where: str) -> np.dtype[Any]:
    """Return the numpy dtype of an ONNX element type.

    Raises
    ------
    UnsupportedError
        If the IR has none (6-bit floats).
    """
    if dtype == onnx_ir.DataType.STRING:
        return np.dtype(np.object_)
    try:
        found = dtype.numpy()
    except (TypeError, KeyError):
        found = None
    if found not in DTYPE_NAMES:
        raise UnsupportedError("0393", f"{where}: elements of type {dtype.name} cannot be represented")
    return found


def value_type(value: onnx_ir.Value) -> ValueType:
    """Return what the file, or shape inference, says about a value."""
    if value.type is None:
        return OtherType(value.meta[OTHER_TYPE]) if OTHER_TYPE in value.meta else UNKNOWN
    if not isinstance(value.type, onnx_ir.TensorType):
        return OtherType(_text(value.type))
    if value.type.dtype == onnx_ir.DataType.UNDEFINED:
        return TensorType(None, dims(value.shape))
    return TensorType(numpy_dtype(value.type.dtype, f"value {value.name!r}"), dims(value.shape))


def dims(shape: onnx_ir.Shape | None) -> Dims | None:
    """Return a shape; an unnamed extent is ``None``."""
    if shape is None:
        return None
    return tuple(named(d if isinstance(d, int) else d.value) for d in shape)


def _text(type_: Any) -> str:
    """Spell a type as ONNX's operator schemas do: ``seq(tensor(float))``."""
    if isinstance(type_, onnx_ir.SequenceType):
        return f"seq({_text(type_.elem_type)})"
    if isinstance(type_, onnx_ir.OptionalType):
        return f"optional({_text(type_.elem_type)})"
    kind = "sparse_tensor" if isinstance(type_, onnx_ir.SparseTensorType) else "tensor"
    return f"{kind}({type_.dtype.name.lower()})"


def typed(inferred: ValueType, declared: ValueType) -> ValueType:
    """Return what is proved of a value: what is inferred, and the element type that the file declares.

    ONNX Runtime refuses a file that is wrong about an element type. About the shape of a value that is no input a file
    may be wrong: that is a warning, and what the nodes compute counts.
    """
    if not isinstance(declared, TensorType):
        return declared if inferred == UNKNOWN else inferred
    if isinstance(inferred, TensorType) and inferred.dtype is None:
        return TensorType(declared.dtype, inferred.shape)
    return inferred


def infer_types(
    proto: onnx.NodeProto, inputs: Sequence[ValueType | None], version: int, data: Mapping[str, Array]
) -> list[TensorType] | None:
    """Infer the types of a node's outputs; ``None`` if its schema, or an operand's type, is not known.

    Parameters
    ----------
    proto
        The node.
    inputs
        What is known of its operands.
    version
        Of its domain's opset.
    data
        Values of small operands, by name; they decide shapes.
    """
    if not _is_safe(proto, inputs, version):
        return None
    types = {}
    for name, t in zip(proto.input, inputs, strict=False):
        if name:
            if not isinstance(t, TensorType) or t.dtype is None:
                return None
            types[name] = _tensor_proto(t)
    try:
        schema = onnx.defs.get_schema(proto.op_type, version, proto.domain)
        tensors = {name: onnx.numpy_helper.from_array(np.array(a)) for name, a in data.items() if a.dtype != np.object_}
        imports = [helper.make_opsetid(proto.domain, version)]
        found = onnx.shape_inference.infer_node_outputs(schema, proto, types, tensors, opset_imports=imports)
    except (onnx.defs.SchemaError, onnx.checker.ValidationError, InferenceError, TypeError, ValueError, RuntimeError):
        return None
    symbols = {d for t in inputs if isinstance(t, TensorType) for d in t.shape or () if isinstance(d, str)}
    return [_tensor_type(found.get(name), symbols) for name in proto.output]


def _is_safe(proto: onnx.NodeProto, inputs: Sequence[ValueType | None], version: int) -> bool:
    """Whether ONNX's inference can be asked about a node: it ends the process on some that its schemas forbid."""
    try:
        schema = onnx.defs.get_schema(proto.op_type, version, proto.domain)
    except onnx.defs.SchemaError:
        return False
    single = onnx.defs.OpSchema.FormalParameterOption.Single
    required = [i for i, formal in enumerate(schema.inputs) if formal.option == single]
    if any(i >= len(proto.input) or not proto.input[i] for i in required):
        return False
    first = inputs[0] if inputs else None
    rank = len(first.shape) if isinstance(first, TensorType) and first.shape is not None else MAX_RANK
    numbers = {a.name: a.i for a in proto.attribute if a.type == onnx.AttributeProto.INT}
    in_range = all(-rank - 1 <= v <= rank for name, v in numbers.items() if name in ("axis", "batch_axis", "time_axis"))
    positive = all(numbers.get(name, 0) >= 0 for name in ("batch_dims", "num_scan_inputs"))
    return in_range and positive and numbers.get("num_outputs", len(proto.output)) == len(proto.output)


def _tensor_proto(t: TensorType) -> TypeProto:
    assert t.dtype is not None
    element = onnx.TensorProto.STRING if t.dtype == np.object_ else helper.np_dtype_to_tensor_dtype(t.dtype)
    return helper.make_tensor_type_proto(element, t.shape)


def _tensor_type(proto: TypeProto | None, symbols: Collection[str]) -> TensorType:
    if proto is None or not proto.HasField("tensor_type") or not proto.tensor_type.elem_type:
        return UNKNOWN
    tensor = proto.tensor_type
    dtype = numpy_dtype(onnx_ir.DataType(tensor.elem_type), "an inferred type")
    if not tensor.HasField("shape"):
        return TensorType(dtype, None)
    return TensorType(dtype, tuple(_dim(d, symbols) for d in tensor.shape.dim))


def _dim(proto: onnx.TensorShapeProto.Dimension, symbols: Collection[str]) -> Dim:
    if proto.HasField("dim_value"):
        return proto.dim_value
    return proto.dim_param if proto.dim_param in symbols else None
