"""Spellings: how a file wrote what a graph holds, kept so that what nothing touched is saved as it came.

A spelling is an opinion about some nodes of a graph, never a part of it: graphs that differ in nothing else are equal,
and the text form has none. It is believed only as long as the nodes compute what they did when it was noted.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pathlift.ir.graph import Attrs, Graph, Origin, Value
from pathlift.ir.types import Param


@dataclass(frozen=True, eq=False, slots=True)
class Wording:
    """An ONNX node as a file has it.

    Parameters
    ----------
    proto
        The serialized node, without name, doc string and metadata: those are the graph's own.
    version
        The opset of its domain.
    inputs
        What it reads; ``None`` where an input is left out.
    depth
        How many nodes compute its constants from each other.
    """

    proto: bytes
    version: int
    inputs: tuple[Value | Stored | None, ...]
    depth: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Stored:
    """A constant as a file has it.

    Parameters
    ----------
    name
        Of the ONNX value.
    param
        The tensor, for as long as anything else needs it: what is computed may be large.
    source
        The tensor that the file holds, or the node that computes it from such tensors.
    origin
        Provenance of the initializer, or of the node.
    """

    name: str
    param: weakref.ref[Param]
    source: Param | Wording
    origin: Origin = Origin()


@dataclass(frozen=True, eq=False, slots=True)
class Snapshot:
    """What some nodes of a graph are: types, names and provenance do not count.

    Parameters
    ----------
    nodes
        Op, attributes, and what is read, by key.
    params
        The parameters among the nodes and among what they read.
    """

    nodes: Mapping[str, tuple[str, Attrs, tuple[Value | None, ...]]]
    params: Mapping[str, weakref.ref[Param]]

    @classmethod
    def of(cls, graph: Graph, keys: Iterable[str]) -> Snapshot:
        """Return what some nodes are now."""
        nodes = {key: (graph[key].op, graph[key].attrs, graph.inputs_of(key)) for key in keys}
        read = (value.node for _, _, sources in nodes.values() for value in sources if value is not None)
        held = {key: graph[key].value for key in (*nodes, *read)}
        return cls(nodes, {key: weakref.ref(param) for key, param in held.items() if param is not None})

    def holds(self, graph: Graph) -> bool:
        """Whether the nodes are still what they were."""
        for key, (op, attrs, sources) in self.nodes.items():
            if key not in graph:
                return False
            node = graph[key]
            if node.op != op or (node.attrs is not attrs and node.attrs != attrs) or graph.inputs_of(key) != sources:
                return False
        return all(graph[key].value is param() for key, param in self.params.items())


@dataclass(frozen=True, eq=False, slots=True)
class Spelling:
    """The ONNX node that some nodes of a graph were.

    Parameters
    ----------
    wording
        The node.
    outputs
        The graph's value for each of its outputs; ``None`` where there is none.
    snapshot
        What the graph's nodes were.
    """

    wording: Wording
    outputs: tuple[Value | None, ...]
    snapshot: Snapshot

    @classmethod
    def of(cls, wording: Wording, outputs: tuple[Value | None, ...], graph: Graph, keys: list[str]) -> Spelling | None:
        """Return the spelling of some nodes; ``None`` if they do not compute the outputs from what the node reads."""
        snapshot = Snapshot.of(graph, keys)
        read = {value for _, _, sources in snapshot.nodes.values() for value in sources if value is not None}
        read = {value for value in read if value.node not in snapshot.nodes and value.node not in snapshot.params}
        # What is not read directly was looked through: the node may mean something else once that has changed.
        if {value for value in wording.inputs if isinstance(value, Value)} != read:
            return None
        return cls(wording, tuple(v if v is not None and v.node in snapshot.nodes else None for v in outputs), snapshot)

    @property
    def keys(self) -> tuple[str, ...]:
        """The nodes, producers first."""
        return tuple(self.snapshot.nodes)

    def holds(self, graph: Graph) -> bool:
        """Whether the nodes are still what they were, and no other reads what is between them."""
        if not self.snapshot.holds(graph):
            return False
        own = self.snapshot.nodes
        used = {Value(key, port) for key in own for user, _, port in graph.users(key) if user not in own}
        return used | {value for value in graph.outputs if value.node in own} <= set(self.outputs)


@dataclass(frozen=True, eq=False, slots=True)
class Remarks:
    """What a file says beside the network.

    Parameters
    ----------
    proto
        A serialized model of nothing else.
    snapshot
        The whole network that it was said of.
    """

    proto: bytes
    snapshot: Snapshot


def without_spellings(graph: Graph) -> Graph:
    """Return a graph that is saved in the canonical spelling of its ops, whatever its file had."""
    return Graph(graph.nx, graph.outputs, dataclasses.replace(graph.info, spellings=()))
