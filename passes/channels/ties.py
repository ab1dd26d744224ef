"""Ties between factors: which ones a neuron-wise rescaling may choose freely, derived from the graph.

Every value of the network is multiplied by a factor per channel. A linear map lets its outputs have factors of their
own, since its weights make up for them. Everything else that is positively homogeneous passes factors on, and ties
those of the values it combines: sums, pools, sorting within a group, averages, resizing. What is not homogeneous fixes
the factor at 1, and so do the network's inputs and outputs. Concatenation ties nothing along its own axis.

Source: the rescaling symmetries of Gonon et al. (arXiv 2405.15006), here for any graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isinf
from typing import Any, ClassVar

import numpy as np

from pathlift.ir import dims as D
from pathlift.ir.algebras.two_sorted import TwoSorted
from pathlift.ir.primitives.base import Activation, LinearMap, OrderStatistic, SeparableMap, View
from pathlift.ir.primitives.maps import AveragePool, Reduce
from pathlift.ir.primitives.resample import Resample
from pathlift.ir.primitives.selections import WindowMax
from pathlift.ir.primitives.views import Pad
from pathlift.ir.types import Array, Dims, Param, TensorType, ValueType
from pathlift.passes.channels import maps
from pathlift.passes.channels.cells import PINNED, DisjointSets
from pathlift.passes.channels.constraints import Scale, ScaleConstraints
from pathlift.passes.channels.maps import CellMap
from pathlift.passes.channels.observer import MagnitudeObserver
from pathlift.passes.channels.parameters import ZERO, ParamExpr, derived, moved
from pathlift.passes.channels.products import channel_product

Operand = CellMap | ParamExpr


@dataclass(frozen=True)
class Pin:
    """Where factors were fixed at 1.

    Parameters
    ----------
    node, op
        Label and op of the node.
    reason
        Why.
    count
        How many classes it fixed that had been free until then.
    """

    node: str
    op: str
    reason: str
    count: int


class Ties(TwoSorted[ParamExpr, CellMap]):
    """Merges the cells that must share a factor, and collects what parameters must be multiplied by.

    Parameters
    ----------
    magnitudes
        Told of every step, in order.
    replaceable
        Names of parameters that a caller may replace, which therefore keep their scale.
    """

    name: ClassVar[str] = "rescaling"
    parameter_type: ClassVar[type] = ParamExpr

    def __init__(self, magnitudes: MagnitudeObserver | None = None, replaceable: frozenset[str] = frozenset()) -> None:
        self.cells = DisjointSets()
        self.constraints = ScaleConstraints(self.cells)
        self.magnitudes = magnitudes or MagnitudeObserver()
        self.magnitudes.fixed(np.full(1, PINNED))
        self.replaceable = replaceable
        self.pins: list[Pin] = []

    # ---- what all primitives are made of

    def pin(self, cells: Array, reason: str) -> None:
        """Fix factors at 1."""
        free = int(np.count_nonzero(np.unique(self.cells.roots(cells))))
        self.cells.tie(cells, np.full((), PINNED))
        if free:
            assert self.node is not None
            self.pins.append(Pin(self.node.label, str(self.node.attrs.get("op_type", self.node.op)), reason, free))

    def _like(self, cells: Array) -> Array:
        """Return new cells with the factors of these, for values of another size."""
        y = self.cells.fresh(*cells.shape)
        self.cells.tie(y, cells)
        return y

    def _require(self, c: ParamExpr, s: Scale) -> None:
        assert self.node is not None
        if c.param is not None and c.name in self.replaceable:
            self.pin(s.times, f"a caller may replace {c.name!r}")
            self.pin(s.over, f"a caller may replace {c.name!r}")
        self.constraints.require(c, s, self.node.label)

    def keep(self, operand: Operand, reason: str) -> None:
        """Fix the scale of an operand, be it neurons or a parameter."""
        if self.is_parameter(operand):
            self._require(operand, Scale())
        else:
            self.pin(operand.cells, reason)

    # ---- parameters

    def param(self, p: Param) -> ParamExpr:
        assert self.node is not None
        return ParamExpr.of(p, self.node.names[0])

    def derive_parameter(self, f: Callable[..., Any], params: Sequence[ParamExpr]) -> ParamExpr:
        return derived(f, params)

    def add_parameters(self, x: ParamExpr, y: ParamExpr, axis: int | None) -> ParamExpr:
        return x.plus(y.broadcast_along(axis, len(x.shape)))

    def scale_parameter(self, x: ParamExpr, c: ParamExpr, axis: int | None, *, reciprocal: bool) -> ParamExpr:
        return x.times(c.broadcast_along(axis, len(x.shape)), reciprocal=reciprocal)

    def multiply_parameter(self, x: ParamExpr, c: float) -> ParamExpr:
        return x.by(c)

    def move_parameters(self, xs: Sequence[ParamExpr], v: View) -> ParamExpr:
        return moved(xs, v)

    def lift(self, p: ParamExpr) -> CellMap:
        """Read a parameter as neurons: a bias, whose elements may all be scaled."""
        y = self.cells.fresh(*p.shape)
        self.magnitudes.constant(y, p)
        self._require(p, Scale(y))
        return CellMap(y, p.shape)

    # ---- signals

    def apply_weights(self, f: LinearMap, x: CellMap, w: ParamExpr) -> CellMap:
        p = channel_product(f, x, w.shape, _Positions(self))
        y = self.cells.fresh(*p.out)
        self.magnitudes.linear(y, p, w)
        self._require(w, Scale(p.into(y), p.over))
        return CellMap(p.result(y), f.shape(x.dims, w.shape))

    def combine(self, f: SeparableMap, x: CellMap) -> CellMap:
        axes = f.axes if isinstance(f, Resample) else f.mixed_axes((1,) * len(x.dims))
        counts = {axis % len(x.dims): _taps(f, axis, x.dims) for axis in axes}
        return self._mixed(x, counts, f.shape(x.dims, None))

    def _mixed(self, x: CellMap, counts: dict[int, tuple[int, float]], dims: Dims) -> CellMap:
        """Combine values along axes; those axes end up uniform, or are gone."""
        cells = x.cells
        for axis, (count, coefficient) in counts.items():
            tied = self.cells.tied(cells, axis)
            y = self._like(tied)
            self.magnitudes.combined(y, cells, axis, count, coefficient)
            cells = y
        if len(dims) < cells.ndim:
            cells = cells.reshape([n for axis, n in enumerate(cells.shape) if axis not in counts])
        return CellMap(cells, dims)

    def add_signals(self, x: CellMap, y: CellMap, axis: int | None) -> CellMap:
        y = maps.broadcast_along(y, axis, len(x.dims))
        dims = D.broadcast(x.dims, y.dims)
        self.cells.tie(x.cells, y.cells)
        shape = np.broadcast_shapes(x.cells.shape, y.cells.shape)
        result = self._like(np.broadcast_to(x.cells, shape))
        self.magnitudes.sum(result, x.cells, y.cells)
        return CellMap(result, dims)

    def shift(self, x: CellMap, c: ParamExpr, axis: int | None) -> CellMap:
        c = c.broadcast_along(axis, len(x.dims))
        dims = D.broadcast(x.dims, c.shape)
        cells = x.cells.reshape((1,) * (len(dims) - x.cells.ndim) + x.cells.shape)
        result = self._like(cells)
        self._require(c, Scale(result))
        self.magnitudes.sum(result, cells, c)
        return CellMap(result, dims)

    def add_to_parameter(self, c: ParamExpr, x: CellMap, axis: int | None) -> CellMap:
        return self.shift(x, c, None) if axis is None else super().add_to_parameter(c, x, axis)

    def scale_signal(self, x: CellMap, c: ParamExpr, axis: int | None, *, reciprocal: bool) -> CellMap:
        c = c.broadcast_along(axis, len(x.dims))
        dims = D.broadcast(x.dims, c.shape)
        rank = len(dims)
        cells = x.cells.reshape((1,) * (rank - x.cells.ndim) + x.cells.shape)
        aligned = (1,) * (rank - len(c.shape)) + c.shape
        number = axis is None and set(aligned) <= {1}
        covered = not number and all(m == 1 or m == n for m, n in zip(cells.shape, aligned, strict=True))
        y = self.cells.fresh(*aligned) if covered else self._like(cells)
        scale = Scale(y, cells) if covered else Scale()
        self._require(c, scale.inverse if reciprocal else scale)
        self.magnitudes.scaled(y, cells, c, reciprocal=reciprocal)
        return CellMap(y, dims)

    def multiply_signal(self, x: CellMap, c: float) -> CellMap:
        if abs(c) == 1.0:
            return x
        y = self._like(x.cells)
        self.magnitudes.scaled(y, x.cells, c)
        return CellMap(y, x.dims)

    def activate(self, x: CellMap, f: Activation, *slopes: ParamExpr) -> CellMap:
        for slope in slopes:
            self._require(slope, Scale())
        if not f.homogeneous:
            self.pin(x.cells, f"{f.name} is not positively homogeneous")
            return CellMap.uniform(PINNED, x.dims)
        if slopes:
            (slope,) = slopes
            y = self._like(np.broadcast_to(x.cells, np.broadcast_shapes(x.cells.shape, slope.shape)))
            self.magnitudes.sloped(y, x.cells, slope)
            return CellMap(y, x.dims)
        return self.multiply_signal(x, f.lipschitz) if f.lipschitz not in (0.0, inf) else x

    def pool(self, x: CellMap, s: OrderStatistic) -> CellMap:
        counts = {axis: (_pool(s, axis, x.dims), 1.0) for axis in s.mixed_axes(len(x.dims))}
        return self._mixed(x, counts, s.shape(x.dims))

    def move_signals(self, xs: Sequence[CellMap], v: View) -> CellMap:
        return self._padded(xs[0], v) if isinstance(v, Pad) else maps.move(v, xs)

    def _padded(self, x: CellMap, v: Pad) -> CellMap:
        """Zeros (and −∞, which pools never select) have any factor; another constant has none."""
        dims, rank = v.shape(x.dims), len(x.dims)
        pads = list(zip(v.pads[:rank], v.pads[rank:], strict=True))
        if v.value != 0 and not isinf(v.value) and any(max(p) > 0 for p in pads):
            self.pin(x.cells, f"padding with {v.value:g} is not positively homogeneous")
            return CellMap.uniform(PINNED, dims)
        cells = x.cells
        for axis, (begin, end) in enumerate(pads):
            if cells.shape[axis] > 1 and (begin or end):
                cells = cells.take(range(max(0, -begin), cells.shape[axis] - max(0, -end)), axis)
                sides = [self.cells.fresh(*(max(0, n) if i == axis else m for i, m in enumerate(cells.shape)))
                         for n in (begin, end)]  # fmt: skip
                for side in sides:
                    self.magnitudes.constant(side, ZERO)
                cells = np.concatenate([sides[0], cells, sides[1]], axis)
        return CellMap(cells, dims)


class _Positions(DisjointSets):
    """Lets `channel_product` tie the positions that share weights: one cell stands for all, as large as the largest."""

    def __init__(self, ties: Ties) -> None:
        super().__init__()
        self.ties = ties

    def tied(self, cells: Array, axis: int) -> Array:
        if cells.shape[axis] <= 1:
            return cells
        y = self.ties._like(self.ties.cells.tied(cells, axis))
        self.ties.magnitudes.largest(y, cells, axis)
        return y


def _taps(f: SeparableMap, axis: int, dims: Dims) -> tuple[int, float]:
    """How many values an average or a sum takes along an axis, and what each is multiplied by."""
    if isinstance(f, AveragePool):
        return f.kernel[axis - 2], 1 / f.kernel[axis - 2]
    n = dims[axis]
    if isinstance(f, Reduce) and isinstance(n, int) and n:
        return n, 1 / n if f.mean else 1.0
    return 1, 1.0


def _pool(s: OrderStatistic, axis: int, dims: Dims) -> int:
    """How many values a pool takes along an axis."""
    n = dims[axis]
    return s.kernel[axis - 2] if isinstance(s, WindowMax) else n if isinstance(n, int) else 1


def uniform(type_: ValueType) -> CellMap:
    """The cells of a value whose factor is 1; of a value that is no tensor, or of unknown rank, none are known."""
    shape = type_.shape if isinstance(type_, TensorType) else None
    return CellMap.uniform(PINNED, shape or ())
