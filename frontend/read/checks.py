"""Checks of structure: single assignment, defined inputs and outputs, no cycles, in every scope.

ONNX resolves a name in the innermost graph that defines it; graphs held by a node's attributes see the names of all
enclosing graphs, function bodies see their own inputs only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from pathlift.frontend.protos import describe, quoted, subgraphs
from pathlift.frontend.read.attributes import check_attributes, parameters
from pathlift.ir.errors import InvalidModelError


def check_structure(model: ModelProto) -> bool:
    """Raise unless every graph and function of `model` is well-formed; return whether any needs sorting."""
    structure = _Structure()
    structure.graph(model.graph, ())
    for function in model.functions:
        structure.function(function)
    return structure.unsorted


@dataclass
class _Scope:
    """The names of one graph: all of them, and those that are defined before the node being looked at."""

    names: set[str]
    earlier: set[str] = field(default_factory=set)


class _Structure:
    """One walk over a model; `unsorted` tells whether a node came before what it reads."""

    def __init__(self) -> None:
        self.unsorted = False
        self._parameters: frozenset[str] = frozenset()

    def function(self, function: FunctionProto) -> None:
        where = f"function {quoted(function.name)}"
        if not function.name:
            raise InvalidModelError("0115", f"{where} has no name")
        self._parameters = frozenset()
        check_attributes(function.attribute_proto, where, ())
        for default in subgraphs(function.attribute_proto):
            self.graph(default, ())
        self._parameters = parameters(function)
        given = _unique(function.input, where)
        self._body(where, function.node, given, function.output, ())

    def graph(self, graph: GraphProto, outer: tuple[_Scope, ...]) -> set[str]:
        """Check one graph and return the names it takes from the enclosing ones."""
        where = f"graph {quoted(graph.name)}"
        inputs = _unique((info.name for info in graph.input), where)
        sparse = (tensor.values.name for tensor in graph.sparse_initializer)
        initializers = _unique((*(tensor.name for tensor in graph.initializer), *sparse), where)
        return self._body(where, graph.node, inputs | initializers, [info.name for info in graph.output], outer)

    def _body(
        self, where: str, nodes: Sequence[NodeProto], given: set[str], outputs: Iterable[str], outer: tuple[_Scope, ...]
    ) -> set[str]:
        scope = _Scope(set(given), set(given))
        producer: dict[str, int] = {}
        for index, node in enumerate(nodes):
            for name in filter(None, node.output):
                if name in scope.names:
                    raise InvalidModelError("0111", f"{describe(node)}: value {quoted(name)} is defined twice")
                scope.names.add(name)
                producer[name] = index
        captured: set[str] = set()
        reads: dict[int, set[int]] = {}
        for index, node in enumerate(nodes):
            names = self._node(node, scope, outer)
            captured |= names - scope.names
            reads[index] = {producer[name] for name in names if name in producer}
            scope.earlier.update(node.output)
        if any(source >= index for index, sources in reads.items() for source in sources):
            _refuse_cycle(nodes, reads)
            self.unsorted = True
        for name in outputs:
            if name not in scope.names:
                raise InvalidModelError("0113", f"{where}: output {quoted(name)} is not defined")
        return captured

    def _node(self, node: NodeProto, scope: _Scope, outer: tuple[_Scope, ...]) -> set[str]:
        """Check one node and return the names it reads, those its subgraphs read from outside included."""
        if not node.op_type:
            raise InvalidModelError("0116", f"{describe(node)}: a node without an operator type")
        check_attributes(node.attribute, describe(node), self._parameters)
        names = set(filter(None, node.input))
        for name in sorted(names - scope.names):
            if not any(name in enclosing.names for enclosing in outer):
                raise InvalidModelError("0112", f"{describe(node)}: input {quoted(name)} is not defined")
        for name in filter(None, node.output):
            # A name that the surrounding graphs define only later is unambiguous, and exporters produce it.
            if any(name in enclosing.earlier for enclosing in outer):
                raise InvalidModelError("0111", f"{describe(node)}: value {quoted(name)} is defined twice")
        for graph in subgraphs(node.attribute):
            names |= self.graph(graph, (*outer, scope))
        return names


def _unique(names: Iterable[str], where: str) -> set[str]:
    seen: set[str] = set()
    for name in names:
        if not name:
            raise InvalidModelError("0115", f"{where}: an input or initializer has no name")
        if name in seen:
            raise InvalidModelError("0111", f"{where}: value {quoted(name)} is defined twice")
        seen.add(name)
    return seen


def _refuse_cycle(nodes: Sequence[NodeProto], reads: dict[int, set[int]]) -> None:
    try:
        TopologicalSorter(reads).prepare()
    except CycleError as error:
        cycle: list[int] = error.args[1]
        shown = " -> ".join(describe(nodes[index]) for index in cycle[:8]) + (" -> ..." if len(cycle) > 8 else "")
        raise InvalidModelError("0114", f"the graph has a cycle: {shown}") from error
