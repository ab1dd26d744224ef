"""Slices that are always 0, whatever the inputs of the network are: by zero weights alone."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import ClassVar

import numpy as np

from pathlift.ir.graph import Graph, Value
from pathlift.ir.primitives import views as V
from pathlift.ir.primitives.base import Activation, LinearMap, Nonlinear, SeparableMap, View
from pathlift.ir.primitives.derived import NormScale
from pathlift.ir.primitives.maps import Contract, Conv, ConvTranspose
from pathlift.ir.primitives.resample import Resample
from pathlift.ir.types import Array, Dims, Param, ValueType
from pathlift.passes.channels.axes import AxisAlgebra, Marked, Meeting
from pathlift.passes.channels.foreign import foreign_rule
from pathlift.passes.channels.slots import marked


class ZeroAlgebra(AxisAlgebra):
    """A mark says that all of a slice is 0; what is not marked may be anything."""

    name: ClassVar[str] = "zeros"
    mark = False

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def parameter(self, p: Param, key: str) -> Marked:
        zero = p.numpy() == 0
        return Marked(p.shape, _slices(zero), key)

    def lose(self, marks: Array | None) -> None:
        """Nothing is to be done."""

    def meet(self, marks: Sequence[Array | None], how: Meeting) -> Array | None:
        known = [m for m in marks if m is not None]
        if not known or how == "any" or (how != "product" and len(known) < len(marks)):
            return None
        met: Array = (np.logical_or if how == "product" else np.logical_and).reduce(known)
        return met

    def stretched(self, marks: Array | None) -> Array | None:
        return None

    def repeated(self, count: int) -> Array | None:
        return None

    def flat(self, x: Marked, axes: Sequence[int]) -> Array:
        first = x.axes[axes[0]]
        assert first is not None
        behind = [d for axis in axes[1:] if isinstance(d := x.dims[axis], int)]
        zero = np.zeros((len(first), *behind), bool)
        for i, axis in enumerate(axes):
            if (marks := x.axes[axis]) is not None:
                np.moveaxis(zero, i, 0)[marks] = True
        return zero

    def spread(self, elements: Array, wide: Sequence[int]) -> list[Array | None]:
        return list(_slices(elements))

    def derive(self, f: NormScale, *params: Marked) -> Marked:
        return Marked(params[0].dims, params[0].axes)

    def gate(self, x: Marked, f: Activation, *params: Marked) -> Marked:
        return Marked(x.dims, x.axes) if f.at_zero == 0 else Marked.blank(x.dims)

    def move(self, xs: Sequence[Marked], v: View) -> Marked:
        if isinstance(v, V.Pad) and v.value and max(v.pads, default=0) > 0:
            return Marked.blank(v.shape(xs[0].dims))
        return super().move(xs, v)

    def apply(self, f: Nonlinear, xs: Sequence[Marked | None], types: Sequence[ValueType]) -> tuple[Marked, ...]:
        if "Product" not in f.node.op and f.node.attrs.get("op_type") != "MatMul":
            raise self.refusal("what is not 0 where its operand is")
        return foreign_rule(self, f, [x for x in xs if x is not None], types)

    def linear(self, f: LinearMap, x: Marked, w: Marked | None = None) -> Marked:
        if w is None:
            if not isinstance(f, SeparableMap):
                raise self.refusal("a linear map without weights")
            axes = f.axes if isinstance(f, Resample) else f.mixed_axes((1,) * len(x.dims))
            return self.without(x, axes, f.shape(x.dims, None))
        param = self.graph[w.param].value if w.param else None
        if param is None:
            raise self.refusal("weights that are computed")
        filled, dims = param.numpy() != 0, f.shape(x.dims, w.dims)
        if isinstance(f, Contract):
            return self._contracted(f, x, filled, dims)
        if isinstance(f, Conv | ConvTranspose):
            g = f.groups
            # (group, out, in, tap)
            filled = filled.reshape(*filled.shape[:2], -1)
            grouped = filled.reshape(g, -1, *filled.shape[1:])
            grouped = grouped.swapaxes(1, 2) if isinstance(f, ConvTranspose) else grouped
            read = x.whole(1)
            if read is not None:
                grouped = grouped & ~read.reshape(g, 1, -1, 1)
            zero = ~grouped.any((2, 3)).reshape(-1)
            return Marked(dims, (x.axes[0], zero, *[None] * (len(dims) - 2)))
        raise self.refusal(f"a {type(f).__name__}")

    def _contracted(self, f: Contract, x: Marked, filled: Array, dims: Dims) -> Marked:
        xs, ws, out = f.letters(len(x.dims))
        if len(set(xs)) < len(xs) or len(set(ws)) < len(ws):
            raise self.refusal("a diagonal")
        for axis, letter in enumerate(xs):
            if letter in ws and (read := x.whole(axis)) is not None:
                filled = filled & ~read.reshape([-1 if c == letter else 1 for c in ws])
        rows = dict(zip(ws, _slices(~filled), strict=True))
        return Marked(dims, tuple(rows[c] if c in ws else x.axes[xs.index(c)] for c in out))


def _slices(zero: Array) -> tuple[Array | None, ...]:
    """Along each axis, of which indices all elements are set; ``None`` where of none."""
    if not zero.size or prod(zero.shape) == 1:
        return (None,) * zero.ndim
    found = (np.asarray(zero.all(tuple(j for j in range(zero.ndim) if j != i))) for i in range(zero.ndim))
    return tuple(marks if marks.any() else None for marks in found)


def zero_slices(graph: Graph) -> dict[Value, tuple[Array | None, ...]]:
    """Return, for each value and axis, which indices hold nothing but 0; ``None`` where none is known to.

    What follows from numbers that cancel is not seen, nor what bounds would tell.
    """
    return {value: y.axes for value, y in marked(graph, ZeroAlgebra(graph)).items()}
