"""Handovers: one layer alone reads what another one computes, channel by channel and positively homogeneous."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, prod

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Node, Value, freeze_attrs
from pathlift.ir.primitives.base import normalized_axes
from pathlift.ir.types import Dims, TensorType
from pathlift.passes.layers.edits import is_read_once
from pathlift.passes.layers.layers import OPS

_ELEMENTWISE = frozenset({"Relu", "LeakyRelu", "Abs", "Neg", "Identity"})
_POOLS = frozenset({"MaxPool", "AveragePool"})
_REDUCTIONS = frozenset({"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"})


@dataclass(frozen=True)
class Stop:
    """A node on the way, the axis of its result that the channels lie along, and how many elements each has there."""

    key: str
    axis: int
    repeats: int


@dataclass(frozen=True)
class Handover:
    """Two layers, and the way from one to the other: the first layer itself, and the nodes before the second."""

    first: str
    second: str
    stops: tuple[Stop, ...]

    def narrow(self, builder: Builder, channels: int) -> None:
        """Declare another number of channels for all values on the way."""
        for stop in self.stops:
            node, extent = builder[Value(stop.key)], channels * stop.repeats
            (type_,) = node.types
            assert isinstance(type_, TensorType)
            assert type_.shape is not None
            shape = (*type_.shape[: stop.axis], extent, *type_.shape[stop.axis + 1 :])
            builder.replace_node(Value(stop.key), types=(TensorType(type_.dtype, shape),))
            target = node.attrs.get("shape")
            if node.op == "Reshape" and isinstance(target, tuple) and target[-1] not in (0, -1):
                builder.replace_node(Value(stop.key), attrs=freeze_attrs({"shape": (*target[:-1], extent)}))


def handovers(graph: Graph) -> Iterator[Handover]:
    """Yield them, each after those that its layers are the second of."""
    for key in graph.order:
        shape = _shape(graph, key)
        if graph[key].op in OPS and shape is not None:
            found = _follow(graph, Stop(key, 1 if graph[key].op == "Conv" else len(shape) - 1, 1))
            if found is not None:
                yield found


def _follow(graph: Graph, start: Stop) -> Handover | None:
    stops = [start]
    while is_read_once(graph, Value(stops[-1].key)):
        ((reader, slot, _),) = graph.users(stops[-1].key)
        if slot:
            break
        if graph[reader].op in OPS:
            inside = 1 if graph[reader].op == "Conv" else len(_shape(graph, stops[-1].key) or ()) - 1
            return Handover(start.key, reader, tuple(stops)) if stops[-1].axis == inside else None
        stop = _behind(graph, stops[-1], reader)
        if stop is None:
            break
        stops.append(stop)
    return None


def _behind(graph: Graph, stop: Stop, key: str) -> Stop | None:
    """Return where the channels lie behind a node; ``None`` if it mixes them, or is not positively homogeneous."""
    node, before, after = graph[key], _shape(graph, stop.key), _shape(graph, key)
    if before is None or after is None:
        return None
    if node.op in _ELEMENTWISE or _is_half_line(node) or (node.op in _POOLS and stop.axis == 1):
        return Stop(key, stop.axis, stop.repeats)
    if node.op in _REDUCTIONS or node.op == "Squeeze":
        axes = normalized_axes(node.attrs.get("axes", ()), len(before))  # type: ignore[arg-type]
        gone = 0 if len(after) == len(before) else sum(a < stop.axis for a in axes)
        return None if stop.axis in axes else Stop(key, stop.axis - gone, stop.repeats)
    if node.op in ("Flatten", "Reshape") and stop.axis == 1 and len(after) == 2:
        # Rows of as many elements as one example has are the examples.
        rest = [d for d in before[2:] if isinstance(d, int)]
        if len(rest) == len(before) - 2 and isinstance(before[1], int) and after[1] == before[1] * prod(rest) > 0:
            return Stop(key, 1, stop.repeats * prod(rest))
    return None


def _is_half_line(node: Node) -> bool:
    """Whether a Clip cuts at zero or nowhere."""
    low, high = node.attrs.get("low", -inf), node.attrs.get("high", inf)
    return node.op == "Clip" and low in (0.0, -inf) and high in (0.0, inf)


def _shape(graph: Graph, key: str) -> Dims | None:
    type_ = graph[key].types[0]
    return type_.shape if isinstance(type_, TensorType) else None
