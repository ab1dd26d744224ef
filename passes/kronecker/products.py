"""A linear map of features, somewhere in a graph, and the Kronecker-sparse matrix that it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathlift.ir.cost import Cost, Device
from pathlift.ir.graph import Graph, Value
from pathlift.ir.kronecker import Pattern
from pathlift.ir.types import Array, Param, TensorType
from pathlift.passes.kronecker.axes import Axes, Axis, extent, finest, numbers


@dataclass(frozen=True, eq=False)
class FeatureLayout:
    """What a product reads, or what it makes.

    Parameters
    ----------
    value
        The value.
    features
        Its axes that hold features.
    extents
        Of these axes.
    factors
        What they are made of.
    samples
        What each of the other axes is made of.
    """

    value: Value
    features: tuple[int, ...]
    extents: tuple[int, ...]
    factors: Axis
    samples: tuple[Axis, ...]

    @property
    def perm(self) -> tuple[int, ...]:
        """The transposition that brings features behind samples."""
        rank = len(self.features) + len(self.samples)
        return (*(i for i in range(rank) if i not in self.features), *self.features)

    @property
    def is_last(self) -> bool:
        """Whether features are behind samples."""
        return self.perm == tuple(sorted(self.perm))


@dataclass(frozen=True, eq=False)
class Reordering:
    """Another order of features.

    Parameters
    ----------
    places
        Which feature comes at each place.
    sizes, perm
        The same as a reshape to these extents and a transposition; empty if it is none.
    """

    places: Array
    sizes: tuple[int, ...] = ()
    perm: tuple[int, ...] = ()

    @property
    def inverse(self) -> Reordering:
        """What brings features back."""
        back = tuple(map(int, np.argsort(self.perm)))
        return Reordering(np.argsort(self.places), tuple(self.sizes[i] for i in self.perm), back)

    def cost(self, device: Device, samples: int, itemsize: int) -> Cost:
        """What it costs."""
        apply = device.moved if self.perm else device.gathered
        return apply(samples * len(self.places), itemsize)


@dataclass(frozen=True, eq=False)
class FeatureProduct:
    """A part of a graph that applies one linear map to the features of every sample.

    Parameters
    ----------
    graph
        Where it is.
    key
        The node that multiplies.
    nodes
        Keys of all nodes, in order: views, the product, views.
    x, y
        What it reads, and what it makes.
    weight, axes
        The weights, and what their axes are made of.
    bias, biased
        What is added, if anything, and the axis that it runs along.
    by_block
        Whether operand and result have blocks first, as a batched product wants them.
    """

    graph: Graph
    key: str
    nodes: tuple[str, ...]
    x: FeatureLayout
    y: FeatureLayout
    weight: Param
    axes: Axes
    bias: Param | None
    biased: Axis
    by_block: bool

    @property
    def order(self) -> tuple[Axis, Axis, Axis, Axis]:
        """The factors that (a, b, c, d) are made of."""
        x, y = self.x.factors, self.y.factors
        front = _common(x, y)
        back = _common(x[front:][::-1], y[front:][::-1])
        a, d = x[:front], x[len(x) - back :]
        if any(f in y for f in x if f not in a + d):
            a, d = tuple(f for f in x if f in y), ()
        b, c = (tuple(f for f in side if f not in a + d) for side in (y, x))
        return a, b, c, d

    @property
    def pattern(self) -> Pattern:
        """What is not zero, for whatever weights, in the order of features that `reorderings` has."""
        return Pattern(*(extent(axis) or 0 for axis in self.order))

    def factor(self) -> Array:
        """Return the non-zeros, shape (a, d, b, c), in the weights' element type."""
        a, b, c, d = self.order
        stored = finest(self.axes)
        apart = self.weight.numpy().reshape([extent((f,)) or 0 for f in stored])
        blocks: Array = apart.transpose([stored.index(f) for f in (*a, *d, *b, *c)]).reshape(self.pattern.shape)
        return blocks

    def reorderings(self) -> tuple[Reordering | None, Reordering | None]:
        """Return the orders of y's and x's features that the pattern has; ``None`` for one that is theirs."""
        a, b, c, d = self.order
        return _reordering(self.y.factors, a + b + d), _reordering(self.x.factors, a + c + d)

    def vector(self) -> Array | None:
        """Return what is added to each feature of y, shape (rows,)."""
        if self.bias is None:
            return None
        values = self.bias.numpy().reshape(-1)
        if values.size == 1:
            return np.repeat(values, self.pattern.rows)
        return values[numbers(self.y.factors, finest((self.biased,)))]

    @property
    def is_convolution(self) -> bool:
        """Whether it is a 1×1 convolution."""
        return self.graph[self.key].op == "Conv"

    @property
    def moved(self) -> list[tuple[int, int]]:
        """Of each transposition that it consists of: how many features it moves per sample, and how many in a row."""
        before = self.nodes.index(self.key)
        return [
            (self.pattern.cols if i < before else self.pattern.rows, _run(self.graph, key))
            for i, key in enumerate(self.nodes)
            if self.graph[key].op == "Transpose"
        ]

    @property
    def moved_around(self) -> list[int]:
        """How many features each transposition moves that a layer on the last axis needs around it."""
        sides = (self.x, self.pattern.cols), (self.y, self.pattern.rows)
        return [features for side, features in sides if not side.is_last]

    @property
    def overhead(self) -> tuple[int, int, int]:
        """What a layer in its place adds: transpositions, then reshapes; and how many nodes it replaces."""
        views, extra = len(self.nodes) - 1, sum(len(side.features) > 1 for side in (self.x, self.y))
        reordered = sum(order is not None for order in self.reorderings())
        moves = reordered + len(self.moved_around) - len(self.moved)
        return moves, extra - (views - len(self.moved)), len(self.nodes)


def _reordering(factors: Axis, order: Axis) -> Reordering | None:
    if order == factors:
        return None
    sizes = tuple(extent((f,)) or 0 for f in factors)
    return Reordering(numbers(order, factors), sizes, tuple(factors.index(f) for f in order))


def _run(graph: Graph, transpose: str) -> int:
    """How many elements a transposition keeps in a row: extents of the last axes that stay."""
    type_, perm = graph.type_of(Value(transpose)), graph[transpose].attrs["perm"]
    run = 1
    for i, size in reversed(list(enumerate(type_.shape or ()))) if isinstance(type_, TensorType) else ():
        if perm[i] != i or not isinstance(size, int):  # type: ignore[index]  # an attribute has the type that its op gives it
            break
        run *= size
    return max(run, 1)


def _common(x: Axis, y: Axis) -> int:
    """How many factors two axes begin with alike."""
    return next((i for i, (f, g) in enumerate(zip(x, y, strict=False)) if f is not g), min(len(x), len(y)))
