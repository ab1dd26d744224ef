"""Value names made unique along every chain of nested graphs, so that a name means one value wherever it is visible."""

from __future__ import annotations

from collections.abc import Iterator

from onnx_ir import AttributeType, Graph, Model, Node, Value


def separate_scopes(model: Model) -> None:
    """Rename, in place, inner values that hide an outer one; the main graph keeps all its names.

    A file may define a name in a subgraph before the enclosing graph does, and inlining a function puts its names next
    to those of existing subgraphs. As objects these are distinct; written out, the inner one would capture the readers
    of the outer one.
    """
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        taken = {value.name for part in (graph, *graph.subgraphs()) for value in _values(part)}
        _separate(graph, (), taken)


def _separate(graph: Graph, outer: tuple[set[str | None], ...], taken: set[str | None]) -> None:
    own: set[str | None] = set()
    for value in _values(graph):
        if value.name in own or any(value.name in names for names in outer):
            suffix = len(taken)
            while (name := f"{value.name}_{suffix}") in taken:
                suffix += 1
            taken.add(name)
            value.name = name
        own.add(value.name)
    for node in graph:
        for inner in subgraphs(node):
            _separate(inner, (*outer, own), taken)


def _values(graph: Graph) -> Iterator[Value]:
    """Yield the values that a graph defines, once each; an omitted output has no name and is none."""
    yield from graph.inputs
    for value in list(graph.initializers.values()):
        if not value.is_graph_input():
            yield value
    for node in graph:
        yield from (value for value in node.outputs if value.name)


def subgraphs(node: Node) -> Iterator[Graph]:
    """Yield the graphs held by a node's attributes."""
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == AttributeType.GRAPHS:
            yield from attribute.as_graphs()
