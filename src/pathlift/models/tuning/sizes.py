"""Bytes and operations of choices: exact sums, which need no race."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.types import Array
from pathlift.models.graph_size import flops, graph_size
from pathlift.models.tuning.candidates import Space
from pathlift.models.tuning.knapsack import Choice
from pathlift.models.tuning.trials import Cost


@dataclass(frozen=True, eq=False)
class Sizes:
    """What choices weigh, over what the dense graph weighs.

    Parameters
    ----------
    space
        Of the choices.
    objective
        ``bytes`` of all parameters, or ``flops`` of all linear layers.
    """

    space: Space
    objective: str

    def total(self) -> int:
        """Return what the dense graph has.

        Raises
        ------
        UsageError
            If an extent that operations depend on is open.
        """
        total = graph_size(self.space.graph)[self.objective]
        if total is None:
            raise UsageError("1547", "operations are not known: extents other than the batch are open", hint="--shape")
        return total

    def additive(self) -> list[Array]:
        """Return what each option of each layer adds to the ratio, ``(options,)`` per layer; less than 0 is saved."""
        return [np.array([self._change(i, n) for n in range(len(o))]) for i, o in enumerate(self.space.options)]

    def measure(self, choice: Choice) -> Cost:
        """Return the ratio of a choice; bytes are counted in its graph."""
        if self.objective == "bytes":
            ratio = (graph_size(self.space.apply(choice))["bytes"] or 0) / self.total()
        else:
            ratio = 1 + sum(self._change(i, option) for i, option in enumerate(choice))
        return Cost(ratio, ratio, ratio)

    def _change(self, layer: int, option: int) -> float:
        own, patterns = self.space.layers[layer], self.space.options[layer][option].patterns
        if not patterns:
            return 0.0
        read = own.read()
        whole, left = prod(read.weight.shape), sum(p.size for p in patterns)
        if self.objective == "bytes":
            return (left - whole * self._share(layer)) * read.dtype.itemsize / self.total()
        return (flops(self.space.graph, own.key) or 0) * (left / whole - 1) / self.total()

    def _share(self, layer: int) -> float:
        """A layer's share of its weights, which go once all that reads them is replaced; 0 if some of it stays."""
        graph = self.space.graph
        weights = [graph[v.node].value for own in self.space.layers if (v := graph.inputs_of(own.key)[1]) is not None]
        tied = [key for key in graph.params if graph[key].value is weights[layer]]
        uses = sum(len(graph.users(key)) for key in tied)
        own = sum(weight is weights[layer] for weight in weights)
        return 1 / own if own == uses else 0.0
