"""The neuron graph in the making, and the tensors that point into it."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import networkx as nx
import numpy as np

from pathlift.ir.types import Array, Ints

Number = Callable[[float], Any]


class Signal(NamedTuple):
    """A tensor of multiples of neurons: element i is ``coef[i]`` times neuron ``ids[i]``."""

    ids: Array
    coef: Array

    @property
    def shape(self) -> Ints:
        """The tensor's shape."""
        return self.ids.shape

    def view(self, f: Callable[[Array], Array]) -> Signal:
        """Rearrange ids and coefficients alike."""
        return Signal(f(self.ids), f(self.coef))

    def broadcast(self, shape: Ints) -> Signal:
        """Broadcast to `shape`."""
        return self.view(lambda a: np.broadcast_to(a, shape))


class Net:
    """The neuron graph in the making; its weights are of the type that `number` makes of a float."""

    ONE = 0

    def __init__(self, number: Number = float) -> None:
        self.graph, self.number = nx.MultiDiGraph(), number
        self.graph.add_node(self.ONE, kind="one")

    def constant(self, values: Array) -> Signal:
        """Multiples of the neuron that is always 1: parameters, biases, padding."""
        coef = np.frompyfunc(self.number, 1, 1)(values)
        return Signal(np.full(values.shape, self.ONE), np.asarray(coef, dtype=object))

    def create(self, shape: Ints, kind: str = "identity") -> Signal:
        """New neurons without edges."""
        first = len(self.graph)
        self.graph.add_nodes_from(range(first, first + prod(shape)), kind=kind)
        ids = np.arange(first, first + prod(shape)).reshape(shape)
        return Signal(ids, np.full(shape, self.number(1.0), dtype=object))

    def edge(self, x: Signal, i: Ints, y: Signal, j: Ints, weight: Any = 1.0) -> None:
        """Add an edge from element i of `x` to neuron j of `y`."""
        self.graph.add_edge(int(x.ids[i]), int(y.ids[j]), weight=x.coef[i] * weight)

    def total(self, *xs: Signal, kind: str = "identity") -> Signal:
        """New neurons, each of which sums (or pools) the elements of `xs` at its place, broadcast."""
        y = self.create(np.broadcast_shapes(*(x.shape for x in xs)), kind)
        for x in xs:
            wide = x.broadcast(y.shape)
            for i in np.ndindex(*y.shape):
                self.edge(wide, i, y, i)
        return y

    def annotate(self, y: Signal, name: str, value: Callable[[Ints], Any]) -> Signal:
        """Set an attribute of the neurons `y` by index."""
        for i in np.ndindex(*y.shape):
            self.graph.nodes[int(y.ids[i])][name] = value(i)
        return y

    def weights(self, x: Signal) -> Array:
        """Return the values of a parameter."""
        assert not x.ids.any(), "only constants may scale"
        return x.coef
