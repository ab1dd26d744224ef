"""The one evaluator: runs every op's program under an algebra, in topological order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from pathlift.ir.algebras.protocol import Algebra
from pathlift.ir.errors import GraphError, UnsupportedError, UsageError
from pathlift.ir.graph import Graph, Node, Value
from pathlift.ir.ops import OPS

T = TypeVar("T")
Observer = Callable[[str, Node, "tuple[T | None, ...]", "tuple[T, ...]"], None]
Visit = Callable[[str, "tuple[T | None, ...]"], Sequence[T]]
"""Turns the key of a node, and the values that it reads, into the values that it computes."""
Kernel = Callable[..., "T | tuple[T, ...]"]
"""Computes a node from its inputs and, as keywords, its attributes: an op's program without the algebra."""


def run(
    graph: Graph,
    algebra: Algebra[T],
    feeds: Mapping[str, T],
    *,
    observe: Observer[T] | None = None,
    kernels: Mapping[str, Kernel[T]] | None = None,
) -> dict[str, T]:
    """Evaluate a graph; a value is dropped after its last use.

    Parameters
    ----------
    graph
        What to evaluate.
    algebra
        What the primitives mean.
    feeds
        A value for every graph input, by name.
    observe
        Called as ``observe(key, node, inputs, outputs)`` after each op.
    kernels
        By a node's key, or by op: what computes it instead of its program.

    Returns
    -------
    dict
        The graph's outputs, by name.

    Raises
    ------
    UnsupportedError
        If the algebra has no rule for a node; names node, op and reason.
    UsageError
        If an input is not fed.
    """
    names = [graph[key].names[0] for key in graph.inputs]
    missing = [name for name in names if name not in feeds]
    if missing:
        raise UsageError("0405", f"input {missing[0]!r} is not fed", hint=f"inputs: {', '.join(names)}")

    def visit(key: str, inputs: tuple[T | None, ...]) -> Sequence[T]:
        node = graph[key]
        if node.op == "Input":
            return (feeds[node.names[0]],)
        kernel = kernels and (kernels.get(key) or kernels.get(node.op))
        outputs = _tuple(kernel(*inputs, **node.attrs)) if kernel else evaluate(algebra, node, inputs)
        if observe is not None:
            observe(key, node, inputs, outputs)
        return outputs

    return walk(graph, visit)


def walk(graph: Graph, visit: Visit[T]) -> dict[str, T]:
    """Visit every node that an output depends on, producers first; a value is dropped after its last use.

    This is `run` for those who go on where an algebra refuses a node: their visit says what takes its outputs' place.

    Parameters
    ----------
    graph
        What to walk through.
    visit
        Called as ``visit(key, inputs)`` with the values of a node's input slots, ``None`` where left out; returns one
        value per output. ``Input`` and ``Param`` nodes are visited like any other, without inputs.

    Returns
    -------
    dict
        The graph's outputs, by name.
    """
    live = graph.live  # dead code has no say in a result
    pending = Counter(producer for producer, consumer in graph.nx.edges() if consumer in live)
    pending.update(value.node for value in graph.outputs)
    values: dict[Value, T] = {}
    for key in graph.order:
        if key not in live:
            continue
        sources = graph.inputs_of(key)
        outputs = visit(key, tuple(None if v is None else values[v] for v in sources))
        for source in sources:
            if source is not None:
                pending[source.node] -= 1
                if not pending[source.node]:
                    for index in range(len(graph[source.node].types)):
                        values.pop(Value(source.node, index), None)
        values.update({Value(key, i): v for i, v in enumerate(outputs)})
    return {graph.name_of(v): values[v] for v in graph.outputs}


def evaluate(algebra: Algebra[T], node: Node, inputs: tuple[T | None, ...]) -> tuple[T, ...]:
    """Run one node's program.

    Raises
    ------
    UnsupportedError
        If the algebra has no rule for it; names node, op and reason.
    GraphError
        If shapes or attributes do not fit; names the node.
    """
    algebra.enter(node)
    try:
        if node.op == "Param":
            assert node.value is not None
            return (algebra.param(node.value),)
        result = OPS[node.op].program(algebra, *inputs, **node.attrs)
    except UnsupportedError as refusal:
        raise refusal.at(node.label, str(node.attrs.get("op_type", node.op))) from None
    except GraphError as error:
        message = f"node {node.label!r} ({node.op}): {error.message}"
        raise GraphError(error.code.removeprefix("PL"), message, hint=error.hint) from None
    return _tuple(result)


def _tuple(result: T | tuple[T, ...]) -> tuple[T, ...]:
    return result if isinstance(result, tuple) else (result,)
