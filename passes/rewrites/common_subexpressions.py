"""Common subexpressions: what is computed twice is computed once, and read twice.

Equal nodes have equal paths leading to them, and those are continued by the readers of each: with one node in their
place, read by all, the paths and their weights are the same. Path-norms stay.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Param
from pathlift.ir.verify import merge_types
from pathlift.passes.base import Effect, Rewritten, Transform, Witness
from pathlift.passes.layers.edits import disconnect, drop_constants
from pathlift.passes.witness.correspondence import check_correspondence, overridable


@dataclass(frozen=True)
class Merged(Witness):
    """Labels of the nodes that another one takes the place of, and names of the parameters that are tied now."""

    nodes: tuple[str, ...]
    tied: tuple[str, ...]

    def check(self, before: Graph, after: Graph) -> None:
        check_correspondence("common subexpressions", before, after)

    def describe(self) -> str:
        counts = (len(self.tied), "parameters tied to equal ones"), (len(self.nodes), "nodes merged with equal ones")
        return "; ".join(f"{n} {what}" for n, what in counts if n)


@dataclass(frozen=True)
class CommonSubexpressions(Transform):
    """Merge nodes that do the same to the same values.

    Parameters
    ----------
    parameters
        Whether to tie parameters that hold the same bytes first. Tied weights are rescaled and pruned as one, though
        they may be equal by chance (two fresh batch norms): by default, only what is tied already is the same.
    """

    name: ClassVar[str] = "common-subexpressions"
    effect: ClassVar[Effect] = Effect.KEEPS

    parameters: bool = False

    def run(self, graph: Graph) -> Rewritten:
        """Merge every node with the first that is equal to it.

        Parameters
        ----------
        graph
            Any graph. Opaque nodes stay, since they may be random, as do parameters that a caller may replace.
        """
        builder = graph.edit()
        tied = _tie(builder, graph) if self.parameters else ()
        merger, merged = _Merger(builder, graph), list[str]()
        for key in graph.order:
            if key in graph.live and graph[key].op not in ("Input", "Param", "Opaque") and merger.merge(key):
                merged.append(graph[key].label)
        return Rewritten(builder.finish() if merged or tied else graph, Merged(tuple(merged), tied))


def _tie(builder: Builder, graph: Graph) -> tuple[str, ...]:
    """Let parameter nodes with the same bytes hold the same parameter; returns the names of those that changed."""
    alike: dict[Hashable, list[str]] = defaultdict(list)
    fixed, tied, firsts = overridable(graph), list[str](), dict[Hashable, Param]()
    for key in graph.params:
        param = graph[key].value
        if param is not None and param.dtype != object and graph[key].names[0] not in fixed:
            alike[param.dtype, param.shape].append(key)
    for kind, keys in alike.items():
        for key in keys if len(keys) > 1 else ():
            param = graph[key].value
            assert param is not None
            digest = hashlib.sha256(np.ascontiguousarray(param.numpy()).tobytes()).digest()
            first = firsts.setdefault((kind, digest), param)
            if first is not param:
                builder.replace_node(Value(key), value=first)
                tied.append(graph[key].names[0])
    return tuple(tied)


class _Merger:
    """Merges the nodes of a graph in a builder, one by one, in topological order."""

    def __init__(self, builder: Builder, graph: Graph) -> None:
        self.builder, self.graph, self.fixed = builder, graph, overridable(graph)
        self.firsts: dict[Hashable, str] = {}
        self.same: dict[Value, Value] = {}

    def merge(self, key: str) -> bool:
        """Let the first node that is equal to this one take its place; whether anything changed."""
        first = self.firsts.setdefault(self._identity(key), key)
        if first == key:
            return False
        ports = range(len(self.graph[key].names))
        self.same.update({Value(key, i): Value(first, i) for i in ports})
        if all(Value(key, i) not in self.graph.outputs for i in ports):
            self._replace(first, key)
        elif len(ports) == 1 and self.graph[key].op != "Identity":
            self._reduce(first, key)
        else:
            return False  # there must be a node whose output has this name, and no simpler one
        return True

    def _identity(self, key: str) -> Hashable:
        """What nodes have in common that compute the same; constants are known by the parameter they hold."""
        node = self.graph[key]
        return node.op, tuple(sorted(node.attrs.items())), tuple(map(self._source, self.graph.inputs_of(key)))

    def _source(self, value: Value | None) -> Hashable:
        if value is None or value in self.same:
            return value and self.same[value]
        param = self.builder[value].value
        return value if param is None or self.graph.name_of(value) in self.fixed else id(param)

    def _replace(self, first: str, key: str) -> None:
        """Leave a node out."""
        node, kept = self.graph[key], self.builder[Value(first)]
        types = (merge_types(kept, i, a, b) for i, (a, b) in enumerate(zip(kept.types, node.types, strict=True)))
        self.builder.replace_node(Value(first), types=tuple(types), origin=kept.origin.merged(node.origin))
        for i in range(len(node.names)):
            self.builder.replace_value(Value(key, i), Value(first, i))
        self.builder.remove(key)
        for i, name in enumerate(node.names):
            if name and not kept.names[i]:
                self.builder.rename(Value(first, i), name)
        drop_constants(self.builder, self.graph, [key])

    def _reduce(self, first: str, key: str) -> None:
        """Leave of a node that computes an output only the name."""
        for user, slot, _ in self.graph.users(key):
            self.builder.connect(user, slot, Value(first))
        disconnect(self.builder, key)
        self.builder.replace_node(Value(key), op="Identity", attrs={})
        self.builder.connect(key, 0, Value(first))
        drop_constants(self.builder, self.graph, [key])
