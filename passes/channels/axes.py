"""Axes with a mark per index, and what views make of them.

A mark is whatever an analysis knows of an index along an axis: the channels that it goes with, or that all of it is 0.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from pathlift.ir import dims as D
from pathlift.ir.algebras.protocol import Algebra
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives import views as V
from pathlift.ir.primitives.base import OrderStatistic, View
from pathlift.ir.primitives.reshapes import Regroup, Reinterpretation
from pathlift.ir.types import Array, Dim, Dims, Param
from pathlift.passes.channels.maps import independent_axes

Meeting = Literal["sum", "product", "choice", "any"]
"""How operands meet elementwise: added, multiplied, one of them picked, or by any function."""


@dataclass(frozen=True, eq=False)
class Marked:
    """A value whose indices bear marks.

    Parameters
    ----------
    dims
        Its shape, which may be symbolic.
    axes
        Per axis, a mark for each index; ``None`` where nothing is known. Along an axis whose extent is not known, the
        marks of a period: its indices bear them over and over.
    param
        Key of the parameter that it is; empty if it is none.
    """

    dims: Dims
    axes: tuple[Array | None, ...]
    param: str = ""

    @classmethod
    def blank(cls, dims: Dims) -> Marked:
        """Nothing known."""
        return cls(dims, (None,) * len(dims))

    def whole(self, axis: int) -> Array | None:
        """The marks along an axis, one for each index; ``None`` where nothing is known, or those of a period are."""
        marks = self.axes[axis]
        return marks if marks is not None and self.dims[axis] == len(marks) else None

    def lifted(self, rank: int) -> Marked:
        """The same with leading axes of extent 1, up to this rank."""
        missing = rank - len(self.dims)
        return Marked((1,) * missing + self.dims, (None,) * missing + self.axes)

    def along(self, axis: int | None, rank: int) -> Marked:
        """A vector, so that it broadcasts along `axis` of a value of this rank; itself, without an axis."""
        if axis is None:
            return self
        behind = rank - 1 - axis % rank
        return Marked(self.dims + (1,) * behind, self.axes + (None,) * behind)


class AxisAlgebra(Algebra[Marked]):
    """Base of analyses that know marks: views move them, and subclasses say what becomes of those that meet.

    Attributes
    ----------
    mark
        That of an index of which nothing is known.
    """

    mark: int | bool
    key = ""
    """Of the node being evaluated."""

    @abstractmethod
    def parameter(self, p: Param, key: str) -> Marked:
        """Return a parameter, whose node has this key, with its marks."""

    def keep(self, x: Marked, reason: str) -> None:
        """Take note that something reads a value that says nothing of what becomes of marks: all are lost."""
        for marks in x.axes:
            self.lose(marks)

    @abstractmethod
    def meet(self, marks: Sequence[Array | None], how: Meeting) -> Array | None:
        """Return the marks of an axis where operands meet; one is ``None`` if nothing is known, or it broadcasts."""

    @abstractmethod
    def lose(self, marks: Array | None) -> None:
        """Take note that marks are lost."""

    @abstractmethod
    def flat(self, x: Marked, axes: Sequence[int]) -> Array:
        """Return the marks of the elements of axes of known extents, as an array over these axes."""

    @abstractmethod
    def spread(self, elements: Array, wide: Sequence[int]) -> list[Array | None]:
        """Return the marks of axes, one of `wide`, from those of elements."""

    @abstractmethod
    def repeated(self, count: int) -> Array | None:
        """Return the marks of an axis along which one index is repeated."""

    def elementwise(self, xs: Sequence[Marked], how: Meeting) -> Marked:
        """Let values meet, with broadcasting."""
        dims = D.broadcast(*(x.dims for x in xs))
        lifted = [x.lifted(len(dims)) for x in xs]
        axes: list[Array | None] = []
        for i, extent in enumerate(dims):
            stretched = [x.dims[i] == 1 != extent for x in lifted]
            marks = [x.axes[i] for x, broadcasts in zip(lifted, stretched, strict=True) if not broadcasts]
            known = [m for m in marks if m is not None]
            if any(len(m) != len(known[0]) or (len(m) not in (extent, 0) and isinstance(extent, int)) for m in known):
                self._lost(marks)
                axes.append(None)
            elif how != "product" and any(stretched):
                axes.append(self.stretched(self.meet(marks, how)))
            else:
                axes.append(self.meet(marks, how))
        return Marked(dims, tuple(axes))

    def stretched(self, marks: Array | None) -> Array | None:
        """Return the marks of an axis along which something meets that broadcasts, and is not multiplied."""
        return marks

    def worked(self, factors: Sequence[tuple[Dim, Array | None]]) -> None:
        """Take note of products: their number is that of these extents, each with the marks of its axis."""

    def without(self, x: Marked, axes: Sequence[int], dims: Dims) -> Marked:
        """Return a value whose elements along some axes are combined; if it has fewer axes, these are gone."""
        mixed = {axis % len(x.dims) for axis in axes}
        for axis in mixed:
            self.lose(x.axes[axis])
        kept = [None if i in mixed else marks for i, marks in enumerate(x.axes)]
        if len(dims) < len(kept):
            kept = [marks for i, marks in enumerate(kept) if i not in mixed]
        return Marked(dims, tuple(kept))

    def add(self, x: Marked, y: Marked, axis: int | None = None, *, alike: bool = False) -> Marked:
        return self.elementwise([x, y.along(axis, len(x.dims))], "sum")

    def scale(self, x: Marked, c: Marked | float, axis: int | None = None, *, reciprocal: bool = False) -> Marked:
        if not isinstance(c, Marked):
            return Marked(x.dims, x.axes)
        return self.elementwise([x, c.along(axis, len(x.dims))], "any" if reciprocal else "product")

    def select(self, x: Marked, s: OrderStatistic) -> Marked:
        return self.without(x, s.mixed_axes(len(x.dims)), s.shape(x.dims))

    def move(self, xs: Sequence[Marked], v: View) -> Marked:
        if isinstance(v, V.Stack):
            y = self.elementwise(xs, "choice")
            return Marked((len(xs), *y.dims), (None, *y.axes))
        dims = v.shape(*(x.dims for x in xs))
        if isinstance(v, V.Concat):
            return self._joined(xs, v.axis % len(dims), dims)
        (x,) = xs
        if isinstance(v, Regroup):
            raise self.refusal("extents that an attribute of the op fixes")
        if isinstance(v, Reinterpretation):
            return self._reshaped(x, dims)
        return Marked(dims, _moved(v, self, x, dims))

    def _joined(self, xs: Sequence[Marked], axis: int, dims: Dims) -> Marked:
        axes = [self.meet([x.axes[i] for x in xs], "choice") if i != axis else None for i in range(len(dims))]
        if isinstance(dims[axis], int):
            # Known extents.
            parts = [np.full(x.dims[axis], self.mark) if (m := x.whole(axis)) is None else m for x in xs]  # type: ignore[arg-type]
            axes[axis] = np.concatenate(parts) if any(x.axes[axis] is not None for x in xs) else None
        else:
            self._lost([x.axes[axis] for x in xs])
        return Marked(dims, tuple(axes))

    def _lost(self, marks: Sequence[Array | None]) -> None:
        for m in marks:
            self.lose(m)

    def _reshaped(self, x: Marked, dims: Dims) -> Marked:
        axes: list[Array | None] = [None] * len(dims)
        for old, new in independent_axes(x.dims, dims):
            marks = x.axes[old[0]] if len(old) == len(new) == 1 else None
            if marks is not None and dims[new[0]] in (len(marks), None):
                axes[new[0]] = marks
            elif any(x.axes[i] is not None for i in old):
                for i, marks in self._regrouped(x, old, tuple(dims[j] for j in new)).items():
                    axes[new[i]] = marks
        return Marked(dims, tuple(axes))

    def _regrouped(self, x: Marked, old: Sequence[int], new: Dims) -> dict[int, Array | None]:
        """Marks of new axes that take the place of old ones; extents that are not known must come first."""
        first = next(i for i in old if x.axes[i] is not None)
        inner = [i for i in old if i >= first]
        start = max((j + 1 for j, d in enumerate(new) if not isinstance(d, int)), default=0)
        period, size = 0, prod(d for d in new[start:] if isinstance(d, int))
        if all(isinstance(x.dims[i], int) for i in inner[1:]):
            elements = self.flat(x, inner).reshape(-1)
            period = elements.size
        if period and size and size % period == 0:
            # Known extents.
            marks = self.spread(np.tile(elements, size // period).reshape(new[start:]), range(len(new) - start))  # type: ignore[arg-type]
            return {start + i: m for i, m in enumerate(marks)}
        if period and size and start == 1 and period % size == 0:
            shape = (period // size, *new[start:])
            marks = self.spread(elements.reshape(shape), range(len(shape)))  # type: ignore[arg-type]  # known extents
            return {start - 1 + i: m for i, m in enumerate(marks)}
        self._lost([x.axes[i] for i in old])
        return {}


@functools.singledispatch
def _moved(v: View, algebra: AxisAlgebra, x: Marked, dims: Dims) -> tuple[Array | None, ...]:
    """Return the marks of a view of one value."""
    raise UnsupportedError("0331", f"there is no rule for a {type(v).__name__}")


@_moved.register
def _(v: V.Cast, algebra: AxisAlgebra, x: Marked, dims: Dims) -> tuple[Array | None, ...]:
    return x.axes


@_moved.register(V.Transpose)
@_moved.register(V.Squeeze)
@_moved.register(V.Unsqueeze)
def _(v: View, algebra: AxisAlgebra, x: Marked, dims: Dims) -> tuple[Array | None, ...]:
    # Each axis by its number; a squeezed one has extent 1, which does not matter here.
    origins = v.shape(tuple(map(str, range(len(x.dims)))))
    return tuple(x.axes[int(i)] if isinstance(i, str) else None for i in origins)


@_moved.register
def _(v: V.Slice, algebra: AxisAlgebra, x: Marked, dims: Dims) -> tuple[Array | None, ...]:
    axes = list(x.axes)
    for axis, start, end, step in zip(v.axes, v.starts, v.ends, v.steps, strict=True):
        marks, size = x.whole(axis), x.dims[axis]
        if marks is None or not isinstance(size, int) or (step != 1 and len(v.axes) > 1):
            algebra.lose(axes[axis])
            axes[axis] = None
        else:
            axes[axis] = marks[list(D.picked(size, start, end, step))]
    return tuple(axes)


@_moved.register
def _(v: V.Take, algebra: AxisAlgebra, x: Marked, dims: Dims) -> tuple[Array | None, ...]:
    axes, axis = list(x.axes), v.axis % len(x.dims)
    marks = x.whole(axis)
    if marks is None:
        algebra.lose(axes[axis])
    axes[axis] = None if marks is None else marks[list(v.indices)]
    return tuple(axes)


@_moved.register
def _(v: V.Expand, algebra: AxisAlgebra, x: Marked, dims: Dims) -> tuple[Array | None, ...]:
    lifted = x.lifted(len(dims))
    return tuple(
        algebra.repeated(after) if before == 1 and isinstance(after, int) and after > 1 else marks
        for before, after, marks in zip(lifted.dims, dims, lifted.axes, strict=True)
    )


@_moved.register
def _(v: V.Tile, algebra: AxisAlgebra, x: Marked, dims: Dims) -> tuple[Array | None, ...]:
    return tuple(
        np.tile(marks, n) if marks is not None and isinstance(d, int) else marks
        for marks, n, d in zip(x.axes, v.repeats, x.dims, strict=True)
    )


@_moved.register
def _(v: V.Pad, algebra: AxisAlgebra, x: Marked, dims: Dims) -> tuple[Array | None, ...]:
    axes = list(x.axes)
    for i, (begin, end) in enumerate(zip(v.pads[: len(dims)], v.pads[len(dims) :], strict=True)):
        marks = axes[i]
        if marks is not None and (begin or end):
            if x.whole(i) is None:
                algebra.lose(marks)
                axes[i] = None
                continue
            kept = marks[max(0, -begin) : len(marks) - max(0, -end)]
            axes[i] = np.pad(kept, (max(0, begin), max(0, end)), constant_values=algebra.mark)
    return tuple(axes)
