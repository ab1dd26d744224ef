"""One of two matched graphs: the values of its parameters, and how well they are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array, Param, is_float

Change = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class MatchedGraph:
    """A graph that shares its nodes with another.

    Parameters
    ----------
    graph
        Real numbers are float64.
    sizes
        By key of a parameter, what its rounding errors are relative to, elementwise.
    """

    graph: Graph
    sizes: Mapping[str, Param]

    @property
    def real(self) -> list[str]:
        """Keys of the parameters that hold real numbers, in the order of their use."""
        return [key for key in self.graph.order if (p := self.graph[key].value) is not None and is_float(p.dtype)]

    def values(self, key: str) -> Array:
        """Return the values of a parameter."""
        param = self.graph[key].value
        assert param is not None
        return param.numpy()

    def size(self, key: str) -> Array:
        """Return the sizes of a parameter's elements."""
        return abs(self.sizes[key].numpy())

    def changed(self, changes: Mapping[str, Change]) -> MatchedGraph:
        """Return the side with some parameters changed, when they are asked for; sizes change alike."""
        builder, sizes = self.graph.edit(), dict(self.sizes)
        for key, change in changes.items():
            param = self.graph[key].value
            assert param is not None
            builder.replace_node(Value(key), value=_changed(param, change))
            sizes[key] = _changed(sizes[key], change)
        return MatchedGraph(builder.finish(), sizes)


def _changed(param: Param, change: Change) -> Param:
    return Param(param.dtype, param.shape, lambda: change(param.numpy()))


def untied(graph: Graph) -> Graph:
    """Return the graph with a parameter of its own for every node that holds one."""
    builder = graph.edit()
    for key in graph.params:
        param = graph[key].value
        assert param is not None
        builder.replace_node(Value(key), value=Param(param.dtype, param.shape, param.numpy))
    return builder.finish()
