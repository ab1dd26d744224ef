"""One skeleton for two graphs that were matched, with the parameters of either.

It has a node per pair of nodes that compute the same expression, and a parameter per use: parameters that several nodes
share in one file only are no obstacle.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Attrs, Graph, ModelInfo, Origin, Value, freeze_attrs
from pathlift.passes.equivalence.matching import Orders, Pair, operand_pairs, reached, unified
from pathlift.passes.equivalence.value_numbering import ValueNumbering, is_activation
from pathlift.passes.witness.correspondence import overridable

Sources = tuple[str, str]
"""Keys of a node, or of a parameter, in the graphs that were matched; empty where a graph has none."""


@dataclass(frozen=True, eq=False)
class MatchedPair:
    """Two graphs that differ in nothing but parameters, and what their `Likeness` lets pass.

    Parameters
    ----------
    first, second
        The same nodes under the same keys, with the parameters of either graph; each parameter is used once. Where a
        value is quantized in one graph only, the other has a `Clip` to (−∞, ∞).
    sources
        By key of a parameter.
    nodes
        By key of any other node but an input.
    """

    first: Graph
    second: Graph
    sources: Mapping[str, Sources]
    nodes: Mapping[str, Sources]


def matched(a: ValueNumbering, b: ValueNumbering, orders: Orders) -> MatchedPair:
    """Build the skeleton of two graphs that compute the same expressions.

    Parameters
    ----------
    a, b
        The graphs.
    orders
        How the operands of sums and maxima are matched.
    """
    return _Skeleton(a, b).build(orders)


class _Skeleton:
    """A skeleton in the making."""

    def __init__(self, a: ValueNumbering, b: ValueNumbering) -> None:
        self.a, self.b, self.builder = a, b, Builder()
        self.values: dict[Sources, tuple[Value, ...]] = {}
        self.sources: dict[str, Sources] = {}
        self.nodes: dict[str, Sources] = {}
        self.quantized: dict[tuple[Value, Sources], Value] = {}
        self.replaceable = overridable(a.graph), overridable(b.graph)

    def build(self, orders: Orders) -> MatchedPair:
        builder, a, b = self.builder, self.a, self.b
        for x, y in zip(a.graph.inputs, b.graph.inputs, strict=True):
            type_ = unified(a.graph[x].types[0], b.graph[y].types[0])
            assert type_ is not None
            self.values[x, y] = (builder.input_of(a.graph[x].names[0], type_),)
        for x, y in reached(a, b, orders):
            node = a.graph[x]
            if node.op not in ("Input", "Param"):
                operands = [None if p is None else self._value(p) for p in operand_pairs(a, b, x, y, orders)]
                names = [builder.fresh(name) if name else "" for name in node.names]
                values = builder.node(
                    node.op, *operands, names=names, types=node.types, origin=node.origin, **node.attrs
                )
                self.values[x, y], self.nodes[values[0].node] = values, (x, y)
        ends = [self._value(pair) for pair in zip(a.graph.outputs, b.graph.outputs, strict=True)]
        held = [builder[Value(key)].names[0] for key, sources in self.sources.items() if self._is_replaceable(sources)]
        builder.info = ModelInfo(overridable=tuple(held))
        first = builder.finish(*ends)
        return MatchedPair(first, self._second(first), self.sources, self.nodes)

    def _second(self, first: Graph) -> Graph:
        builder = first.edit()
        for key, (_, y) in self.sources.items():
            value = self.b.graph[y].value
            assert value is not None
            builder.replace_node(Value(key), value=value, types=(value.type,))
        for key, (_, y) in self.nodes.items():
            if is_activation(first, key) or first[key].op == "BatchNormalization":
                op, attrs = self._spelled(self.b, y)
                builder.replace_node(Value(key), op=op)
                builder.replace_node(Value(key), attrs=attrs)
        return builder.finish()

    def _value(self, pair: Pair) -> Value:
        """What two nodes read, as the skeleton has it."""
        x, y = (e.source[v] for e, v in zip((self.a, self.b), pair, strict=True))
        node = self.a.graph[x.node]
        if node.op != "Param":
            value = self.values[x.node, y.node][x.port]
        else:
            assert node.value is not None
            value = self.builder.param(node.value, self.builder.fresh(node.names[0]), Origin(nodes=(node.label,)))
            self.sources[value.node] = x.node, y.node
        passed = itertools.zip_longest(self.a.passed(pair[0]), self.b.passed(pair[1]), fillvalue="")
        for nodes in passed:
            value = self._quantized(value, nodes)
        return value

    def _quantized(self, value: Value, nodes: Sources) -> Value:
        """A value behind a quantizer of either graph, or of both; one for all that read it."""
        if (value, nodes) not in self.quantized:
            op, attrs = self._spelled(self.a, nodes[0])
            graph, key = (self.a.graph, nodes[0]) if nodes[0] else (self.b.graph, nodes[1])
            name = self.builder.fresh(graph[key].names[0])
            result = self.builder.op(op, value, name=name, origin=graph[key].origin, **attrs)
            self.quantized[value, nodes] = result
            self.nodes[result.node] = nodes
        return self.quantized[value, nodes]

    def _spelled(self, side: ValueNumbering, key: str) -> tuple[str, Attrs]:
        """Op and attributes of a node; those of an activation that does nothing, where there is no node."""
        if not key:
            return "Clip", freeze_attrs({"low": -inf, "high": inf})
        return side.graph[key].op, side.graph[key].attrs

    def _is_replaceable(self, sources: Sources) -> bool:
        sides = zip((self.a.graph, self.b.graph), sources, self.replaceable, strict=True)
        return any(graph[key].names[0] in names for graph, key, names in sides)
