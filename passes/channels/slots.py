"""Slots of channels: which indices of values and parameters belong together, so that they can only be removed together.

Every index along an axis of a parameter has a label of its own; whatever makes two indices stand or fall together ties
their labels. A linear map ties what it reads to the axis of its weights that it sums over, and hands on the labels of
their other axes; sums and products tie index by index; views carry labels along. A sum, a maximum, a softmax or a
normalization along an axis would change by more than what is removed, so that its indices stay, and so does all that
the network reads or returns, and whatever a node without a rule touches.

Of an axis that is split in two, whole stretches go (heads), unless the two change places and are merged again (channel
shuffle): then the same place in every stretch. Groups of a convolution go whole where there are at least as many as
each reads channels (depthwise), otherwise the same place in every group.

Source: dependency graphs as in Fang et al., "DepGraph" (arXiv 2301.12900), here on the level of single indices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from pathlift.ir.algebras.interpret import evaluate
from pathlift.ir.errors import GraphError, UnsupportedError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.primitives.base import Activation, LinearMap, Nonlinear, SeparableMap
from pathlift.ir.primitives.derived import NormScale
from pathlift.ir.primitives.maps import Contract, Conv, ConvTranspose
from pathlift.ir.primitives.resample import Resample
from pathlift.ir.types import Array, Dim, Dims, Param, TensorType, ValueType
from pathlift.passes.channels.axes import AxisAlgebra, Marked, Meeting
from pathlift.passes.channels.cells import PINNED, DisjointSets
from pathlift.passes.channels.foreign import foreign_rule
from pathlift.passes.channels.ties import Pin


@dataclass(frozen=True, eq=False)
class Reading:
    """Where a linear map reads channels that it does not hand on.

    Parameters
    ----------
    node
        Key of the linear map.
    param
        Key of its weights; empty if they are computed from others.
    axis
        The axis of the weights that it sums over.
    read
        The axis of its operand.
    """

    node: str
    param: str
    axis: int
    read: int


@dataclass(frozen=True, eq=False)
class Work:
    """The multiplications of a node, which are as many as the product of some extents.

    Parameters
    ----------
    node
        Key of the node.
    factors
        The extents, each with the labels along its axis.
    """

    node: str
    factors: tuple[tuple[Dim, Array | None], ...]


class SlotAlgebra(AxisAlgebra):
    """Marks are labels, ties between which are found; 0 is what stays.

    Parameters
    ----------
    shuffles
        Keys of the reshapes of whose inner axis the places go.
    """

    name: ClassVar[str] = "channel removal"
    mark = PINNED

    def __init__(self, shuffles: frozenset[str] = frozenset()) -> None:
        self.cells = DisjointSets()
        self.shuffles = shuffles
        self.pins: list[Pin] = []
        self.readings: list[Reading] = []
        self.weights: set[str] = set()
        self.work: list[Work] = []
        self.key = ""
        self._known: dict[int, Marked] = {}

    # ---- labels

    def parameter(self, p: Param, key: str) -> Marked:
        """Return a parameter with labels of its own along axes of more than one index; one tensor has them once."""
        if id(p) not in self._known:
            self._known[id(p)] = Marked(p.shape, tuple(self.cells.fresh(d) if d > 1 else None for d in p.shape), key)
        return self._known[id(p)]

    def pin(self, marks: Array | None, reason: str) -> None:
        """Let indices stay."""
        if marks is None:
            return
        free = int(np.count_nonzero(np.unique(self.cells.roots(marks))))
        if free and self.node is not None:
            self.cells.tie(marks, np.full((), PINNED))
            self.pins.append(Pin(self.node.label, str(self.node.attrs.get("op_type", self.node.op)), reason, free))

    def keep(self, x: Marked, reason: str) -> None:
        """Let all indices of a value stay."""
        for marks in x.axes:
            self.pin(marks, reason)

    def lose(self, marks: Array | None) -> None:
        self.pin(marks, "its indices are mixed, or where they go is not known")

    def meet(self, marks: Sequence[Array | None], how: Meeting) -> Array | None:
        known = [m for m in marks if m is not None]
        if len(known) < len(marks):
            for m in known:
                self.pin(m, "they meet what stays")
            return None
        for m in known[1:]:
            self.cells.tie(known[0], m)
        return known[0] if known else None

    def repeated(self, count: int) -> Array | None:
        return self.cells.fresh(count)

    def flat(self, x: Marked, axes: Sequence[int]) -> Array:
        first = x.axes[axes[0]]
        assert first is not None
        for axis in axes[1:]:  # what of two axes is to go cannot be said along one
            self.pin(x.axes[axis], "it is merged with an axis whose indices can be removed")
        behind = [d for axis in axes[1:] if isinstance(d := x.dims[axis], int)]
        return np.repeat(first, prod(behind)).reshape(len(first), *behind)

    def spread(self, elements: Array, wide: Sequence[int]) -> list[Array | None]:
        varies = [i for i in wide if (elements != elements.take([0], i)).any()]
        if not varies:
            self.pin(elements, "one label goes through a whole value")
            return [None] * elements.ndim
        chosen = varies[-1] if self.key in self.shuffles else varies[0]
        rows = np.moveaxis(elements, chosen, 0).reshape(elements.shape[chosen], -1)
        self.cells.tied(rows, 1)
        return [rows[:, 0] if i == chosen else None for i in range(elements.ndim)]

    # ---- primitives

    def worked(self, factors: Sequence[tuple[Dim, Array | None]]) -> None:
        self.work.append(Work(self.key, tuple(factors)))

    def derive(self, f: NormScale, *params: Marked) -> Marked:
        return self.elementwise(params, "any")

    def gate(self, x: Marked, f: Activation, *params: Marked) -> Marked:
        return self.elementwise([x, *params], "any") if params else Marked(x.dims, x.axes)

    def apply(self, f: Nonlinear, xs: Sequence[Marked | None], types: Sequence[ValueType]) -> tuple[Marked, ...]:
        return foreign_rule(self, f, [x for x in xs if x is not None], types)

    def linear(self, f: LinearMap, x: Marked, w: Marked | None = None) -> Marked:
        if w is None:
            if not isinstance(f, SeparableMap):
                raise self.refusal("a linear map without weights")
            axes = f.axes if isinstance(f, Resample) else f.mixed_axes((1,) * len(x.dims))
            return self.without(x, axes, f.shape(x.dims, None))
        if w.param:
            self.weights.add(w.param)
        dims = f.shape(x.dims, w.dims)
        if isinstance(f, Contract):
            return self._contracted(f, x, w, dims)
        if isinstance(f, Conv | ConvTranspose):
            return self._convolved(f, x, w, dims)
        raise self.refusal(f"a {type(f).__name__}")

    def _contracted(self, f: Contract, x: Marked, w: Marked, dims: Dims) -> Marked:
        xs, ws, out = f.letters(len(x.dims))
        if len(set(xs)) < len(xs) or len(set(ws)) < len(ws):
            raise self.refusal("a diagonal")
        marks: dict[str, Array | None] = {}
        for letter in dict.fromkeys(xs + ws):
            if letter in xs and letter in ws:
                found = [self._whole(x, xs.index(letter)), w.whole(ws.index(letter))]
                marks[letter] = self.meet(found, "product")
                if letter not in out:
                    self.readings.append(Reading(self.key, w.param, ws.index(letter), xs.index(letter)))
            elif letter in out:
                marks[letter] = x.axes[xs.index(letter)] if letter in xs else w.axes[ws.index(letter)]
            else:
                self.lose(x.axes[xs.index(letter)] if letter in xs else w.axes[ws.index(letter)])
        places = [(x.dims[i], x.axes[i]) for i, letter in enumerate(xs) if letter not in ws]
        self.worked([*places, *zip(w.dims, w.axes, strict=True)])
        return Marked(dims, tuple(marks[letter] for letter in out))

    def _whole(self, x: Marked, axis: int) -> Array | None:
        marks = x.whole(axis)
        if marks is None:
            self.lose(x.axes[axis])
        return marks

    def _convolved(self, f: Conv | ConvTranspose, x: Marked, w: Marked, dims: Dims) -> Marked:
        for marks in (*x.axes[2:], *w.axes[2:]):
            if marks is not None:  # positions, which nobody takes for channels
                self.cells.tie(marks, np.full((), PINNED))
        places = x.dims if isinstance(f, ConvTranspose) else dims
        self.worked([(d, None) for d in (places[0], *places[2:])] + list(zip(w.dims, w.axes, strict=True)))
        result = self._channels(f, self._whole(x, 1), w.whole(0), w.whole(1), w)
        return Marked(dims, (x.axes[0], result, *[None] * (len(dims) - 2)))

    def _channels(
        self, f: Conv | ConvTranspose, read: Array | None, first: Array | None, second: Array | None, w: Marked
    ) -> Array | None:
        """The labels of the channels of a convolution's result; Conv's weights are (out, in/g), its transpose's not."""
        g, transposed = f.groups, isinstance(f, ConvTranspose)
        rows, cols = (int(d) for d in w.dims[:2])  # type: ignore[arg-type]  # weights have known extents
        inside = (rows // g) if transposed else cols
        if g > 1 and g >= inside:  # whole groups
            whole = None if read is None or first is None else self.cells.tied(read.reshape(g, -1), 1)
            self.lose(second)
            if whole is None:
                self.lose(read)
                self.lose(first)
                return None
            assert first is not None
            self.cells.tie(first.reshape(g, -1), whole)
            return np.repeat(whole[:, 0], cols if transposed else rows // g)
        into, out = (first, second) if transposed else (second, first)
        read = self._places(read, g)
        into = self._places(into, g) if transposed else into
        self.meet([read, into], "product")
        self.readings.append(Reading(self.key, w.param, int(not transposed), 1))
        return self._places(out, g, repeat=True) if not transposed else None if out is None else np.tile(out, g)

    def _places(self, marks: Array | None, groups: int, *, repeat: bool = False) -> Array | None:
        """Tie the same place in every group; returns the labels of one group, or of all."""
        if marks is None or groups == 1:
            return marks
        tied = self.cells.tied(marks.reshape(groups, -1), 0)[0]
        return np.tile(tied, groups) if repeat else tied


def marked(graph: Graph, algebra: AxisAlgebra) -> dict[Value, Marked]:
    """Run a graph, dead code and all; nothing is known of what a node without a rule computes.

    Parameters
    ----------
    graph
        The graph.
    algebra
        Knows the marks of parameters.
    """
    values: dict[Value, Marked] = {}
    fixed = frozenset() if graph.info.ir_version == 3 else frozenset(graph.info.overridable)
    for key in graph.order:
        node = graph[key]
        inputs = [None if v is None else values[v] for v in graph.inputs_of(key)]
        algebra.enter(node)
        algebra.key = key
        if node.op == "Input" or (node.op == "Param" and node.names[0] in fixed):
            outputs: Sequence[Marked] = [Marked.blank(dims_of(t) or ()) for t in node.types]
        elif node.value is not None:
            outputs = [algebra.parameter(node.value, key)]
        else:
            outputs = _evaluated(graph, key, algebra, inputs)
        values.update({Value(key, i): y for i, y in enumerate(outputs)})
    for value in graph.outputs:
        algebra.enter(graph[value.node])
        algebra.keep(values[value], "a graph output")
    return values


def _evaluated(graph: Graph, key: str, algebra: AxisAlgebra, inputs: Sequence[Marked | None]) -> Sequence[Marked]:
    node = graph[key]
    types = [*node.types, *(graph.type_of(v) for v in graph.inputs_of(key) if v is not None)]
    try:
        if all(dims_of(t) is not None for t in types):
            found = evaluate(algebra, node, tuple(inputs))
            return [Marked(dims_of(t) or (), y.axes) for t, y in zip(node.types, found, strict=True)]
        reason = "a shape is not known"
    except UnsupportedError as refusal:
        reason = refusal.reason
    except GraphError as error:
        reason = error.message
    for x in inputs:
        if x is not None:
            algebra.keep(x, reason)
    return [Marked.blank(dims_of(t) or ()) for t in node.types]


def dims_of(type_: ValueType) -> Dims | None:
    """The shape of a tensor of known rank."""
    return type_.shape if isinstance(type_, TensorType) else None
