"""Shrinking: groups of channels removed from a graph, with the witness that it computes the same."""

from __future__ import annotations

from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array
from pathlift.passes.base import Rewritten
from pathlift.passes.channels.groups import Groups
from pathlift.passes.channels.removal import remove
from pathlift.passes.channels.zeros import zero_slices
from pathlift.passes.witness.rewritings import RewriteWitness
from pathlift.passes.witness.site import Site

Marks = tuple[Array | None, ...]


def shrunk(groups: Groups, gone: Array, kind: str, skipped: tuple[str, ...] = ()) -> Rewritten:
    """Remove groups that the graph does the same without.

    Parameters
    ----------
    groups
        Those of the graph.
    gone
        A boolean per group, ``(count + 1,)``.
    kind, skipped
        What the witness says.

    Raises
    ------
    UsageError
        If an axis would lose its last index.
    """
    if not gone.any():
        return Rewritten(groups.graph, RewriteWitness(kind, (), skipped))
    sites = _sites(groups, gone, zero_slices(groups.graph))
    return Rewritten(remove(groups, gone), RewriteWitness(kind, sites, skipped))


def _sites(groups: Groups, gone: Array, zero: dict[Value, Marks]) -> tuple[Site, ...]:
    """Where values that are as before come from those that are not, or of which it matters that parts are 0."""
    graph = groups.graph
    other = {
        value
        for value, axes in groups.marks.items()
        if any(m is not None and gone[m].any() for m in axes) or any(m is not None and m.any() for m in zero[value])
    }
    sites = []
    for key in graph.order:
        reads = [v for v in graph.inputs_of(key) if v is not None]
        for port in range(len(graph[key].types)):
            value = Value(key, port)
            ends = value not in other or value in graph.outputs
            if ends and graph.name_of(value) and (value in other or other.intersection(reads)):
                sources = sorted({graph.name_of(v) for v in _sources(graph, value, other)})
                sites.append(Site(graph.name_of(value), tuple(sources), graph[key].label))
    return tuple(sites)


def _sources(graph: Graph, value: Value, other: set[Value]) -> set[Value]:
    """The values as before that one is computed from, parameters apart."""
    found, seen, frontier = set[Value](), set[Value](), [value]
    while frontier:
        for v in graph.inputs_of(frontier.pop().node):
            if v is None or v in seen:
                continue
            seen.add(v)
            if v in other:
                frontier.append(v)
            elif graph[v.node].op != "Param":
                found.add(v)
    return found
