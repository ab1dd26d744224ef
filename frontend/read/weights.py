"""Large weights stay in the bytes of the file: the parsed model refers to them instead of holding a copy.

Before a file is parsed, the values of large initializers are cut out of it and replaced by references to where they
were, as if they were external data, at a location that no file has or can guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir
from onnx import GraphProto, ModelProto, TensorProto
from onnx_ir.serde import TensorProtoTensor

from pathlift.frontend.wire import DELIMITED, MessagePart, WireField, field, fields, join, part

LARGE = 1 << 16
"""Bytes: what is smaller may as well be copied."""
MAX_FIELDS = 1_000_000
"""A file of more is parsed as it is: only the parser is fast enough for one that is made of nothing else."""
_RAW_DATA, _DATA_LOCATION = TensorProto.RAW_DATA_FIELD_NUMBER, TensorProto.DATA_LOCATION_FIELD_NUMBER
_DESCRIPTION = {
    TensorProto.DIMS_FIELD_NUMBER,
    TensorProto.DATA_TYPE_FIELD_NUMBER,
    TensorProto.NAME_FIELD_NUMBER,
    TensorProto.DOC_STRING_FIELD_NUMBER,
    TensorProto.METADATA_PROPS_FIELD_NUMBER,
}


def cut(data: bytes, location: str) -> bytes:
    """Return a model file without its large weights; it refers to bytes of `location` for them.

    What is no well-formed message is returned as it is, for the parser to say so, and so is one of too many fields.
    """
    try:
        return b"".join(_Cut(data, location).model().chunks())
    except ValueError:
        return data


def cut_bytes(tensor: TensorProto, location: str) -> int | None:
    """Return how many bytes of `location` a tensor refers to; ``None`` if it does not."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return int(entries["length"]) if entries.get("location") == location else None


def restore(model: onnx_ir.Model, data: bytes, location: str) -> None:
    """Let the initializers that refer to `location` have their values, which are views of `data`."""
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, onnx_ir.ExternalTensor) and tensor.location == location:
            value.const_value = _tensor(tensor, data)


def _tensor(reference: onnx_ir.ExternalTensor, data: bytes) -> onnx_ir.TensorProtocol:
    offset, shape, dtype = reference.offset or 0, reference.shape.numpy(), reference.dtype
    if dtype.bitwidth < 8:
        raw_data = data[offset : offset + reference.nbytes]
        return TensorProtoTensor(TensorProto(name=reference.name, dims=shape, data_type=dtype, raw_data=raw_data))
    array = np.frombuffer(data, dtype.numpy().newbyteorder("<"), reference.size, offset).reshape(shape)
    return onnx_ir.Tensor(
        array,
        dtype,
        name=reference.name,
        doc_string=reference.doc_string,
        metadata_props=reference.metadata_props,
    )


class _Cut:
    """One file, taken apart."""

    def __init__(self, data: bytes, location: str) -> None:
        self.data, self.location, self.seen = memoryview(data), location, 0

    def model(self) -> MessagePart:
        return self._rebuilt(0, len(self.data), ModelProto.GRAPH_FIELD_NUMBER, self._graph)

    def _graph(self, graph: WireField) -> MessagePart:
        return self._rebuilt(graph.content, graph.end, GraphProto.INITIALIZER_FIELD_NUMBER, self._initializer)

    def _rebuilt(self, start: int, end: int, number: int, rebuild: Callable[[WireField], MessagePart]) -> MessagePart:
        """Return a message whose large fields of one number are rebuilt."""
        parts = []
        for each in self._fields(start, end):
            if each.number == number and each.kind == DELIMITED and each.end - each.content >= LARGE:
                parts += [part(self.data[start : each.start]), field(number, rebuild(each))]
                start = each.end
        return join(*parts, part(self.data[start:end]))

    def _initializer(self, tensor: WireField) -> MessagePart:
        raw = self._raw_data(tensor)
        if raw is None:
            return part(self.data[tensor.content : tensor.end])
        reference = TensorProto(data_location=TensorProto.EXTERNAL)
        where = {"location": self.location, "offset": raw.content, "length": raw.end - raw.content}
        for key, value in where.items():
            reference.external_data.add(key=key, value=str(value))
        before, after = self.data[tensor.content : raw.start], self.data[raw.end : tensor.end]
        return join(part(before), part(after), part(reference.SerializeToString()))

    def _raw_data(self, tensor: WireField) -> WireField | None:
        """Return where the values are, if they are in one place, and nothing else says where they are."""
        found = None
        for each in self._fields(tensor.content, tensor.end):
            inline = each.number == _DATA_LOCATION and self.data[each.content : each.end].tobytes() == b"\0"
            if each.number == _RAW_DATA and found is None:
                found = each
            elif each.number not in _DESCRIPTION and not inline:
                return None
        return found

    def _fields(self, start: int, end: int) -> Iterator[WireField]:
        for each in fields(self.data, start, end):
            self.seen += 1
            if self.seen > MAX_FIELDS:
                raise ValueError("more fields than it is worth to look at")
            yield each
