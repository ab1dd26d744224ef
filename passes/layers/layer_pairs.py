"""Pairs of layers: one alone reads what another one computes, channel by channel and positively homogeneous."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from pathlift.ir.algebras.interpret import evaluate
from pathlift.ir.algebras.protocol import Algebra
from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph, Value, freeze_attrs
from pathlift.ir.primitives.base import Activation, LinearMap, OrderStatistic, SeparableMap, View, normalized_axes
from pathlift.ir.primitives.resample import Resample
from pathlift.ir.primitives.reshapes import Reinterpretation
from pathlift.ir.primitives.views import Squeeze
from pathlift.ir.types import Dims, TensorType
from pathlift.passes.layers.edits import is_read_once
from pathlift.passes.layers.layers import LAYER_OPS


@dataclass(frozen=True)
class Intermediate:
    """A node on the way, the axis of its result that the channels lie along, and how many elements each has there."""

    key: str
    axis: int
    repeats: int


@dataclass(frozen=True)
class LayerPair:
    """Two layers, and the way from one to the other: the first layer itself, and the nodes before the second."""

    first: str
    second: str
    between: tuple[Intermediate, ...]

    def narrow(self, builder: Builder, channels: int) -> None:
        """Declare another number of channels for all values on the way."""
        for stop in self.between:
            node, extent = builder[Value(stop.key)], channels * stop.repeats
            (type_,) = node.types
            assert isinstance(type_, TensorType)
            assert type_.shape is not None
            shape = (*type_.shape[: stop.axis], extent, *type_.shape[stop.axis + 1 :])
            builder.replace_node(Value(stop.key), types=(TensorType(type_.dtype, shape),))
            target = node.attrs.get("shape")
            if node.op == "Reshape" and isinstance(target, tuple) and target[-1] not in (0, -1):
                builder.replace_node(Value(stop.key), attrs=freeze_attrs({"shape": (*target[:-1], extent)}))


def layer_pairs(graph: Graph) -> Iterator[LayerPair]:
    """Yield them, each after those that its layers are the second of."""
    for key in graph.order:
        shape = _shape(graph, key)
        if graph[key].op in LAYER_OPS and shape is not None:
            found = _follow(graph, Intermediate(key, 1 if graph[key].op == "Conv" else len(shape) - 1, 1))
            if found is not None:
                yield found


def _follow(graph: Graph, start: Intermediate) -> LayerPair | None:
    stops = [start]
    while is_read_once(graph, Value(stops[-1].key)):
        ((reader, slot, _),) = graph.users(stops[-1].key)
        if slot:
            break
        if graph[reader].op in LAYER_OPS:
            inside = 1 if graph[reader].op == "Conv" else len(_shape(graph, stops[-1].key) or ()) - 1
            return LayerPair(start.key, reader, tuple(stops)) if stops[-1].axis == inside else None
        stop = _behind(graph, stops[-1], reader)
        if stop is None:
            break
        stops.append(stop)
    return None


def _behind(graph: Graph, stop: Intermediate, key: str) -> Intermediate | None:
    """Return where the channels lie behind a node; ``None`` if it mixes them, or is not positively homogeneous."""
    before = _shape(graph, stop.key)
    if before is None or _shape(graph, key) is None or len(graph.inputs_of(key)) > 1:
        return None
    try:
        places = evaluate(_Places(), graph[key], (_Place(stop.axis, stop.repeats, before),))
    except UnsupportedError:
        return None
    return Intermediate(key, places[0].axis, places[0].repeats) if len(places) == 1 else None


@dataclass(frozen=True)
class _Place:
    """The axis that channels lie along, how many elements each has there, and the shape."""

    axis: int
    repeats: int
    shape: Dims


class _Places(Algebra[_Place]):
    """Where channels lie, as long as each goes its own way and positive factors with it; else the node is refused."""

    def linear(self, f: LinearMap, x: _Place, w: _Place | None = None) -> _Place:
        if not isinstance(f, SeparableMap) or isinstance(f, Resample):  # whose sizes may name that of the axis
            raise self.refusal("a mixture of channels")
        rank = len(x.shape)
        return self._apart(x, f.mixed_axes((1,) * rank), f.shape(x.shape, None))

    def scale(self, x: _Place, c: _Place | float, axis: int | None = None, *, reciprocal: bool = False) -> _Place:
        return x

    def gate(self, x: _Place, f: Activation, *params: _Place) -> _Place:
        if not f.homogeneous:
            raise self.refusal("what is not homogeneous")
        return x

    def select(self, x: _Place, s: OrderStatistic) -> _Place:
        return self._apart(x, s.mixed_axes(len(x.shape)), s.shape(x.shape))

    def move(self, xs: Sequence[_Place], v: View) -> _Place:
        x = xs[0]  # the views below have one operand
        shape = v.shape(*(operand.shape for operand in xs))
        match v:
            case Squeeze(axes):
                return self._apart(x, normalized_axes(axes, len(x.shape)), shape)
            case Reinterpretation() if x.axis == 1 and len(shape) == 2:
                # Rows of as many elements as one example has are the examples.
                channels, rest = x.shape[1], [d for d in x.shape[2:] if isinstance(d, int)]
                each = prod(rest)
                if len(rest) == len(x.shape) - 2 and isinstance(channels, int) and shape[1] == channels * each > 0:
                    return _Place(1, x.repeats * each, shape)
        raise self.refusal("a rearrangement of channels")

    def _apart(self, x: _Place, axes: Sequence[int], shape: Dims) -> _Place:
        """Behind what lets values meet along some axes, and perhaps drops these."""
        if x.axis in axes:
            raise self.refusal("a mixture of channels")
        gone = sum(a < x.axis for a in axes) if len(shape) < len(x.shape) else 0
        return _Place(x.axis - gone, x.repeats, shape)


def _shape(graph: Graph, key: str) -> Dims | None:
    type_ = graph[key].types[0]
    return type_.shape if isinstance(type_, TensorType) else None
