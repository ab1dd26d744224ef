"""Views that keep all elements in row-major order, and only change the shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pathlift.ir import dims as D
from pathlift.ir.errors import GraphError
from pathlift.ir.primitives.base import View
from pathlift.ir.types import Dim, Dims

if TYPE_CHECKING:
    from torch import Tensor


class Reinterpretation(View):
    """The same elements in row-major order, in another shape."""


@dataclass(frozen=True)
class Reshape(Reinterpretation):
    """In `target`, 0 copies the input's extent and −1 is inferred."""

    target: tuple[int, ...]

    def shape(self, *xs: Dims) -> Dims:
        return D.reshaped(xs[0], self.target)

    def __call__(self, *xs: Tensor) -> Tensor:
        (x,) = xs
        return x.reshape([x.shape[i] if t == 0 and i < x.ndim else t for i, t in enumerate(self.target)])


@dataclass(frozen=True)
class Regroup(Reinterpretation):
    """Replace the axes of extents `old`, which begin (or, if `axis` is −1, end) the shape, by axes of extents `new`."""

    axis: int
    old: tuple[int, ...]
    new: tuple[int, ...]

    def shape(self, *xs: Dims) -> Dims:
        (x,) = xs
        n = len(self.old)
        found, rest = (x[:n], x[n:]) if self.axis == 0 else (x[-n:], x[:-n])
        if len(found) != n or not all(D.unify(a, b)[0] for a, b in zip(found, self.old, strict=True)):
            where = "end" if self.axis else "start"
            raise GraphError("0546", f"shape {list(x)} does not {where} with {list(self.old)}")
        return (*self.new, *rest) if self.axis == 0 else (*rest, *self.new)

    def __call__(self, *xs: Tensor) -> Tensor:
        (x,) = xs
        n = len(self.old)
        return x.reshape((*self.new, *x.shape[n:]) if self.axis == 0 else (*x.shape[:-n], *self.new))


@dataclass(frozen=True)
class Flatten(Reinterpretation):
    """Flatten to two axes: those before `axis`, and the rest."""

    axis: int

    def shape(self, *xs: Dims) -> Dims:
        (x,) = xs
        axis = D.axis(self.axis, len(x)) if self.axis < len(x) else self.axis
        if axis > len(x):
            raise GraphError("0536", f"axis {axis} is out of range for flattening {len(x)} axes")
        return _product(x[:axis]), _product(x[axis:])

    def __call__(self, *xs: Tensor) -> Tensor:
        (x,) = xs
        return x.reshape(x.shape[: self.axis].numel(), x.shape[self.axis :].numel())


def _product(dims: Dims) -> Dim:
    product: Dim = 1
    for d in dims:
        if d == 0 or product == 0:
            return 0
        if product == 1:
            product = d
        elif d != 1:
            product = product * d if isinstance(product, int) and isinstance(d, int) else None
            if product is None:
                return None
    return product
