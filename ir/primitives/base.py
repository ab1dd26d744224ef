"""Primitives: frozen descriptions, handed to algebras, that know their shape and their torch meaning.

This file holds the base classes, and what needs no file of its own. torch is imported where it is used, so that reading
a model does not load it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from pathlift.ir import dims as D
from pathlift.ir.types import Dims

if TYPE_CHECKING:
    from torch import Tensor

    from pathlift.ir.graph import Node
    from pathlift.ir.primitives.taps import Taps
    from pathlift.ir.types import Array


class LinearMap(ABC):
    """A map linear in `x`; also linear in the weights `w` where it has weights."""

    @abstractmethod
    def shape(self, x: Dims, w: Dims | None) -> Dims:
        """Shape of the result for operands of these shapes."""

    @abstractmethod
    def __call__(self, x: Tensor, w: Tensor | None = None) -> Tensor:
        """Apply the map; `w` is used as it comes."""


class SeparableMap(LinearMap):
    """A map without weights that combines values along one axis after another: averages, sums, interpolation."""

    @abstractmethod
    def mixed_axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The axes of an input of this shape along which values are combined."""

    @abstractmethod
    def taps(self, axis: int, size: int) -> Taps:
        """What each output position reads along `axis`, of extent `size`; a source occurs once per row."""

    def __call__(self, x: Tensor, w: Tensor | None = None) -> Tensor:
        for axis in self.mixed_axes(tuple(x.shape)):
            x = _combined(x, axis % x.ndim, self.taps(axis, x.shape[axis]))
        return x


def _combined(x: Tensor, axis: int, taps: Taps) -> Tensor:
    """Σ over taps of coefficient · value, along one axis."""
    import torch

    out, k = taps.sources.shape
    if not x.shape[axis]:
        return x.new_zeros([out if i == axis else n for i, n in enumerate(x.shape)])
    coefficients = taps.sources >= 0 if taps.coefficients is None else taps.coefficients
    sources = torch.from_numpy(taps.sources.clip(0).reshape(-1)).to(x.device)
    taken = x.index_select(axis, sources).reshape(*x.shape[:axis], out, k, *x.shape[axis + 1 :])
    weights = torch.from_numpy(coefficients).to(x).reshape(out, k, *[1] * (x.ndim - axis - 1))
    return (taken * weights).sum(axis + 1)


class View(ABC):
    """A rearrangement of one or several tensors; every output element is an input element or a constant."""

    @abstractmethod
    def shape(self, *xs: Dims) -> Dims:
        """Shape of the result."""

    @abstractmethod
    def __call__(self, *xs: Tensor) -> Tensor:
        """Rearrange torch tensors."""


@dataclass(frozen=True)
class Activation:
    """An elementwise activation, with the constants that analyses rest on.

    Parameters
    ----------
    name
        The op's name.
    slopes
        Infimum and supremum of the derivative over ℝ (``inf`` if unbounded).
    at_zero
        f(0).
    homogeneous
        Whether f(λx) = λf(x) for every λ > 0.
    torch
        The function itself, on torch tensors (and its slope parameters, if any).
    bends
        Points, in order, between which the function is monotone, and convex or concave.
    affine
        Whether it is affine between them.
    poles
        Points around which it is not bounded.
    smooth, jump
        Where the function is not continuous: a continuous one whose bends these are, and how far it is from it at most.
    steady
        Beyond it, the function is that continuous one.
    relative
        Whether torch's error is a small share of the value, however large the argument.
    period
        If it is periodic: the period, which holds all of `bends`.
    """

    name: str
    slopes: tuple[float, float]
    torch: Callable[..., Any] = field(repr=False)
    at_zero: float = 0.0
    homogeneous: bool = False
    bends: tuple[float, ...] | None = None
    affine: bool = False
    poles: tuple[float, ...] = ()
    smooth: Callable[..., Any] | None = field(default=None, repr=False)
    jump: float = 0.0
    steady: float = inf
    relative: bool = False
    period: float = 0.0

    @property
    def lipschitz(self) -> float:
        """The smallest Lipschitz constant."""
        return max(abs(self.slopes[0]), abs(self.slopes[1]))


class OrderStatistic(ABC):
    """A selection of k-th largest values; each output value is one of a fixed set of input values (its pool)."""

    @abstractmethod
    def shape(self, x: Dims) -> Dims:
        """Shape of the result."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Select, on torch tensors."""

    @abstractmethod
    def mixed_axes(self, rank: int) -> tuple[int, ...]:
        """The axes of an input of this rank that pools extend along."""

    @abstractmethod
    def pools(self, axis: int, size: int) -> Array:
        """Sources of each output position along `axis`, ``(out, k)``; −1 for padding, which is in no pool.

        A pool is a box: the product of what this says of each axis.
        """


@dataclass(frozen=True)
class Nonlinear:
    """An op outside the piecewise-linear world; only execution has a rule for it by default.

    Parameters
    ----------
    node
        The node, whose attributes say what to execute.
    reason, hint
        What a refusal says.
    shape
        The result's shape from the operands'; ``None``: as the node declares.
    execute
        The function, on torch tensors; ``None``: the node is ONNX's to execute.
    commutative
        Whether any two operands may change places.
    bilinear
        Whether the result is linear in each of two operands.
    program
        ``program(algebra, *operands)``: the same by gates, linear maps and bilinear ones, for analyses that know these.
    within
        Numbers between which all elements of the result lie, where the program does not tell.
    """

    node: Node
    reason: str
    hint: str = ""
    shape: Callable[..., Dims] | None = field(default=None, repr=False)
    execute: Callable[..., Any] | None = field(default=None, repr=False)
    commutative: bool = False
    bilinear: bool = False
    program: Callable[..., Any] | None = field(default=None, repr=False)
    within: tuple[float, float] | None = None


def normalized_axes(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Non-negative axes, sorted; an empty sequence means all of them.

    Raises
    ------
    GraphError
        If there is no such axis.
    """
    return tuple(sorted({D.axis(a, rank) for a in axes})) if axes else tuple(range(rank))


def reduced(dims: Dims, axes: Sequence[int], keepdims: bool) -> Dims:
    """Shape after a reduction over `axes` (all, if empty)."""
    gone = set(normalized_axes(axes, len(dims)))
    return tuple(1 if i in gone else d for i, d in enumerate(dims) if keepdims or i not in gone)
