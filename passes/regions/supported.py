"""Supported regions: the parts of a network that path-norms cover, where they do not cover the whole.

The path-norm of a region is that of the region as a network of its own: each value that enters is an input, fed with
ones, independent of the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph, ModelInfo, Value
from pathlift.ir.types import TensorType, ValueType, is_float
from pathlift.passes.path_norm.support import support
from pathlift.passes.regions.convex import ConvexPartition, Part
from pathlift.passes.rewrites.specialize import specialize
from pathlift.passes.rewrites.strip_head import StripHead
from pathlift.passes.sizes import missing_batches, resolve_inputs


@dataclass(frozen=True)
class NodeRef:
    """A node, as messages name it."""

    node: str
    op: str


@dataclass(frozen=True)
class Cut(NodeRef):
    """The node that computes a value where a region starts, and why it is not in the region itself."""

    reason: str


@dataclass(frozen=True)
class Start:
    """A value that enters a region.

    Parameters
    ----------
    name
        The value's.
    cut_by
        What computes it; ``None`` for an input of the network.
    """

    name: str
    cut_by: Cut | None


@dataclass(frozen=True)
class End:
    """A value that leaves a region.

    Parameters
    ----------
    name
        The value's.
    read_by
        The nodes outside that read it.
    is_output
        Whether it is an output of the network.
    """

    name: str
    read_by: tuple[NodeRef, ...]
    is_output: bool


@dataclass(frozen=True)
class Region:
    """A maximal convex part of a network that path-norms cover.

    Parameters
    ----------
    graph
        The region as a network: its inputs are `starts`, its outputs `ends`, all extents are known, names and
        origins are the network's, parameters are the very objects (one that several regions use is in each).
    starts, ends
        Its boundary.
    nodes
        Labels of its nodes, producers first; what it computes from parameters alone is not counted.
    layers
        Labels of those with weights, at least one.
    """

    graph: Graph
    starts: tuple[Start, ...]
    ends: tuple[End, ...]
    nodes: tuple[str, ...]
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Skipped:
    """A region that cannot be analysed.

    Parameters
    ----------
    nodes, layers
        As for a `Region`.
    reason
        Why; names the value.
    """

    nodes: tuple[str, ...]
    layers: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Regions:
    """All regions of a network that have weights, in topological order of their first nodes.

    Parameters
    ----------
    found
        Those that can be analysed.
    skipped
        Those that enter through a value whose type is not known.
    assumptions
        What was assumed, one sentence each.
    """

    found: tuple[Region, ...]
    skipped: tuple[Skipped, ...]
    assumptions: tuple[str, ...]


def supported_regions(graph: Graph, sizes: Mapping[str, int]) -> Regions:
    """Find the regions of a network that path-norms cover.

    They are the parts of a `ConvexPartition` of all nodes that compute real numbers from the network's input, but
    those that path-norms refuse; a part without weights is no region. A final softmax is left out first.

    Parameters
    ----------
    graph
        The network.
    sizes
        Extents of symbolic dimensions, as `pathlift.passes.sizes.resolve_inputs` takes them.

    Raises
    ------
    UsageError
        If an extent is missing, or the network cannot run on these.
    """
    stripped = StripHead().run(graph)
    inputs = resolve_inputs(stripped.graph, sizes)
    finder = _Finder(specialize(stripped.graph, inputs))
    found, skipped = finder.regions()
    assumptions = (stripped.witness.describe(), *missing_batches(stripped.graph, inputs), *finder.believed(found))
    return Regions(found, skipped, tuple(a for a in assumptions if a))


class _Finder:
    """The partition of one graph, and what surrounds its parts."""

    def __init__(self, graph: Graph) -> None:
        self.graph, verdict = graph, support(graph)
        self.position = {key: i for i, key in enumerate(graph.order)}
        self.refused, self.weighted = {**_unreal(graph), **verdict.refused}, verdict.weighted
        self.constant = self._constants()
        members = graph.live.difference(graph.inputs, self.refused, self.constant)
        self.partition = ConvexPartition(graph, members)

    def _constants(self) -> frozenset[str]:
        """Supported nodes that no input and no refused node leads to: part of every region that reads them."""
        varying = {*self.graph.inputs, *self.refused}
        for key in self.graph.order:
            if not varying.isdisjoint(self.graph.nx.pred[key]):
                varying.add(key)
        return self.graph.live - varying

    def regions(self) -> tuple[tuple[Region, ...], tuple[Skipped, ...]]:
        weighted = (part for part in self.partition.parts if not self.weighted.isdisjoint(part.keys))
        every = [self._region(part) for part in weighted]
        return tuple(r for r in every if isinstance(r, Region)), tuple(r for r in every if isinstance(r, Skipped))

    def _region(self, part: Part) -> Region | Skipped:
        graph, keys = self.graph, self._sorted(part.keys)
        starts, ends = self._starts(keys), self._ends(keys)
        nodes = tuple(graph[key].label for key in keys)
        layers = tuple(graph[key].label for key in keys if key in self.weighted)
        unknown = [
            f"{graph.name_of(v)!r} ({graph.shown_type(v)})" for v in starts if not _is_known(graph.shown_type(v))
        ]
        if unknown:
            return Skipped(nodes, layers, f"it starts at {', '.join(unknown)}, whose type is not known")
        return Region(
            self._graph_of(keys, starts, ends),
            tuple(self._start(v, part) for v in starts),
            tuple(self._end(v, part) for v in ends),
            nodes,
            layers,
        )

    def believed(self, regions: Iterable[Region]) -> Iterator[str]:
        """Say which regions start at values whose shapes are not proved, but declared by the file."""
        declared = self.graph.info.declared
        for name in dict.fromkeys(
            start.name for region in regions for start in region.starts if start.name in declared
        ):
            yield f"value {name!r} has the shape that the file declares: {declared[name]}"

    def _sorted(self, keys: Iterable[str]) -> list[str]:
        return sorted(keys, key=self.position.__getitem__)

    def _starts(self, keys: Collection[str]) -> list[Value]:
        """The values that enter, in the order of their first use."""
        inside = self.constant.union(keys)
        sources = (value for key in keys for value in self.graph.inputs_of(key) if value is not None)
        return list(dict.fromkeys(value for value in sources if value.node not in inside))

    def _ends(self, keys: Collection[str]) -> list[Value]:
        """The values that leave, in the order in which they are computed."""
        values = (Value(key, port) for key in keys for port in range(len(self.graph[key].types)))
        return [v for v in values if v in self.graph.outputs or not self._readers(v) <= set(keys)]

    def _readers(self, value: Value) -> set[str]:
        users = self.graph.users(value.node)
        return {user for user, _, port in users if port == value.port and user in self.graph.live}

    def _start(self, value: Value, part: Part) -> Start:
        producer = value.node
        if self.graph[producer].op == "Input":
            return Start(self.graph.name_of(value), None)
        ref = self._ref(producer)
        if producer in self.refused:
            reason = self.refused[producer].reason
        else:
            other = self._ref(self.partition.detour(self.partition[producer], part))
            reason = f"supported, but in another region: node {other.node!r} ({other.op}) lies between the two"
        return Start(self.graph.name_of(value), Cut(ref.node, ref.op, reason))

    def _end(self, value: Value, part: Part) -> End:
        readers = self._sorted(self._readers(value).difference(part.keys))
        return End(self.graph.name_of(value), tuple(map(self._ref, readers)), value in self.graph.outputs)

    def _ref(self, key: str) -> NodeRef:
        node = self.graph[key]
        return NodeRef(node.label, str(node.attrs.get("op_type", node.op)))

    def _graph_of(self, keys: Iterable[str], starts: Iterable[Value], ends: Iterable[Value]) -> Graph:
        """Copy a region, with the constants that it reads, into a graph of its own."""
        graph, info = self.graph, self.graph.info
        builder = Builder(ModelInfo(info.name, ir_version=info.ir_version, opsets=info.opsets))
        for value in starts:
            builder.input_of(graph.name_of(value), graph.shown_type(value))
        for key in self._with_constants(keys):
            node = graph[key]
            if node.value is not None:
                builder.param(node.value, node.names[0], node.origin)
                continue
            sources = [None if v is None else graph.name_of(v) for v in graph.inputs_of(key)]
            builder.node(node.op, *sources, names=node.names, types=node.types, origin=node.origin, **node.attrs)
        return builder.finish(*map(graph.name_of, ends))

    def _with_constants(self, keys: Iterable[str]) -> list[str]:
        """Add the constants that some nodes depend on."""
        reached = set(keys)
        frontier = list(reached)
        while frontier:
            new = self.constant.intersection(self.graph.nx.pred[frontier.pop()]) - reached
            reached |= new
            frontier.extend(new)
        return self._sorted(reached)


def _unreal(graph: Graph) -> dict[str, UnsupportedError]:
    """Refuse the nodes that compute something else than real numbers."""
    return {
        key: UnsupportedError("0310", "its values are no real numbers")
        for key in graph
        if graph[key].op not in ("Input", "Param") and any(map(_is_unreal, graph[key].types))
    }


def _is_unreal(type_: ValueType) -> bool:
    return not isinstance(type_, TensorType) or (type_.dtype is not None and not is_float(type_.dtype))


def _is_known(type_: ValueType) -> bool:
    if not isinstance(type_, TensorType) or type_.dtype is None or type_.shape is None:
        return False
    return all(isinstance(dim, int) for dim in type_.shape)
