"""Value numbering: two values get the same number if the same ops compute them from the same inputs.

Names do not matter, nor does the order of what is added or maximized, nor which values parameters have. Identities and
casts between formats of real numbers are looked through. A `Likeness` may let more pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pathlift.ir.algebras.traits import traits
from pathlift.ir.graph import Attr, Graph, Value
from pathlift.ir.ops import OPS
from pathlift.ir.types import OtherType, TensorType, ValueType, is_float
from pathlift.passes.equivalence.axes import counted
from pathlift.passes.equivalence.opaque import opaque_key


@dataclass(frozen=True)
class Likeness:
    """What two nodes may differ in beyond that, and still be alike.

    Parameters
    ----------
    activations
        One elementwise activation is like any other, and one batch norm like another of any ε.
    quantizers
        Quantizers of activations are looked through.
    """

    activations: bool = False
    quantizers: bool = False

    def is_looked_through(self, graph: Graph, key: str) -> bool:
        """Whether a node is as good as what it reads."""
        return (self.quantizers and graph[key].op == "FakeQuantize") or traits(graph, key).transparent

    def content(self, graph: Graph, key: str) -> tuple[object, ...]:
        """Return a node apart from what it reads, and from what may differ."""
        if not self.activations:
            return content_of(graph, key)
        if graph[key].op == "BatchNormalization":
            return ("BatchNormalization",)
        return ("activation",) if is_activation(graph, key) else content_of(graph, key)


STRICT = Likeness()


def is_activation(graph: Graph, key: str) -> bool:
    """Whether a node applies one function, which is not linear, to each element of its only operand."""
    trait = traits(graph, key)
    return trait.elementwise and not trait.transparent and not trait.coefficients


@dataclass(frozen=True, eq=False)
class ValueNumbering:
    """The values of a graph as expressions.

    Parameters
    ----------
    graph
        The graph.
    source
        By value: the one behind identities and casts.
    numbers
        By source: the number of the expression.
    likeness
        What was taken for alike.
    """

    graph: Graph
    source: Mapping[Value, Value]
    numbers: Mapping[Value, int]
    likeness: Likeness = STRICT

    def operands(self, key: str) -> tuple[Value | None, ...]:
        """Return what a node reads, behind identities and casts."""
        return tuple(None if v is None else self.source[v] for v in self.graph.inputs_of(key))

    def number(self, value: Value | None) -> int:
        """Return the number of an expression; −1 for an input that is left out."""
        return -1 if value is None else self.numbers[value]

    def passed(self, value: Value) -> list[str]:
        """Return the nodes between a value and its source that compute something, producers first."""
        found = []
        while self.source[value] != value:
            if not traits(self.graph, value.node).transparent:
                found.append(value.node)
            (operand,) = self.graph.inputs_of(value.node)
            assert operand is not None
            value = operand
        return found[::-1]

    @property
    def outputs(self) -> tuple[Value, ...]:
        """The graph's outputs, behind identities and casts."""
        return tuple(self.source[v] for v in self.graph.outputs)


def value_numbering(graph: Graph, known: dict[tuple[object, ...], int], likeness: Likeness = STRICT) -> ValueNumbering:
    """Number the values of a graph.

    Parameters
    ----------
    graph
        The graph.
    known
        The numbers given so far, to the values of other graphs; more are added.
    likeness
        What is alike.
    """
    source: dict[Value, Value] = {}
    numbers: dict[Value, int] = {}
    for key in graph.order:
        node, operands, trait = graph[key], graph.inputs_of(key), traits(graph, key)
        values = [Value(key, i) for i in range(len(node.types))]
        if likeness.is_looked_through(graph, key) and operands[0] is not None:
            source[values[0]] = source[operands[0]]
            continue
        read = [-1 if v is None else numbers[source[v]] for v in operands]
        content = (*likeness.content(graph, key), tuple(sorted(read) if trait.commutative else read))
        for value in values:
            source[value] = value
            numbers[value] = known.setdefault((*content, value.port), len(known))
    return ValueNumbering(graph, source, numbers, likeness)


def content_of(graph: Graph, key: str) -> tuple[object, ...]:
    """Return a node apart from what it reads: op and attributes; an input's position; a parameter's type."""
    node = graph[key]
    if node.op == "Input":
        return "Input", graph.inputs.index(key)
    if node.op == "Param":
        return "Param", kind_of(node.types[0]), node.value.shape if node.value is not None else None
    if node.op == "Opaque":
        return "Opaque", opaque_key(graph, key)
    return node.op, attributes(graph, key)


def attributes(graph: Graph, key: str) -> tuple[tuple[str, object], ...]:
    """Return all of a node's attributes as ONNX stores them, real numbers in float32; axes count from the front."""
    node = graph[key]
    defaults = {} if node.op not in OPS else {name: a.default for name, a in OPS[node.op].attributes.items()}
    attrs = {**defaults, **node.attrs}
    return tuple(sorted((name, _stored(counted(graph, key, name, value))) for name, value in attrs.items()))


def _stored(value: Attr) -> object:
    if isinstance(value, tuple):
        return tuple(map(_stored, value))
    return float(np.float32(value)) if isinstance(value, float) else value


def kind_of(type_: ValueType) -> object:
    """Return what a value's elements are; all formats of real numbers are one kind."""
    if isinstance(type_, OtherType):
        return type_.text
    return "real" if isinstance(type_, TensorType) and is_float(type_.dtype) else type_.dtype
