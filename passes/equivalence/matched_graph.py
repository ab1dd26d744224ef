"""One of two matched graphs: the values of its parameters, and how well they are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pathlift.ir.graph import Graph, Value
from pathlift.ir.rows import Rows
from pathlift.ir.types import Array, Param, is_float

Change = Callable[[Param], Param]
"""What becomes of a parameter."""


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

    def param(self, key: str) -> Param:
        """Return a parameter."""
        param = self.graph[key].value
        assert param is not None
        return param

    def values(self, key: str) -> Array:
        """Return the values of a parameter."""
        return self.param(key).numpy()

    def size(self, key: str, rows: Rows) -> Array:
        """Return the sizes of some rows of a parameter's elements."""
        return abs(self.sizes[key].rows(rows))

    def changed(self, changes: Mapping[str, Change]) -> MatchedGraph:
        """Return the side with some parameters changed, when they are asked for; sizes change alike."""
        builder, sizes = self.graph.edit(), dict(self.sizes)
        for key, change in changes.items():
            builder.replace_node(Value(key), value=change(self.param(key)))
            sizes[key] = change(sizes[key])
        return MatchedGraph(builder.finish(), sizes)


def elementwise(f: Callable[[Array, Rows], Array]) -> Change:
    """Return a change of elements by themselves, which is told which rows it is given."""
    return lambda param: Param.by_rows(param.dtype, param.shape, lambda rows: f(param.rows(rows), rows))


def untied(graph: Graph) -> Graph:
    """Return the graph with a parameter of its own for every node that holds one."""
    builder = graph.edit()
    for key in graph.params:
        param = graph[key].value
        assert param is not None
        builder.replace_node(Value(key), value=replace(param))
    return builder.finish()
