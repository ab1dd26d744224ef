"""The place where two models part on an input.

It is the first layer, producers first, whose value differs although all that it reads agrees, and whose difference an
output inherits. A value that differs while nothing that is computed from it does is no such place: the one graph may
have folded what the other computes next, or what differs is cut off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pathlift.ir.errors import PathliftError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.stages import stage
from pathlift.models.probes import Feeds
from pathlift.models.sameness.difference import Limits, difference, is_comparable
from pathlift.models.sameness.matching import Matching, computed, matching
from pathlift.models.sameness.ports import Ports
from pathlift.models.sameness.traced import Traced
from pathlift.report.sameness import Difference, PartedValue, Parting

CHUNK = 64
"""How many values of either model are in memory at once."""


@dataclass(frozen=True)
class Seen:
    """What became of the matched values.

    Parameters
    ----------
    pairs
        By value of the first graph that could be compared, the one of the second.
    apart
        Those that differ, and by how much.
    """

    pairs: Mapping[Value, Value]
    apart: Mapping[Value, Difference]


def parting(ports: Ports, sources: tuple[str | bytes, str | bytes], limits: Limits, kind: str, feeds: Feeds) -> Parting:
    """Find where two models part on an input.

    Parameters
    ----------
    ports
        The graphs, and what they read and return.
    sources
        The models as ONNX Runtime opens them.
    limits
        What counts as no difference.
    kind, feeds
        The input, on which some output differs.
    """
    a, b = ports.first, ports.second
    nodes = _count(a), _count(b)
    with stage("looking where they part"):
        try:
            first, second = map(Traced, sources)
            found = matching(ports, (first.names, second.names))
            seen = _seen(ports, found, first, second, limits, feeds)
        except PathliftError as error:
            return Parting(kind, "names", 0, nodes, (), reason=error.message)
    chain = chain_to_outputs(a, seen.pairs, seen.apart, {x for x, _ in ports.outputs})
    values = [_parted(a, b, x, seen.pairs[x], seen.apart[x]) for x in chain]
    told = Parting(kind, found.by, len(seen.pairs), nodes, values)
    if not chain:
        return told
    agreeing = tuple(a.name_of(x) for x in nearest(a, chain[0].node, seen.pairs))
    parameters = tuple(_parameters(a, b, chain[0].node, seen.pairs[chain[0]].node))
    return Parting(kind, found.by, len(seen.pairs), nodes, values, agreeing, parameters)


def _count(graph: Graph) -> int:
    return sum(key in graph.live and computed(graph, Value(key)) for key in graph.order)


def _seen(ports: Ports, found: Matching, first: Traced, second: Traced, limits: Limits, feeds: Feeds) -> Seen:
    """Compare all matched values of one kind and shape; outputs whatever they are."""
    a, b, outputs = ports.first, ports.second, {x for x, _ in ports.outputs}
    ours, theirs = ports.for_first(feeds), ports.for_second(feeds)
    pairs, apart = dict[Value, Value](), dict[Value, Difference]()
    for start in range(0, len(found.pairs), CHUNK):
        chunk = found.pairs[start : start + CHUNK]
        left = first.values([a.name_of(x) for x, _ in chunk], ours)
        right = second.values(list(dict.fromkeys(b.name_of(y) for _, y in chunk)), theirs)
        for x, y in chunk:
            mine, other = left[a.name_of(x)], right[b.name_of(y)]
            if x not in outputs and not is_comparable(mine, other):
                continue
            pairs[x], between = y, difference(mine, other)
            if between.relative > limits.of(mine):
                apart[x] = between
    return Seen(pairs, apart)


def chain_to_outputs(
    graph: Graph, compared: Mapping[Value, object], apart: Mapping[Value, object], outputs: set[Value]
) -> list[Value]:
    """Return the values that differ and whose difference an output inherits, producers first.

    Parameters
    ----------
    graph
        The first graph.
    compared
        Its values that were compared.
    apart
        Those that differ.
    outputs
        The graph's outputs.
    """
    inherits: dict[str, set[int]] = {}
    found: list[Value] = []
    known = _by_node(compared)
    for key in reversed(graph.order):
        carried = {port for user, _, port in graph.users(key) if inherits.get(user)}
        ports = known.get(key)
        if ports is None:  # nothing of it was compared: it hands on what it reads
            inherits[key] = carried
            continue
        # What a user inherits of this node it inherits by the port that it reads.
        mine = [v for v in ports if v in apart and (v in outputs or v.port in carried)]
        unseen = carried - {v.port for v in ports}
        inherits[key] = {v.port for v in mine} | unseen
        found += reversed(mine)
    return found[::-1]


def nearest(graph: Graph, key: str, compared: Mapping[Value, object]) -> list[Value]:
    """Return what a node reads: inputs, and values that were compared, through nodes of which nothing was."""
    known, found, frontier, met = _by_node(compared), dict[Value, None](), [key], {key}
    while frontier:
        for value in graph.inputs_of(frontier.pop()):
            if value is None or graph[value.node].op == "Param":
                continue
            if value in compared or graph[value.node].op == "Input":
                found[value] = None
            elif value.node not in met and value.node not in known:
                met.add(value.node)
                frontier.append(value.node)
    return list(found)


def _by_node(values: Mapping[Value, object]) -> dict[str, list[Value]]:
    found: dict[str, list[Value]] = {}
    for value in sorted(values, key=lambda v: v.port):
        found.setdefault(value.node, []).append(value)
    return found


def _parted(a: Graph, b: Graph, x: Value, y: Value, found: Difference) -> PartedValue:
    node = a[x.node]
    return PartedValue(node.label, str(node.attrs.get("op_type", node.op)), a.name_of(x), b.name_of(y), found)


def _parameters(a: Graph, b: Graph, x: str, y: str) -> Iterator[PartedValue]:
    """The parameters of two nodes that differ, slot by slot."""
    for ours, theirs in zip(a.inputs_of(x), b.inputs_of(y), strict=False):
        if ours is None or theirs is None:
            continue
        p, q = a[ours.node].value, b[theirs.node].value
        if p is None or q is None or p.shape != q.shape:
            continue
        found = difference(p.numpy(), q.numpy())
        if found.absolute:
            yield _parted(a, b, ours, theirs, found)
