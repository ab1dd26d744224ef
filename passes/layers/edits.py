"""Small edits of graphs that several rewrites make."""

from __future__ import annotations

from collections.abc import Iterable

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.passes.layers.weights import constant


def is_read_once(graph: Graph, value: Value) -> bool:
    """Whether one input slot of one node reads a value, and the caller does not."""
    return value not in graph.outputs and sum(port == value.port for _, _, port in graph.users(value.node)) == 1


def is_unread(builder: Builder, key: str) -> bool:
    """Whether nothing reads a node's outputs."""
    return not builder.nx.out_degree(key) and all(v.node != key for v in builder.outputs)


def source(builder: Builder, key: str, slot: int = 0) -> Value:
    """Return what an input slot reads by now.

    Raises
    ------
    KeyError
        If it reads nothing.
    """
    edges = builder.nx.in_edges(key, keys=True, data="port")
    return {at: Value(producer, port) for producer, _, at, port in edges}[slot]


def disconnect(builder: Builder, key: str, *slots: int) -> None:
    """Let input slots of a node read nothing; all of them, if none is named."""
    edges = [edge for edge in builder.nx.in_edges(key, keys=True) if not slots or edge[2] in slots]
    builder.nx.remove_edges_from(edges)


def drop_constants(builder: Builder, graph: Graph, readers: Iterable[str]) -> list[str]:
    """Remove the constants that nodes of a graph read, and that nothing reads any more; returns their keys."""
    read = {v.node for key in readers for v in graph.inputs_of(key) if v is not None and constant(graph, v) is not None}
    dropped = [key for key in graph.params if key in read and key in builder.nx and is_unread(builder, key)]
    for key in dropped:
        builder.remove(key)
    return dropped
