"""Spellings: how a file wrote what a graph holds, kept so that what nothing touched is saved as it came.

A spelling is an opinion about some nodes of a graph, never a part of it: graphs that differ in nothing else are equal,
and the text form has none. It is believed only as long as the nodes compute what they did when it was noted.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Mapping
from dataclasses import dataclass

from pathlift.ir.graph import Attrs, Graph, Node, Origin, Value
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
class Spelling:
    """The ONNX node that some nodes of a graph were.

    Parameters
    ----------
    wording
        The node.
    outputs
        The graph's value for each of its outputs; ``None`` where there is none.
    nodes
        What the graph's nodes were, by key: op, attributes, and what they read.
    params
        The parameters among the nodes and among what they read.
    """

    wording: Wording
    outputs: tuple[Value | None, ...]
    nodes: Mapping[str, tuple[str, Attrs, tuple[Value | None, ...]]]
    params: Mapping[str, weakref.ref[Param]]

    @classmethod
    def of(cls, wording: Wording, outputs: tuple[Value | None, ...], graph: Graph, keys: list[str]) -> Spelling | None:
        """Return the spelling of some nodes; ``None`` if they do not compute the outputs from what the node reads."""
        nodes = {key: (graph[key].op, graph[key].attrs, graph.inputs_of(key)) for key in keys}
        read = {
            value for key in keys for value in graph.inputs_of(key) if value is not None and value.node not in nodes
        }
        params = {key: _reference(graph[key]) for key in (*keys, *(v.node for v in read)) if graph[key].op == "Param"}
        operands = {value for value in wording.inputs if isinstance(value, Value)}
        # What is not read directly was looked through: the node may mean something else once that has changed.
        if operands != {value for value in read if value.node not in params}:
            return None
        return cls(wording, tuple(v if v is not None and v.node in nodes else None for v in outputs), nodes, params)

    def holds(self, graph: Graph) -> bool:
        """Whether the nodes are still what they were, and no other reads what is between them."""
        for key, (op, attrs, sources) in self.nodes.items():
            if key not in graph:
                return False
            node = graph[key]
            if node.op != op or (node.attrs is not attrs and node.attrs != attrs) or graph.inputs_of(key) != sources:
                return False
        if any(graph[key].value is not param() for key, param in self.params.items()):
            return False
        used = {Value(key, port) for key in self.nodes for user, _, port in graph.users(key) if user not in self.nodes}
        used |= {value for value in graph.outputs if value.node in self.nodes}
        return used <= set(self.outputs)


def without_spellings(graph: Graph) -> Graph:
    """Return a graph that is saved in the canonical spelling of its ops, whatever its file had."""
    return Graph(graph.nx, graph.outputs, dataclasses.replace(graph.info, spellings=()))


def _reference(node: Node) -> weakref.ref[Param]:
    assert node.value is not None
    return weakref.ref(node.value)
