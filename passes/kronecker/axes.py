"""Axes of tensors as sequences of factors, followed through views and contractions.

An axis is a sequence of factors in row-major order. A reshape that groups them otherwise splits factors where it must;
since a factor is split in place, every tensor seen before is described by the finer ones, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from pathlift.ir.algebras.interpret import evaluate
from pathlift.ir.algebras.protocol import Algebra
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Node
from pathlift.ir.primitives.base import View
from pathlift.ir.primitives.maps import Contract
from pathlift.ir.primitives.reshapes import Reinterpretation
from pathlift.ir.primitives.views import Squeeze, Transpose, Unsqueeze
from pathlift.ir.types import Array, Dim, Dims


@dataclass(eq=False)
class Factor:
    """A factor of an axis: an index of its own, whose extent may be a symbol or unknown."""

    size: Dim
    parts: tuple[Factor, ...] = ()

    def split(self, *sizes: int) -> tuple[Factor, ...]:
        """Replace it by factors of these extents, which multiply to its own."""
        assert not self.parts
        self.parts = tuple(map(Factor, sizes))
        return self.parts

    def finest(self) -> Iterator[Factor]:
        """Yield what it was split into; nothing, if there is only one index."""
        if self.parts:
            for part in self.parts:
                yield from part.finest()
        elif self.size != 1:
            yield self


Axis = tuple[Factor, ...]
Axes = tuple[Axis, ...]


def finest(axes: Iterable[Axis]) -> Axis:
    """Return the factors of some axes, as fine as they have become."""
    return tuple(f for axis in axes for factor in axis for f in factor.finest())


def of_shape(shape: Dims) -> Axes:
    """Return axes of one factor each."""
    return tuple((Factor(size),) for size in shape)


def viewed(node: Node, axes: Axes, shape: Dims) -> Axes | None:
    """Return the axes of what a view that keeps all elements makes of a tensor; ``None`` if that is not known.

    Parameters
    ----------
    node
        Of one operand.
    axes
        Of its operand.
    shape
        Of its result.
    """
    try:
        (result,) = evaluate(_Viewed(shape), node, (list(axes),))
    except UnsupportedError:
        return None
    return tuple(result)


class _Viewed(Algebra[list[Axis]]):
    """One view: what extents there are between two of them, the last one's result does not tell.

    Values are lists, since a tuple would be several results.
    """

    def __init__(self, shape: Dims) -> None:
        self.shape, self.moved = shape, False

    def move(self, xs: Sequence[list[Axis]], v: View) -> list[Axis]:
        result = None if self.moved or len(xs) > 1 else self._moved(xs[0], v)
        if result is None:
            raise self.refusal("a rearrangement")
        self.moved = True
        return list(result)

    def _moved(self, axes: Sequence[Axis], v: View) -> Iterable[Axis] | None:
        match v:
            case Transpose(perm):
                return [axes[i] for i in perm]
            case Squeeze(squeezed):
                gone = {i % len(axes) for i in squeezed}
                return [axis for i, axis in enumerate(axes) if i not in gone]
            case Unsqueeze(inserted):
                new, rest = {i % len(self.shape) for i in inserted}, iter(axes)
                return [() if i in new else next(rest) for i in range(len(self.shape))]
            case Reinterpretation():
                return regrouped(axes, self.shape)
        return None


def regrouped(axes: Iterable[Axis], shape: Dims) -> Axes | None:
    """Return the axes of a row-major reshape; ``None`` if they cannot be told.

    Extents are taken from both ends, as far as they are known, or are symbols that match; what remains must be one
    axis.
    """
    factors = list(finest(axes))
    front, back = list[Axis](), list[Axis]()
    targets = list(shape)
    for taken, at in ((front, 0), (back, -1)):
        while targets:
            found = _take(factors, targets[at], at)
            if found is None:
                break
            taken.append(found)
            targets.pop(at)
    if len(targets) > 1 or (factors and not targets):
        return None
    return (*front, *[tuple(factors)] * len(targets), *reversed(back))


def _take(factors: list[Factor], target: Dim, at: int) -> Axis | None:
    """Take factors of this extent off an end of a list; ``None``, and the list unchanged, if that is impossible."""
    if not isinstance(target, int):
        return (factors.pop(at),) if factors and target is not None and factors[at].size == target else None
    found, rest = list[Factor](), list(factors)
    while target > 1:
        size = rest[at].size if rest else None
        if not isinstance(size, int) or not size or (target % size and size % target):
            factors[:] = [f for factor in factors for f in factor.finest()]  # one may have been split
            return None
        factor = rest.pop(at)
        if size > target:
            parts = factor.split(target, size // target) if at == 0 else factor.split(size // target, target)
            factor = parts[at]
            rest.insert(0 if at == 0 else len(rest), parts[-1 - at])
        found.append(factor)
        target //= min(size, target)
    if target < 1:
        return None
    factors[:] = rest
    return tuple(found if at == 0 else reversed(found))


def contracted(equation: str, axes: Axes, shape: Sequence[int]) -> tuple[Axes, Axes] | None:
    """Return the axes of the weights, and those of the result, of a contraction; ``None`` if extents are not known.

    Parameters
    ----------
    equation
        As `Contract` has it.
    axes
        Of its operand.
    shape
        Of the weights. An axis that they share with the operand is the same one, and others are new.
    """
    xs, ws, out = Contract(equation).letters(len(axes))
    known = dict(zip(xs, axes, strict=True))
    for letter, size in zip(ws, shape, strict=True):
        if extent(known.setdefault(letter, (Factor(size),))) != size:
            return None
    return tuple(known[letter] for letter in ws), tuple(known[letter] for letter in out)


def extent(axis: Axis) -> int | None:
    """Return the product of the factors' extents; ``None`` if one is not known."""
    sizes = [f.size for f in finest((axis,))]
    known = [size for size in sizes if isinstance(size, int)]
    return prod(known) if len(known) == len(sizes) else None


def numbers(axis: Axis, order: Axis) -> Array:
    """Return what number each position has in another order of (some of) the factors; shape (extent of axis,)."""
    sizes = [_known(f) for f in axis]
    strides = {f: prod(map(_known, order[i + 1 :])) for i, f in enumerate(order)}
    grid = [
        np.arange(n).reshape([-1 if j == i else 1 for j in range(len(axis))]) * strides.get(f, 0)
        for i, (f, n) in enumerate(zip(axis, sizes, strict=True))
    ]
    return np.broadcast_to(sum(grid, np.zeros((), np.int64)), sizes).reshape(-1)


def _known(factor: Factor) -> int:
    assert isinstance(factor.size, int)
    return factor.size
