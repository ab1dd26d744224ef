"""Neurons of an op: which ones it introduces, and what they are computed from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isinf
from typing import Any, ClassVar, Literal

import numpy as np

from pathlift.ir import dims as D
from pathlift.ir.algebras.two_sorted import TwoSorted
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives import views as V
from pathlift.ir.primitives.base import Activation, LinearMap, Nonlinear, OrderStatistic, SeparableMap, View
from pathlift.ir.primitives.maps import Reduce
from pathlift.ir.primitives.resample import Resample
from pathlift.ir.primitives.selections import WindowMax
from pathlift.ir.types import Array, Dims, ValueType
from pathlift.passes.channels import maps
from pathlift.passes.channels.cells import DisjointSets
from pathlift.passes.channels.maps import CellMap
from pathlift.passes.channels.products import channel_product, parallel_axes
from pathlift.passes.equivalence.network import Dependency, Flow, Weights

Zero = Literal["all", "any", "free"]


@dataclass(frozen=True)
class ParamRef:
    """A parameter, not yet read as neurons."""

    key: str
    shape: tuple[int, ...]


Operand = CellMap | ParamRef


class NeuronAlgebra(TwoSorted[ParamRef, CellMap]):
    """Introduces neurons where a value mixes others, and records from which.

    Parameters
    ----------
    replaceable
        Keys of parameters that a caller may replace; what they act on cannot be permuted.
    """

    name: ClassVar[str] = "permutation"
    parameter_type: ClassVar[type] = ParamRef

    def __init__(self, replaceable: frozenset[str] = frozenset()) -> None:
        self.replaceable = replaceable
        self.steps: list[Dependency] = []
        self.labels: list[str] = []
        self.origin: list[Array] = []
        self.nonzero: list[Array] = []
        self.count = 0

    def mark(self) -> tuple[int, ...]:
        """Return how much is recorded."""
        return len(self.steps), len(self.labels), len(self.nonzero), self.count

    def forget(self, mark: tuple[int, ...]) -> None:
        """Drop what was recorded since."""
        steps, labels, nonzero, self.count = mark
        del self.steps[steps:], self.labels[labels:], self.origin[labels:], self.nonzero[nonzero:]

    # ---- what all primitives are made of

    def fresh(self, *shape: int) -> Array:
        """Return new neurons of one origin."""
        assert self.node is not None
        neurons = np.arange(self.count, self.count + int(np.prod(shape, dtype=np.int64))).reshape(shape)
        self.count += neurons.size
        self.origin.append(np.full(neurons.size, len(self.labels), np.int32))
        self.labels.append(self.node.label)
        return neurons

    def flow(self, target: Array, source: Array, role: Array | int = 0, zero: Zero = "all") -> None:
        """Record that neurons are computed from others; the arrays broadcast."""
        role = np.asarray(role)
        role = role.astype(np.min_scalar_type(role.max(initial=0)))
        y, x, r = (cells.reshape(-1) for cells in np.broadcast_arrays(target, source, role))
        self.steps.append(Flow(y.astype(np.int32), x.astype(np.int32), r, zero))

    def bound(self, x: Array, axis: int, *, ordered: bool) -> Array:
        """Bind the neurons along an axis into one, which knows their order or does not."""
        if x.shape[axis] == 1:
            return x
        y = self.fresh(*(1 if i == axis else n for i, n in enumerate(x.shape)))
        self.flow(y, x, _along(np.arange(x.shape[axis]), axis, x.ndim) if ordered else 0)
        return y

    def whole(self, x: CellMap) -> Array:
        """Bind all of a value into one neuron."""
        cells = x.cells
        for axis in range(cells.ndim):
            cells = self.bound(cells, axis, ordered=True)
        return cells.reshape(())

    def spread(self, x: CellMap, axis: int) -> CellMap:
        """Tell the places along an axis apart."""
        cells = x.spread([axis])
        if cells.shape == x.cells.shape:
            return x
        y = self.fresh(*cells.shape)
        self.flow(y, cells, _along(np.arange(cells.shape[axis]), axis, cells.ndim))
        return CellMap(y, x.dims)

    def renewed(self, x: CellMap) -> CellMap:
        """Return neurons of another origin, each computed from one of these; if one occurs again, place by place."""
        y = self.fresh(*x.cells.shape)
        self.flow(y, x.cells, _occurrences(x.cells))
        return CellMap(y, x.dims)

    def combined(self, xs: Sequence[CellMap], roles: Sequence[int], zeros: Sequence[Zero]) -> CellMap:
        """Combine values elementwise, with broadcasting."""
        rank = max(len(x.dims) for x in xs)
        padded = [_padded(x, rank) for x in xs]
        for axis in range(rank):
            if any(x.cells.shape[axis] > 1 for x in padded):
                padded = [x if x.dims[axis] == 1 else self.spread(x, axis) for x in padded]
        y = self.fresh(*np.broadcast_shapes(*(x.cells.shape for x in padded)))
        for zero in dict.fromkeys(zeros):
            parts = [
                [a.reshape(-1) for a in np.broadcast_arrays(y, x.cells, role)]
                for x, role, rule in zip(padded, roles, zeros, strict=True)
                if rule == zero
            ]
            target, source, role = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
            self.flow(target, source, role, zero)
        return CellMap(y, D.broadcast(*(x.dims for x in padded)))

    # ---- parameters

    def lift(self, p: ParamRef) -> CellMap:
        """Read a parameter as neurons: on its own it is one, since nothing permutes its elements."""
        cells = self.fresh(*[1] * len(p.shape))
        self._weigh(p.key, cells, None)
        return CellMap(cells, p.shape)

    def beside(self, c: ParamRef, x: CellMap, axis: int | None = None, neutral: float = 0.0) -> CellMap:
        """Read a parameter that acts on a value elementwise: its elements are told apart where the value's are."""
        rank = len(x.dims)
        shape = c.shape if axis is None else tuple(c.shape[0] if i == axis % rank else 1 for i in range(rank))
        extents = (1,) * (len(shape) - rank) + x.cells.shape
        apart = [n if m > 1 else 1 for n, m in zip(shape, extents[len(extents) - len(shape) :], strict=True)]
        cells = self.fresh(*apart)
        self._weigh(c.key, cells if axis is None else cells.reshape(-1), None, neutral)
        return CellMap(cells, shape)

    def _weigh(self, key: str, times: Array, over: Array | None, neutral: float = 0.0) -> None:
        joined = [_apart(cells) for cells in (times, over) if cells is not None]
        self.steps.append(Weights(key, joined[0], joined[1] if over is not None else None, neutral))
        if key in self.replaceable:
            for cells in joined:
                self.whole(CellMap(cells, cells.shape))

    def derive_parameter(self, f: Callable[..., Any], params: Sequence[ParamRef]) -> ParamRef:
        return self._first(*params)  # a batch norm's scale is its γ by now

    def add_parameters(self, x: ParamRef, y: ParamRef, axis: int | None) -> ParamRef:
        return self._first(x, y)  # a batch norm's shift is its β by now

    def scale_parameter(self, x: ParamRef, c: ParamRef, axis: int | None, *, reciprocal: bool) -> ParamRef:
        return self._first(x, c)

    def multiply_parameter(self, x: ParamRef, c: float) -> ParamRef:
        return x

    def _first(self, *params: ParamRef) -> ParamRef:
        """Return the first of several parameters, if it stands for what is computed from them."""
        if any(p.key in self.replaceable for p in params):
            raise UnsupportedError("0331", "a caller may replace a parameter of this node")
        return params[0]

    # ---- signals

    def apply_weights(self, f: LinearMap, x: CellMap, w: ParamRef) -> CellMap:
        for axis in parallel_axes(f, len(x.dims)):  # the results of one place are no other's
            x = self.spread(x, axis)
        p = channel_product(f, x, w.shape, _Binding(self))
        y = self.fresh(*p.out)
        self._weigh(w.key, p.into(y), p.over)
        return CellMap(p.result(y), f.shape(x.dims, w.shape))

    def combine(self, f: SeparableMap, x: CellMap) -> CellMap:
        axes = f.axes if isinstance(f, Resample) else f.mixed_axes((1,) * len(x.dims))
        return self._mixed(x, axes, f.shape(x.dims, None), ordered=not isinstance(f, Reduce))

    def _mixed(self, x: CellMap, axes: Sequence[int], dims: Dims, *, ordered: bool) -> CellMap:
        """Combine values along axes; those axes are gone if the result has fewer."""
        cells, mixed = x.cells, {axis % len(x.dims) for axis in axes}
        for axis in mixed:
            cells = self.bound(cells, axis, ordered=ordered)
        if len(dims) < cells.ndim:
            cells = cells.reshape([n for axis, n in enumerate(cells.shape) if axis not in mixed])
        return CellMap(cells, dims)

    def add_signals(self, x: CellMap, y: CellMap, axis: int | None) -> CellMap:
        return self.combined([x, maps.broadcast_along(y, axis, len(x.dims))], (0, 1), ("all", "all"))

    def shift(self, x: CellMap, c: ParamRef, axis: int | None) -> CellMap:
        return self.combined([x, self.beside(c, x, axis)], (0, 1), ("all", "all"))

    def add_to_parameter(self, c: ParamRef, x: CellMap, axis: int | None) -> CellMap:
        return self.shift(x, c, None) if axis is None else super().add_to_parameter(c, x, axis)

    def scale_signal(self, x: CellMap, c: ParamRef, axis: int | None, *, reciprocal: bool) -> CellMap:
        factor = self.beside(c, x, axis, neutral=float(reciprocal))
        return self.combined([x, factor], (0, 1), ("all", "free") if reciprocal else ("any", "any"))

    def multiply_signal(self, x: CellMap, c: float) -> CellMap:
        return x

    def activate(self, x: CellMap, f: Activation, *slopes: ParamRef) -> CellMap:
        for slope in slopes:
            x = self.combined([x, self.beside(slope, x)], (0, 1), ("all", "free"))
        if f.at_zero:
            x = self.renewed(x)
            self.nonzero.append(x.cells.reshape(-1))
        return x

    def pool(self, x: CellMap, s: OrderStatistic) -> CellMap:
        return self._mixed(x, s.mixed_axes(len(x.dims)), s.shape(x.dims), ordered=isinstance(s, WindowMax))

    def move_signals(self, xs: Sequence[CellMap], v: View) -> CellMap:
        if isinstance(v, V.Stack):  # of operands of a maximum, whose order does not matter
            y = self.combined(xs, [0] * len(xs), ["all"] * len(xs))
            return CellMap(y.cells[None], v.shape(*(x.dims for x in xs)))
        if isinstance(v, V.Pad):
            return self._padded(xs[0], v)
        y = maps.move(v, [self.renewed(x) for x in xs] if isinstance(v, V.Concat) else xs)
        return self.renewed(y) if _occurrences(y.cells).any() else y

    def _padded(self, x: CellMap, v: V.Pad) -> CellMap:
        rank, cells = len(x.dims), x.cells
        pads = list(zip(v.pads[:rank], v.pads[rank:], strict=True))
        for axis, (begin, end) in enumerate(pads):
            if cells.shape[axis] > 1 and (begin or end):
                kept = cells.take(range(max(0, -begin), cells.shape[axis] - max(0, -end)), axis)
                sides = [self.fresh(*(max(0, n) if i == axis else m for i, m in enumerate(kept.shape)))
                         for n in (begin, end)]  # fmt: skip
                if v.value:
                    self.nonzero.extend(side.reshape(-1) for side in sides)
                cells = np.concatenate([sides[0], kept, sides[1]], axis)
        y = CellMap(cells, v.shape(x.dims))
        if v.value and not isinf(v.value) and any(max(p) > 0 for p in pads):
            y = self.renewed(y)
            self.nonzero.append(y.cells.reshape(-1))
        return y

    def apply(self, f: Nonlinear, xs: Sequence[Operand | None], types: Sequence[ValueType]) -> tuple[Operand, ...]:
        if f.node.op != "Product":
            raise UnsupportedError("0304", f.reason)
        x, y = (self.signal(operand) for operand in xs if operand is not None)
        return (self.combined([x, y], (0, 0), ("any", "any")),)


class _Binding(DisjointSets):
    """Lets `channel_product` bind the neurons that share weights, in order."""

    def __init__(self, neurons: NeuronAlgebra) -> None:
        super().__init__()
        self.neurons = neurons

    def tied(self, cells: Array, axis: int) -> Array:
        return self.neurons.bound(cells, axis, ordered=True)


def _padded(x: CellMap, rank: int) -> CellMap:
    missing = rank - len(x.dims)
    return CellMap(x.cells.reshape((1,) * missing + x.cells.shape), (1,) * missing + x.dims)


def _along(values: Array, axis: int, rank: int) -> Array:
    return values.reshape([-1 if i == axis else 1 for i in range(rank)])


def _apart(cells: Array) -> Array:
    """Give extent 1 to axes along which neurons repeat."""
    for axis in range(cells.ndim):
        if cells.shape[axis] > 1 and (cells == (first := cells.take([0], axis))).all():
            cells = first
    return cells


def _occurrences(cells: Array) -> Array:
    """For each neuron of an array, in which of its places there, by order, it is."""
    flat = cells.reshape(-1)
    order = np.argsort(flat, kind="stable")
    starts = np.r_[True, flat[order][1:] != flat[order][:-1]] if flat.size else np.zeros(0, bool)
    first = np.maximum.accumulate(np.where(starts, np.arange(flat.size), 0))
    result = np.empty(flat.size, np.int64)
    result[order] = np.arange(flat.size) - first
    return result.reshape(cells.shape)
