"""Parameters on the way to where they are used: what nodes compute from them, and how scales pass through that.

A node may use a parameter as it is, or compute from several: a frozen batch norm's scale γ/√(var+ε), and its shift
β − s·mean. Where such a value is used, it must be multiplied by a ratio of factors; its rule says what that means for
the parameters: γ, β and the mean are scaled, never the variance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pathlift.ir import dims as D
from pathlift.ir.primitives.base import View
from pathlift.ir.primitives.views import Cast
from pathlift.ir.types import Dims, Param

ScaleRule = Literal["leaf", "first", "broadcast", "product", "sum", "fixed"]


@dataclass(frozen=True, eq=False)
class ParamExpr:
    """A parameter, or what is computed from some.

    Parameters
    ----------
    shape
        Its extents.
    rule
        How its scale follows from the parts': ``leaf`` (a parameter), ``first`` (that of the first part, the others
        keeping theirs), ``broadcast`` (a vector along an axis), ``product``, ``sum`` (all alike), ``fixed`` (none
        changes).
    value
        Computes it, on torch tensors; called by analyses that need values.
    parts
        What it is computed from.
    param, name
        Of a ``leaf``.
    """

    shape: tuple[int, ...]
    rule: ScaleRule
    value: Callable[[], Any]
    parts: tuple[ParamExpr, ...] = ()
    param: Param | None = None
    name: str = ""

    @classmethod
    def of(cls, param: Param, name: str) -> ParamExpr:
        """A parameter."""

        def value() -> Any:
            from pathlift.ir.algebras.numeric import as_tensor

            return as_tensor(param.numpy())

        return cls(param.shape, "leaf", value, param=param, name=name)

    def broadcast_along(self, axis: int | None, rank: int) -> ParamExpr:
        """A vector, so that it broadcasts along `axis` of a tensor of this rank; itself, without an axis."""
        shape = self.shape if axis is None else tuple(self.shape[0] if i == axis % rank else 1 for i in range(rank))
        return (
            self if shape == self.shape else ParamExpr(shape, "broadcast", lambda: self.value().reshape(shape), (self,))
        )

    def by(self, number: float) -> ParamExpr:
        """Times a number."""
        return ParamExpr(self.shape, "first", lambda: self.value() * number, (self,))

    def plus(self, other: ParamExpr) -> ParamExpr:
        """The sum, with broadcasting."""
        shape = _known(D.broadcast(self.shape, other.shape))
        return ParamExpr(shape, "sum", lambda: self.value().double() + other.value().double(), (self, other))

    def times(self, other: ParamExpr, *, reciprocal: bool = False) -> ParamExpr:
        """The product, or the quotient, with broadcasting."""
        shape = _known(D.broadcast(self.shape, other.shape))
        if reciprocal:
            return ParamExpr(shape, "fixed", lambda: self.value().double() / other.value().double(), (self, other))
        return ParamExpr(shape, "product", lambda: self.value().double() * other.value().double(), (self, other))


def derived(f: Callable[..., Any], parts: Sequence[ParamExpr]) -> ParamExpr:
    """What a node computes elementwise; it is linear in the first part."""
    return ParamExpr(parts[0].shape, "first", lambda: f(*(p.value().double() for p in parts)), tuple(parts))


def moved(xs: Sequence[ParamExpr], v: View) -> ParamExpr:
    """Rearranged parameters."""
    rule: ScaleRule = "first" if isinstance(v, Cast) else "fixed"
    return ParamExpr(_known(v.shape(*(x.shape for x in xs))), rule, lambda: v(*(x.value() for x in xs)), tuple(xs))


def _known(dims: Dims) -> tuple[int, ...]:
    return tuple(d for d in dims if isinstance(d, int))


def _zero() -> Any:
    import torch

    return torch.zeros((), dtype=torch.float64)


ZERO = ParamExpr((), "fixed", _zero)
