"""Checks of tensors: declared type and shape against the data that is there, and sparse tensors made dense.

Every size is computed in Python integers from what the file declares, before anything of that size is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir
from onnx import AttributeProto, ModelProto, SparseTensorProto, TensorProto
from onnx_ir import DataType

from pathlift.frontend.protos import all_graphs, all_nodes, all_tensors, describe, foreign, quoted
from pathlift.frontend.read.external import ExternalData
from pathlift.frontend.read.weights import cut_bytes
from pathlift.ir.errors import InvalidModelError, UnsafeModelError, UnsupportedError

MAX_RANK = 64  # NumPy's own limit
_DATA_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
_FIELD_OF = {
    DataType.FLOAT: "float_data",
    DataType.COMPLEX64: "float_data",
    DataType.DOUBLE: "double_data",
    DataType.COMPLEX128: "double_data",
    DataType.INT64: "int64_data",
    DataType.UINT32: "uint64_data",
    DataType.UINT64: "uint64_data",
    DataType.STRING: "string_data",
}  # every other type is kept in int32_data
_SIX_BIT = tuple(t for t in DataType if t.name.startswith("FLOAT6"))  # newer than the oldest onnx-ir


def is_external(tensor: TensorProto) -> bool:
    """Return whether the data of `tensor` is in another file."""
    return tensor.data_location == TensorProto.EXTERNAL


def check_tensors(model: ModelProto, external: ExternalData, memory_limit: int, location: str) -> None:
    """Raise unless every tensor of `model` is what it declares, and within `memory_limit` bytes.

    Values that were cut out and put at `location` are those of the file itself.
    """
    for where, tensor in all_tensors(model):
        count = checked_size(tensor.dims, tensor.data_type, where, memory_limit)
        if (held := cut_bytes(tensor, location)) is not None:
            _check_inline(tensor, where, count, held)
        elif is_external(tensor):
            if tensor.data_type == DataType.STRING or tensor.HasField("raw_data"):
                raise InvalidModelError("0134", f"{where}: this tensor cannot have external data")
            external.check(tensor, where, _packed(count, DataType(tensor.data_type)))
        else:
            _check_inline(tensor, where, count, len(tensor.raw_data) if tensor.HasField("raw_data") else None)


def checked_size(dims: Sequence[int], data_type: int, where: str, memory_limit: int) -> int:
    """Return the number of elements of a tensor, or raise when its type or shape is impossible or absurd."""
    try:
        dtype = DataType(data_type)
    except ValueError:
        dtype = DataType.UNDEFINED
    if dtype == DataType.UNDEFINED:
        raise InvalidModelError("0121", f"{where}: unknown element type {data_type}")
    if len(dims) > MAX_RANK:
        raise InvalidModelError("0122", f"{where}: {len(dims)} dimensions, at most {MAX_RANK} are possible")
    if any(dim < 0 for dim in dims):
        raise InvalidModelError("0122", f"{where}: negative dimension in shape {list(dims)}")
    # A zero must not hide its neighbours: NumPy refuses the shape (0, 2**62) too.
    bits = 8 if dtype == DataType.STRING else dtype.bitwidth
    if (nbytes := math.prod(max(dim, 1) for dim in dims) * bits // 8) > memory_limit:
        raise UnsafeModelError(
            "0211",
            f"{where}: shape {list(dims)} needs {nbytes} bytes, above the limit of {memory_limit}",
            hint="raise --memory-limit if this is meant",
        )
    return math.prod(dims)


def _packed(count: int, dtype: DataType) -> int:
    return -(-count * dtype.bitwidth // 8)


def _check_inline(tensor: TensorProto, where: str, count: int, raw_bytes: int | None) -> None:
    dtype = DataType(tensor.data_type)
    own = _FIELD_OF.get(dtype, "int32_data")
    filled = [name for name in _DATA_FIELDS if len(getattr(tensor, name))]
    raw = raw_bytes is not None
    if tensor.HasField("segment") or len(filled) + raw > 1 or (filled and filled != [own]):
        raise InvalidModelError("0124", f"{where}: the data of a {dtype} tensor is in the wrong field")
    if raw and dtype == DataType.STRING:
        raise InvalidModelError("0124", f"{where}: strings cannot be raw data")
    if raw_bytes is not None:
        unit, needed, found = "bytes", _packed(count, dtype), raw_bytes
    else:
        unit, needed, found = "values", _entries(count, dtype), len(getattr(tensor, own))
    if needed != found:
        raise InvalidModelError(
            "0123", f"{where}: shape {list(tensor.dims)} of {dtype} needs {needed} {unit}, the file has {found}"
        )
    if not raw and found and (dtype == DataType.UINT32 or (own == "int32_data" and dtype != DataType.INT32)):
        _check_range(np.asarray(getattr(tensor, own)), dtype, where)


def _entries(count: int, dtype: DataType) -> int:
    """Return how many entries of its data field a tensor of `count` elements takes."""
    if dtype in (DataType.COMPLEX64, DataType.COMPLEX128):
        return 2 * count
    if dtype == DataType.STRING or dtype in _SIX_BIT:
        return count
    return _packed(count, dtype) if dtype.bitwidth < 8 else count


def _check_range(values: np.ndarray, dtype: DataType, where: str) -> None:
    # Narrow types travel in wide fields, as values or as bit patterns; libraries would wrap what does not fit.
    bits = 6 if dtype in _SIX_BIT else max(dtype.bitwidth, 8)
    if int(values.max()) >= 1 << bits or int(values.min()) < -(1 << (bits - 1)):
        raise InvalidModelError("0123", f"{where}: a value does not fit its type {dtype}")


def densify(model: ModelProto, folder: Path | None, memory_limit: int) -> None:
    """Replace sparse initializers and Constant nodes by dense ones, in place.

    The tensors must have passed `check_tensors`. What is made dense may take `memory_limit` bytes in total.
    """
    budget = memory_limit

    def dense(sparse: SparseTensorProto, where: str) -> TensorProto:
        nonlocal budget
        count = checked_size(sparse.dims, sparse.values.data_type, where, budget)
        tensor = _dense(sparse, where, count, folder)
        budget -= len(tensor.raw_data)
        return tensor

    for graph in all_graphs(model):
        for sparse in graph.sparse_initializer:
            graph.initializer.append(dense(sparse, f"sparse tensor {quoted(sparse.values.name)}"))
        graph.ClearField("sparse_initializer")
    for node in all_nodes(model):
        for attribute in node.attribute:
            if attribute.type not in (AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS):
                continue
            if (node.op_type, node.domain, attribute.name) != (
                "Constant",
                "",
                "sparse_value",
            ) or attribute.ref_attr_name:
                raise UnsupportedError("0391", f"{describe(node)}: sparse attribute {quoted(attribute.name)}")
            attribute.t.CopyFrom(dense(attribute.sparse_tensor, describe(node)))
            attribute.ClearField("sparse_tensor")
            attribute.name, attribute.type = "value", AttributeProto.TENSOR


def _dense(sparse: SparseTensorProto, where: str, count: int, folder: Path | None) -> TensorProto:
    if sparse.values.data_type == DataType.STRING or sparse.indices.data_type != DataType.INT64:
        raise InvalidModelError("0125", f"{where}: a sparse tensor needs numeric values and int64 indices")
    values, indices = _array(sparse.values, folder), _array(sparse.indices, folder)
    shape = tuple(sparse.dims)
    if values.ndim != 1 or not shape or indices.shape not in ((values.size,), (values.size, len(shape))):
        raise InvalidModelError("0125", f"{where}: {values.shape} values do not match {indices.shape} indices")
    bounds = np.array(shape if indices.ndim == 2 else count, dtype=np.int64)
    if bool(np.any((indices < 0) | (indices >= bounds))):
        raise InvalidModelError("0125", f"{where}: an index lies outside shape {list(shape)}")
    flat = np.ravel_multi_index(tuple(indices.T), shape) if indices.ndim == 2 and count else indices.reshape(-1)
    if np.unique(flat).size != flat.size:
        raise InvalidModelError("0125", f"{where}: an index is given twice")
    array = np.zeros(count, dtype=values.dtype)
    array[flat] = values
    return onnx_ir.serde.serialize_tensor(onnx_ir.Tensor(array.reshape(shape), name=sparse.values.name))


def _array(tensor: TensorProto, folder: Path | None) -> np.ndarray:
    loaded = onnx_ir.serde.deserialize_tensor(tensor, base_path=folder or "")
    with foreign(f"read tensor {quoted(tensor.name)}"):
        return loaded.numpy()
