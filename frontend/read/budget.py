"""How much work shape inference would be: an upper bound, computed before it starts.

ONNX propagates the contents of integer vectors, because they may be shapes, and ranks follow from them. Both double
with every ``Concat(x, x)`` or ``Gather(x, x)``: twenty nodes keep the library busy for seconds, thirty exhaust the
memory, and it cannot be interrupted. Here a value is only its rank and the length of its propagated content.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from onnx_ir import Attr, AttributeType, Function, Graph, Model, Node, TensorProtocol, Value

from pathlift.frontend.read.scopes import subgraphs

SMALL = 1000  # bytes; bigger tensors are hidden from inference
MAX_WORK = 4_000_000
_PROPAGATING = frozenset({"Add", "Cast", "Gather", "Mul", "Size", "Slice", "Squeeze", "Sub", "Unsqueeze"})
_WIDENING = frozenset({"Gather", "GatherND", "OneHot", "Unsqueeze"})


class _Extent(NamedTuple):
    """Upper bounds of a value's rank, and of how many of its elements inference knows."""

    rank: int = 0
    length: int = 0


class _TooMuchWorkError(Exception):
    pass


def is_affordable(model: Model) -> bool:
    """Return whether shape inference of `model` is bounded work, if tensors above `SMALL` bytes are hidden from it."""
    try:
        _Bound(model.functions).graph(model.graph, ())
    except _TooMuchWorkError:
        return False
    return True


class _Bound:
    """One walk over a model in the order that inference takes: calls and subgraphs are entered where they are used."""

    def __init__(self, functions: Mapping[tuple[str, str, str], Function]) -> None:
        self._functions = functions
        self._extents: dict[Value, _Extent] = {}
        self._work = 0

    def graph(self, graph: Graph, arguments: Sequence[_Extent]) -> list[_Extent]:
        """Return the extents of the outputs, given those of the inputs."""
        self._extents.update(zip(graph.inputs, arguments, strict=False))
        for node in graph:
            extent = self._node(node)
            self._work += (extent.rank + extent.length + 1) * len(node.outputs)
            if self._work > MAX_WORK:
                raise _TooMuchWorkError
            self._extents.update(dict.fromkeys(node.outputs, extent))
        return [self._of(value) for value in graph.outputs]

    def _of(self, value: Value | None) -> _Extent:
        if value is None:
            return _Extent()
        if value not in self._extents:
            rank = 0 if value.shape is None else len(value.shape)
            self._extents[value] = _Extent(rank, 0 if value.const_value is None else _length(value.const_value))
        return self._extents[value]

    def _node(self, node: Node) -> _Extent:
        inputs = [self._of(value) for value in node.inputs]
        if (function := self._functions.get(node.op_identifier())) is not None:
            return _widest(self.graph(function.graph, inputs))
        attributes = _widest(map(_attribute, node.attributes.values()))
        if node.op_type == "Constant":
            return attributes
        if bodies := list(subgraphs(node)):
            arguments = [_widest(inputs)] * max(len(body.inputs) for body in bodies)
            outputs = _widest(extent for body in bodies for extent in self.graph(body, arguments))
            return _Extent(max(outputs.rank, arguments[0].rank if arguments else 0) + 1, outputs.length)
        widest = _widest([*inputs, attributes])
        if node.op_type in _WIDENING:
            rank = (
                sum(extent.rank for extent in inputs) + sum(extent.length for extent in inputs[1:]) + attributes.length
            )
        else:
            rank = max(widest)  # an operator that takes a shape gives a value of that many dimensions
        if node.op_type == "Concat":
            return _Extent(rank, sum(extent.length for extent in inputs) if all(e.length for e in inputs) else 0)
        if node.op_type == "Slice":
            return _Extent(rank, min(widest.length, _kept(node)))
        if node.op_type == "Shape":
            return _Extent(1, widest.rank)
        return _Extent(rank, max(widest.length, 1) if node.op_type in _PROPAGATING else 0)


def _widest(extents: Iterable[_Extent]) -> _Extent:
    listed = list(extents)
    return _Extent(
        max((extent.rank for extent in listed), default=0), max((extent.length for extent in listed), default=0)
    )


def _kept(node: Node) -> int:
    """Return an upper bound of how many elements a Slice keeps of a vector: exporters pick single extents with it."""
    bounds = [value.const_value for value in node.inputs[1:3] if value is not None]
    known = [int(t.numpy().item()) for t in bounds if t is not None and t.size == 1 and _length(t)]
    if len(known) != 2 or (known[0] < 0) != (known[1] < 0):
        return MAX_WORK
    return max(abs(known[1] - known[0]), 1)


def _length(tensor: TensorProtocol) -> int:
    known = tensor.dtype.is_integer() and len(tensor.shape) <= 1 and tensor.nbytes <= SMALL
    return tensor.size if known else 0


def _attribute(attribute: Attr) -> _Extent:
    if attribute.is_ref():
        return _Extent()
    if attribute.type == AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        return _Extent(len(tensor.shape), _length(tensor))
    return _Extent(1, len(attribute.as_ints()) if attribute.type == AttributeType.INTS else 0)
