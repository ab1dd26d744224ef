"""Tensors as ONNX writes them: whole, streamed into the model's file, or in a file of their own.

Streamed, a parameter's values are asked for when they are written and let go of after that, so that only one is in
memory at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from onnx import TensorProto, numpy_helper
from onnx_ir import DataType

from pathlift.frontend.emit.values import onnx_dtype
from pathlift.frontend.wire import Chunk, MessagePart, field, join, part
from pathlift.ir.errors import GraphError
from pathlift.ir.types import Array, Param

_SMALL = 1024  # bytes: smaller tensors stay in the model, since shape inference may have to read them
_PAGE = 2**16  # memory can be mapped at multiples of this on every system
_CHUNK = 2**20  # elements that are written at a time


class Initializer(NamedTuple):
    """A parameter, and what its file says about the tensor."""

    param: Param
    said: TensorProto | None = None


def whole(name: str, tensor: Initializer) -> TensorProto:
    """Return a parameter as a message with its values in it."""
    made = _whole(name, tensor.param)
    if tensor.said is not None:
        made.MergeFrom(tensor.said)
    return made


def _whole(name: str, param: Param) -> TensorProto:
    array = _values(name, param)
    # Strings may come as numpy's own type of fixed width, which ONNX does not know.
    return numpy_helper.from_array(array.astype(object) if array.dtype.kind == "S" else array, name)


def streamed(name: str, tensor: Initializer) -> MessagePart:
    """Return the bytes of `whole`, which are made when they are written."""
    param = tensor.param
    if _is_text(param):
        return part(whole(name, tensor).SerializeToString())
    values = MessagePart(nbytes(param), lambda: raw_data(name, param))
    return join(part(_head(name, tensor).SerializeToString()), field(TensorProto.RAW_DATA_FIELD_NUMBER, values))


def external(params: Mapping[str, Initializer], path: Path) -> Iterator[MessagePart]:
    """Write parameters to a new file, and return the messages that refer to it; small ones hold their values."""
    with open(path, "xb") as file:
        for name, tensor in params.items():
            param = tensor.param
            if nbytes(param) < _SMALL:
                yield streamed(name, tensor)
                continue
            file.seek(-file.tell() % _PAGE, os.SEEK_CUR)
            head = _head(name, tensor)
            head.data_location = TensorProto.EXTERNAL
            for key, value in ("location", path.name), ("offset", file.tell()), ("length", nbytes(param)):
                head.external_data.add(key=key, value=str(value))
            file.writelines(raw_data(name, param))
            yield part(head.SerializeToString())


def nbytes(param: Param) -> int:
    """Bytes of a parameter's ``raw_data``; strings have none."""
    return 0 if _is_text(param) else -(-param.size * _bits(param) // 8)


def _bits(param: Param) -> int:
    return DataType(onnx_dtype(param.dtype)).bitwidth


def _is_text(param: Param) -> bool:
    return param.dtype.kind in "OSU"


def _head(name: str, tensor: Initializer) -> TensorProto:
    head = TensorProto(name=name, dims=tensor.param.shape, data_type=onnx_dtype(tensor.param.dtype))
    if tensor.said is not None:
        head.MergeFrom(tensor.said)
    return head


def raw_data(name: str, param: Param) -> Iterator[Chunk]:
    """Yield the bytes of a parameter that is not of strings, a piece at a time."""
    if _bits(param) < 8:
        yield _whole(name, param).raw_data
        return
    # Pieces of what is contiguous are views, those of anything else are copies, one at a time.
    array = _values(name, param)
    for piece in np.nditer(array, ("external_loop", "buffered", "zerosize_ok"), order="C", buffersize=_CHUNK):
        yield np.ascontiguousarray(piece).view(np.uint8).data


def _values(name: str, param: Param) -> Array:
    array = param.numpy()
    if array.shape != param.shape or (array.dtype != param.dtype and not _is_text(param)):
        message = f"parameter {name!r} is {param.type}, but its values are {array.dtype}{list(array.shape)}"
        raise GraphError("0510", message)
    return array
