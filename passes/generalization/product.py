"""The product of operator norms: a Lipschitz constant that multiplies along layers and adds up over branches.

Each value of the graph carries a Lipschitz constant with respect to the network's inputs, all of them taken as one
vector. Composition multiplies (Szegedy et al., arXiv 1312.6199, section 4.3), and the rules for what meets are below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import inf, isinf, log2, log10, nextafter, prod
from typing import Any, ClassVar

import numpy as np
import torch

from pathlift.ir import dims as D
from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import along, as_tensor
from pathlift.ir.algebras.two_sorted import TwoSorted
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.primitives import views as V
from pathlift.ir.primitives.base import Activation, LinearMap, OrderStatistic, SeparableMap, View
from pathlift.ir.primitives.selections import Sort
from pathlift.ir.types import Array, Dims, Ints, Param, is_float, not_finite
from pathlift.passes.generalization.operator_norms import NormName, operator_norm
from pathlift.passes.path_norm.rules import check_padding
from pathlift.passes.sizes import Extents

Tensor = torch.Tensor
_SLACK = 2.0**-48


@dataclass(frozen=True)
class Slope:
    """A signal.

    Parameters
    ----------
    log2
        Binary logarithm of a Lipschitz constant, rounded up; −∞ for a constant.
    shape
        Its extents.
    """

    log2: float
    shape: Ints

    def times(self, factor: float, shape: Ints | None = None) -> Slope:
        """Behind a map with this Lipschitz constant."""
        return Slope(_up(self.log2 + log2(factor)) if factor > 0 else -inf, self.shape if shape is None else shape)


@dataclass(frozen=True)
class LayerNorm:
    """A linear map with weights, and a bound on its norm."""

    node: str
    op: str
    norm: float


class NormProduct(TwoSorted[Tensor, Slope]):
    """Lipschitz constants from ℓ_p to ℓ_p, p being 2 or ∞.

    Parameters
    ----------
    norm
        Which p.
    """

    name: ClassVar[str] = "product of operator norms"
    parameter_type: ClassVar[type] = torch.Tensor

    def __init__(self, norm: NormName) -> None:
        self.norm: NormName = norm
        self.layers: list[LayerNorm] = []

    # ---- parameters

    def param(self, p: Param) -> Tensor:
        assert self.node is not None
        if p.non_finite:
            raise not_finite(self.node.names[0], p.numpy())
        return as_tensor(p.numpy(), torch.float64) if is_float(p.dtype) else torch.zeros(p.shape, dtype=torch.float64)

    def derive_parameter(self, f: Callable[..., Any], params: Sequence[Tensor]) -> Tensor:
        values: Tensor = f(*params)
        return values * (1 + _SLACK)  # away from zero

    def add_parameters(self, x: Tensor, y: Tensor, axis: int | None) -> Tensor:
        total = x + along(y, axis, x.ndim)
        return total + (x.abs() + along(y, axis, x.ndim).abs()) * 2.0**-52 * total.sign()

    def scale_parameter(self, x: Tensor, c: Tensor, axis: int | None, *, reciprocal: bool) -> Tensor:
        factor = along(c, axis, x.ndim)
        return (x / _nonzero(factor) if reciprocal else x * factor) * (1 + _SLACK)

    def multiply_parameter(self, x: Tensor, c: float) -> Tensor:
        return x * c * (1 + _SLACK)

    def move_parameters(self, xs: Sequence[Tensor], v: View) -> Tensor:
        return v(*xs)

    def lift(self, p: Tensor) -> Slope:
        return Slope(-inf, tuple(p.shape))

    # ---- signals

    def apply_weights(self, f: LinearMap, x: Slope, w: Tensor) -> Slope:
        assert self.node is not None
        factor = operator_norm(f, w, self.norm)
        self.layers.append(LayerNorm(self.node.label, self.node.op, factor))
        return x.times(factor, _known(f.shape(x.shape, tuple(w.shape))))

    def combine(self, f: SeparableMap, x: Slope) -> Slope:
        factor = 1.0
        for axis in f.mixed_axes(x.shape):
            taps = f.taps(axis % len(x.shape), x.shape[axis])
            read = taps.sources >= 0
            weights = np.abs(np.where(read, 1.0 if taps.coefficients is None else taps.coefficients, 0.0))
            rows, columns = _largest(weights.sum(1)), _largest(_per_source(taps.sources, weights))
            factor *= rows if self.norm == "linf" else (rows * columns) ** 0.5  # ‖A‖₂² ≤ ‖A‖₁·‖A‖_∞
        return x.times(factor * (1 + _SLACK), _known(f.shape(x.shape, None)))

    def add_signals(self, x: Slope, y: Slope, axis: int | None) -> Slope:
        shape = x.shape if axis is not None else _known(D.broadcast(x.shape, y.shape))
        return Slope(_sum([self._repeated(x, shape).log2, self._repeated(y, shape).log2]), shape)

    def scale_signal(self, x: Slope, c: Tensor, axis: int | None, *, reciprocal: bool) -> Slope:
        shape = x.shape if axis is not None else _known(D.broadcast(x.shape, tuple(c.shape)))
        factor = 1 / _nonzero(c) if reciprocal else c
        return self._repeated(x, shape).times(_largest(factor.abs().numpy()) * (1 + _SLACK), shape)

    def multiply_signal(self, x: Slope, c: float) -> Slope:
        return x.times(abs(c) * (1 + _SLACK) if abs(c) != 1 else 1.0)

    def activate(self, x: Slope, f: Activation, *slopes: Tensor) -> Slope:
        if slopes:
            return x.times(max(1.0, *(_largest(s.abs().numpy()) for s in slopes)))
        if isinf(f.lipschitz):
            raise UnsupportedError("1378", f"{f.name} has no Lipschitz constant")
        return x.times(f.lipschitz)

    def pool(self, x: Slope, s: OrderStatistic) -> Slope:
        shape = _known(s.shape(x.shape))
        if self.norm == "linf" or isinstance(s, Sort):  # sorting brings vectors no further apart, in either norm
            return replace(x, shape=shape)
        # |max a − max b|² is at most the sum of (a_i − b_i)² over the pool: each element counts once per pool it is in.
        overlap = 1.0
        for axis in s.mixed_axes(len(x.shape)):
            sources = s.pools(axis, x.shape[axis])
            overlap *= _largest(_per_source(sources, (sources >= 0).astype(np.float64)))
        return x.times(max(1.0, overlap) ** 0.5 * (1 + _SLACK), shape)

    def move_signals(self, xs: Sequence[Slope], v: View) -> Slope:
        shape = _known(v.shape(*(x.shape for x in xs)))
        if isinstance(v, V.Concat | V.Stack):
            parts = [self._repeated(x, shape[1:]) for x in xs] if isinstance(v, V.Stack) else xs
            logs = [x.log2 for x in parts]
            return Slope(max(logs) if self.norm == "linf" else _up(_sum([2 * a for a in logs]) / 2), shape)
        (x,) = xs
        if isinstance(v, V.Pad):
            check_padding(v)
        elif isinstance(v, V.Take) and self.norm == "l2":
            most = max(np.bincount(np.asarray(v.indices, np.int64)), default=1)
            return x.times(float(most) ** 0.5 * (1 + _SLACK), shape)
        elif isinstance(v, V.Expand | V.Tile):
            return self._repeated(x, shape)
        return replace(x, shape=shape)

    def _repeated(self, x: Slope, shape: Ints) -> Slope:
        """Behind a repetition of all elements."""
        times = prod(shape) / max(1, prod(x.shape))
        return (
            replace(x, shape=shape) if self.norm == "linf" or times <= 1 else x.times(times**0.5 * (1 + _SLACK), shape)
        )


@dataclass(frozen=True)
class Product:
    """A Lipschitz constant of a network.

    Parameters
    ----------
    log10
        Decimal logarithm, rounded up; ``None`` for a constant function.
    layers
        The norms of its layers, in order.
    """

    log10: float | None
    layers: tuple[LayerNorm, ...]


def norm_product(graph: Graph, inputs: Mapping[str, Extents], norm: NormName) -> Product:
    """Bound the Lipschitz constant of a network, from the vector of all inputs to that of all outputs.

    Parameters
    ----------
    graph
        What to bound.
    inputs
        Shapes, by name.
    norm
        ``l2`` or ``linf``, of both.

    Raises
    ------
    UnsupportedError
        If a node has no rule; names it.
    """
    algebra = NormProduct(norm)
    results = run(graph, algebra, {name: Slope(0.0, shape) for name, shape in inputs.items()})
    logs = [algebra.signal(results[graph.name_of(v)]).log2 for v in graph.outputs]
    total = max(logs, default=-inf) if norm == "linf" else _up(_sum([2 * a for a in logs]) / 2)
    return Product(None if total == -inf else _up(total * log10(2)), tuple(algebra.layers))


def _up(x: float) -> float:
    """Make up for what a few roundings of a logarithm may have taken."""
    return x if isinf(x) else nextafter(x + _SLACK * (1 + abs(x)), inf)


def _sum(logs: Sequence[float]) -> float:
    """log₂ of a sum."""
    return _up(float(reduce(np.logaddexp2, logs, -inf)))


def _largest(values: Array) -> float:
    return float(values.max(initial=0.0))


def _per_source(sources: Array, weights: Array) -> Array:
    """Σ of weights by what they read."""
    read = sources >= 0
    return np.bincount(np.asarray(sources)[read], np.broadcast_to(weights, sources.shape)[read])


def _nonzero(c: Tensor) -> Tensor:
    if bool((c == 0).any()):
        raise UnsupportedError("0314", "division by a constant that holds a zero")
    return c


def _known(dims: Dims) -> Ints:
    if not all(isinstance(d, int) for d in dims):
        raise UnsupportedError("1376", "an extent is not known", hint="give it by --shape")
    return tuple(d for d in dims if isinstance(d, int))
