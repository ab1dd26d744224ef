"""Spellings of a file that still hold, and the order in which nodes are then written."""

from __future__ import annotations

from collections.abc import Mapping

import networkx as nx
from onnx import NodeProto

from pathlift.frontend.emit.versions import carried
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.spelling import Spelling, Stored, Wording


def believed(graph: Graph, opset: int) -> dict[str, Spelling]:
    """Return the spelling by which each node is to be written, where one holds and can be written at this opset."""
    found = [s for s in graph.info.spellings if s.holds(graph) and _carries(s.wording, opset)]
    spelled = {key: spelling for spelling in found for key in spelling.keys}
    # Nodes that are written as one may, after a rewrite, read what depends on them.
    if not nx.is_directed_acyclic_graph(_contracted(graph, spelled)):
        spelled = {key: spelling for key, spelling in spelled.items() if len(spelling.keys) == 1}
    return spelled


def _carries(wording: Wording, opset: int) -> bool:
    """Whether a node, and all that compute its constants, can be written at an opset."""
    if wording.version == opset:
        return True
    node = NodeProto.FromString(wording.proto)
    try:
        carried(node, wording.version, opset, lambda hint: hint)
    except UnsupportedError:
        return False
    sources = [source.source for source in wording.inputs if isinstance(source, Stored)]
    return all(_carries(source, opset) for source in sources if isinstance(source, Wording))


def ordered(graph: Graph, spelled: Mapping[str, Spelling]) -> tuple[str, ...]:
    """Return node keys in topological order, one of those that are written together."""
    if all(len(spelling.keys) == 1 for spelling in spelled.values()):
        return graph.order
    order = {key: i for i, key in enumerate(graph.order)}
    return tuple(nx.lexicographical_topological_sort(_contracted(graph, spelled), key=order.__getitem__))


def _contracted(graph: Graph, spelled: Mapping[str, Spelling]) -> nx.DiGraph:
    def leader(key: str) -> str:
        return spelled[key].keys[0] if key in spelled else key

    contracted = nx.DiGraph()
    contracted.add_nodes_from(map(leader, graph.nx))
    contracted.add_edges_from((a, b) for u, v in graph.nx.edges() if (a := leader(u)) != (b := leader(v)))
    return contracted
