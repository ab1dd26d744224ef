"""The graph: immutable, over one frozen networkx MultiDiGraph whose edges are the only truth.

A node is an op (graph inputs and parameters are nodes too: ``Input``, ``Param``). An edge's key is the consumer's
input slot, its ``port`` the producer's output. Any networkx algorithm applies to `Graph.nx`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import networkx as nx

from pathlift.ir.dims import filled
from pathlift.ir.errors import GraphError
from pathlift.ir.types import Param, TensorType, ValueType

if TYPE_CHECKING:
    from pathlift.ir.builder import Builder
    from pathlift.ir.spelling import Remarks, Spelling

Attr = bool | int | float | str | bytes | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
Attrs = Mapping[str, Attr]


class Value(NamedTuple):
    """One output of a node."""

    node: str
    port: int = 0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a node came from, kept so that nothing the user named is lost on the way back out.

    Parameters
    ----------
    nodes
        Names of the ONNX nodes that this node stands for.
    doc
        The doc string.
    metadata
        ONNX ``metadata_props``.
    """

    nodes: tuple[str, ...] = ()
    doc: str = ""
    metadata: tuple[tuple[str, str], ...] = ()

    def merged(self, *others: Origin) -> Origin:
        """Return the origin of a node that stands for this one and `others`."""
        every = (self, *others)
        names = dict.fromkeys(name for o in every for name in o.nodes)
        docs = dict.fromkeys(o.doc for o in every if o.doc)
        metadata = {k: v for o in reversed(every) for k, v in o.metadata}
        return Origin(tuple(names), "\n".join(docs), tuple(metadata.items()))


@dataclass(frozen=True, slots=True)
class Node:
    """One op.

    Parameters
    ----------
    op
        Its name, a key of `pathlift.ir.ops.OPS`, or ``Input`` or ``Param``.
    attrs
        Only those that differ from the op's defaults.
    names, types
        Name and type of every output; an empty name marks an output that nothing refers to by name.
    value
        The tensor of a ``Param`` node.
    origin
        The ONNX nodes it stands for.
    """

    op: str
    attrs: Attrs
    names: tuple[str, ...]
    types: tuple[ValueType, ...]
    value: Param | None = None
    origin: Origin = Origin()

    @property
    def label(self) -> str:
        """How a message should call this node: the user's own name for it, else its first output's."""
        return next((name for name in self.origin.nodes if name), self.names[0])


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What an ONNX model says about itself as a whole; carried from load to save.

    Parameters
    ----------
    name, doc
        Of the graph.
    ir_version
        0 if the graph did not come from a file.
    opsets
        Domain to version.
    properties
        producer_name, producer_version, domain, model_version, doc_string, as strings, where set.
    metadata, graph_metadata
        ``metadata_props`` of the model and of its graph.
    overridable
        Names of the parameters that are graph inputs too (initializers a caller may replace).
    functions
        FunctionProtos that opaque nodes call, serialized.
    spellings, remarks
        How the file wrote nodes of the graph, and what it says beside them. They do not count in comparisons, and text
        has none.
    declared
        Types of values by name, where the file says more than is proved: to show and to save, never to compute with.
    """

    name: str = "graph"
    doc: str = ""
    ir_version: int = 0
    opsets: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    properties: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    graph_metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    overridable: tuple[str, ...] = ()
    functions: tuple[bytes, ...] = ()
    spellings: tuple[Spelling, ...] = field(default=(), compare=False, repr=False)
    remarks: Remarks | None = field(default=None, compare=False, repr=False)
    declared: Mapping[str, TensorType] = field(default_factory=lambda: MappingProxyType({}))


class Graph:
    """An immutable dataflow graph; `edit` returns a `Builder` that makes a changed copy.

    Parameters
    ----------
    graph
        The attribute `nx`, frozen on the way in. Node attributes: ``node`` (a `Node`) and ``order`` (insertion order,
        which breaks ties in the topological order, so that text is stable).
    outputs
        The graph's outputs, in order.
    info
        Facts about the model as a whole.
    """

    def __init__(self, graph: nx.MultiDiGraph, outputs: tuple[Value, ...], info: ModelInfo | None = None) -> None:
        self.nx: nx.MultiDiGraph = nx.freeze(graph)
        self.outputs = outputs
        self.info = info or ModelInfo()
        self._inputs: dict[str, tuple[Value | None, ...]] = {}

    def __reduce__(self) -> tuple[type[Graph], tuple[Any, ...]]:
        """Go to another process without how the file spells it, which is for who writes it back from here."""
        return Graph, (self.nx, self.outputs, replace(self.info, spellings=(), remarks=None))

    def __getitem__(self, key: str) -> Node:
        """Return the node with this key.

        Raises
        ------
        KeyError
            If there is none.
        """
        node: Node = self.nx.nodes[key]["node"]
        return node

    def __contains__(self, key: object) -> bool:
        return key in self.nx

    def __len__(self) -> int:
        return len(self.nx)

    def __iter__(self) -> Iterator[str]:
        """Iterate over node keys, producers first, otherwise in insertion order."""
        return iter(self.order)

    def __repr__(self) -> str:
        from pathlift.ir.picture import summary

        return f"<Graph {summary(self)}>"

    def _repr_html_(self) -> str:
        from pathlift.ir.picture import page

        return page(self)

    def __str__(self) -> str:
        from pathlift.ir.text import print_graph

        return print_graph(self)

    @functools.cached_property
    def order(self) -> tuple[str, ...]:
        """Node keys in topological order, ties broken by insertion order.

        Raises
        ------
        GraphError
            If the graph has a cycle; names it.
        """
        orders = self.nx.nodes(data="order")
        try:
            return tuple(nx.lexicographical_topological_sort(self.nx, key=lambda n: orders[n]))
        except nx.NetworkXUnfeasible:
            cycle = " -> ".join(edge[0] for edge in nx.find_cycle(self.nx))
            raise GraphError("0501", f"the graph has a cycle: {cycle}") from None

    @functools.cached_property
    def live(self) -> frozenset[str]:
        """Keys of the nodes that some output depends on."""
        reached = {value.node for value in self.outputs}
        frontier = list(reached)
        while frontier:
            new = set(self.nx.pred[frontier.pop()]) - reached
            reached |= new
            frontier.extend(new)
        return frozenset(reached)

    def inputs_of(self, key: str) -> tuple[Value | None, ...]:
        """Return what each input slot of a node reads; ``None`` for an optional input that is left out."""
        if key not in self._inputs:
            slots: dict[int, Value] = {}
            for producer, edges in self.nx.pred[key].items():
                for slot, data in edges.items():
                    slots[slot] = Value(producer, data["port"])
            self._inputs[key] = tuple(slots.get(i) for i in range(max(slots, default=-1) + 1))
        return self._inputs[key]

    def users(self, key: str) -> tuple[tuple[str, int, int], ...]:
        """Return ``(consumer, input slot, output index)`` of every use of a node's outputs."""
        return tuple(
            (consumer, slot, data["port"])
            for consumer, edges in self.nx.succ[key].items()
            for slot, data in edges.items()
        )

    def type_of(self, value: Value) -> ValueType:
        """Return the type of a value."""
        return self[value.node].types[value.port]

    def shown_type(self, value: Value) -> ValueType:
        """Return the type of a value; where it is not known, what the file declares it to be, rightly or not."""
        type_, declared = self.type_of(value), self.info.declared.get(self.name_of(value))
        return (declared and isinstance(type_, TensorType) and filled(type_, declared)) or type_

    def name_of(self, value: Value) -> str:
        """Return the name of a value, as the file and the text form call it."""
        return self[value.node].names[value.port]

    @functools.cached_property
    def inputs(self) -> tuple[str, ...]:
        """Keys of the ``Input`` nodes, in order."""
        return tuple(key for key, node in self.nx.nodes(data="node") if node.op == "Input")

    @functools.cached_property
    def params(self) -> tuple[str, ...]:
        """Keys of the ``Param`` nodes, in order."""
        return tuple(key for key, node in self.nx.nodes(data="node") if node.op == "Param")

    def edit(self) -> Builder:
        """Return a builder that holds a copy; weight arrays are shared, never copied."""
        from pathlift.ir.builder import Builder

        return Builder.of(self)


def freeze_attrs(attrs: Mapping[str, Any]) -> Attrs:
    """Return an immutable copy; lists become tuples."""
    return MappingProxyType({k: tuple(v) if isinstance(v, list) else v for k, v in attrs.items() if v is not None})
