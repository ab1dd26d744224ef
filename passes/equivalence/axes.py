"""Axes as they count from the front: a node may count them from the back, and reduce them in any order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pathlift.ir.graph import Attr, Graph, Value
from pathlift.ir.types import TensorType

if TYPE_CHECKING:
    import onnx

_SETS = ("Reduce", "Squeeze", "Unsqueeze")
"""How operators start whose axes have no order."""
_OF_THE_INPUT = (
    *("ArgMax", "ArgMin", "Compress", "Concat", "CumSum", "DequantizeLinear", "Flatten", "Gather", "GatherElements"),
    *("Hardmax", "LayerNormalization", "LogSoftmax", "LpNormalization", "MeanVarianceNormalization"),
    *("QuantizeLinear", "RMSNormalization", "ScatterElements", "Softmax", "Split", "SplitToSequence", "TopK", "Reduce"),
)
"""ONNX's operators whose ``axis`` or ``axes`` are those of their first input, by how they start."""


def counted(graph: Graph, key: str, name: str, value: Attr) -> Attr:
    """Return an attribute of one of our ops, axes as they count from the front where the rank is known."""
    op, read = graph[key].op, graph.inputs_of(key)
    # What Unsqueeze adds are axes of its result.
    rank = _rank(graph, Value(key) if op == "Unsqueeze" or not read else read[0])
    if rank is None or name not in ("axis", "axes"):
        return value
    if isinstance(value, tuple):
        return _counted([int(axis) for axis in value], rank, ordered=not op.startswith(_SETS))
    return value + rank if isinstance(value, int) and value < 0 else value


def count_from_front(node: onnx.NodeProto, graph: Graph, key: str) -> None:
    """Let the axes of an opaque node count from the front, in place, where its first input's rank is known."""
    read = graph.inputs_of(key)
    rank = _rank(graph, read[0]) if read else None
    if node.domain or rank is None or not node.op_type.startswith(_OF_THE_INPUT):
        return
    for attribute in node.attribute:
        if attribute.name == "axis" and attribute.i < 0:
            attribute.i += rank
        elif attribute.name == "axes":
            attribute.ints[:] = _counted(attribute.ints, rank, ordered=False)


def _counted(axes: Sequence[int], rank: int, *, ordered: bool) -> tuple[int, ...]:
    found = [axis + rank if axis < 0 else axis for axis in axes]
    return tuple(found if ordered else sorted(found))


def _rank(graph: Graph, value: Value | None) -> int | None:
    type_ = None if value is None else graph.type_of(value)
    return len(type_.shape) if isinstance(type_, TensorType) and type_.shape is not None else None
