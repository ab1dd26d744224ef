"""Parameters of mostly zeros as sparse initializers: the numbers that are none, and where they are.

ONNX Runtime makes them dense when it loads a file: what shrinks is the file, and neither memory nor time.
"""

from __future__ import annotations

import numpy as np
from onnx import SparseTensorProto, numpy_helper

from pathlift.frontend.emit.tensors import Initializer, nbytes
from pathlift.frontend.wire import MessagePart, part
from pathlift.ir.types import Param

_INDEX = 8
"""Bytes of a place: ONNX has them as int64."""
_READ = frozenset(map(np.dtype, (np.float16, np.float32, np.float64)))
"""Real numbers that ONNX Runtime reads from sparse tensors."""


def stored_bytes(param: Param, *, sparse: bool) -> int:
    """Return the bytes that a parameter takes in a file, as a sparse initializer where that is less."""
    dense = nbytes(param)
    return min(dense, sparse_bytes(param)) if sparse and param.dtype in _READ else dense


def sparse_bytes(param: Param) -> int:
    """Return the bytes that it takes as a sparse initializer."""
    return int(np.count_nonzero(param.numpy())) * (param.dtype.itemsize + _INDEX)


def is_smaller(param: Param) -> bool:
    """Whether a parameter is smaller as a sparse initializer, and may be one."""
    return bool(param.shape) and param.dtype in _READ and sparse_bytes(param) < nbytes(param)


def sparse_initializer(name: str, tensor: Initializer) -> MessagePart:
    """Return the message; negative zeros, which masks make of negative weights, become positive ones."""
    values = tensor.param.numpy().reshape(-1)
    places = np.flatnonzero(values).astype(np.int64)
    made = SparseTensorProto(dims=tensor.param.shape)
    made.values.CopyFrom(numpy_helper.from_array(values[places], name))
    made.indices.CopyFrom(numpy_helper.from_array(places, f"{name}_places"))
    if tensor.said is not None:
        made.values.MergeFrom(tensor.said)
    return part(made.SerializeToString())
