"""The Shape algebra: types of every value from the types of the inputs; unknown in, unknown out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from pathlift.ir import dims as D
from pathlift.ir.algebras.protocol import Algebra
from pathlift.ir.errors import GraphError
from pathlift.ir.primitives.base import Activation, LinearMap, Nonlinear, OrderStatistic, View
from pathlift.ir.primitives.derived import NormScale
from pathlift.ir.primitives.views import Cast
from pathlift.ir.types import DTYPES, UNKNOWN, Dims, OtherType, Param, TensorType, ValueType


class Shape(Algebra[ValueType]):
    """Values are `TensorType`s; an op on a value of unknown rank has an unknown type."""

    name: ClassVar[str] = "shape inference"

    def param(self, p: Param) -> ValueType:
        return p.type

    def derive(self, f: NormScale, *params: ValueType) -> ValueType:
        return params[0]

    def linear(self, f: LinearMap, x: ValueType, w: ValueType | None = None) -> ValueType:
        if w is not None:
            _agree(x, w)
            if _shape(w) is None:
                return UNKNOWN
        return _lift(lambda s: f.shape(s, None if w is None else _shape(w)), x)

    def add(self, x: ValueType, y: ValueType, axis: int | None = None, *, alike: bool = False) -> ValueType:
        if axis is not None:
            return _lift(lambda s: _fits_along(s, _shape(y), axis), x)
        return _lift(D.alike if alike else D.broadcast, x, y)

    def scale(
        self,
        x: ValueType,
        c: ValueType | float,
        axis: int | None = None,
        *,
        reciprocal: bool = False,
    ) -> ValueType:
        return x if isinstance(c, float | int) else self.add(x, c, axis)

    def gate(self, x: ValueType, f: Activation, *params: ValueType) -> ValueType:
        def unchanged(s: Dims, *slopes: Dims) -> Dims:
            if slopes and not _fits_into(slopes[0], s):
                raise GraphError("0534", f"slopes {list(slopes[0])} do not broadcast to {list(s)}")
            return s

        return _lift(unchanged, x, *params)

    def select(self, x: ValueType, s: OrderStatistic) -> ValueType:
        return _lift(s.shape, x)

    def move(self, xs: Sequence[ValueType], v: View) -> ValueType:
        y = _lift(v.shape, *xs)
        return TensorType(DTYPES[v.to], y.shape) if isinstance(v, Cast) and isinstance(y, TensorType) else y

    def apply(self, f: Nonlinear, xs: Sequence[ValueType | None], types: Sequence[ValueType]) -> tuple[ValueType, ...]:
        return (_lift(f.shape, *xs),) if f.shape is not None else tuple(types)


def _shape(t: ValueType) -> Dims | None:
    return t.shape if isinstance(t, TensorType) else None


def _lift(f: Callable[..., Dims], *xs: ValueType | None) -> ValueType:
    """Apply a shape rule to tensors whose ranks are known; the first operand's dtype is the result's."""
    if any(isinstance(x, OtherType) for x in xs):
        raise GraphError("0535", f"expects tensors, got {', '.join(map(str, xs))}")
    _agree(*xs)
    first = xs[0]
    assert isinstance(first, TensorType)
    shapes = [None if x is None else _shape(x) for x in xs]
    if any(s is None for s in shapes):
        return TensorType(first.dtype, None)
    try:
        return TensorType(first.dtype, f(*shapes))
    except IndexError:
        raise GraphError("0536", f"an axis is out of range for {', '.join(map(str, xs))}") from None


def _agree(*xs: ValueType | None) -> None:
    """Check that operands whose element types are known have one and the same."""
    if len({x.dtype for x in xs if isinstance(x, TensorType) and x.dtype is not None}) > 1:
        raise GraphError("0543", f"operands differ in element type: {', '.join(map(str, xs))}")


def _fits_into(small: Dims, large: Dims) -> bool:
    """Whether one shape broadcasts to the other without changing it."""
    return len(small) <= len(large) and all(
        a == 1 or D.unify(a, b)[0] for a, b in zip(reversed(small), reversed(large), strict=False)
    )


def _fits_along(x: Dims, vector: Dims | None, axis: int) -> Dims:
    if vector is not None and (len(vector) != 1 or not D.unify(x[axis], vector[0])[0]):
        raise GraphError("0537", f"a vector {list(vector)} does not fit axis {axis} of {list(x)}")
    return x
