"""The invariants of a graph; checked when a builder finishes, and after every pass."""

from __future__ import annotations

from collections.abc import Mapping

from pathlift.ir import dims as D
from pathlift.ir.algebras.interpret import evaluate
from pathlift.ir.algebras.shape import Shape
from pathlift.ir.errors import GraphError
from pathlift.ir.graph import Graph, Node, Value
from pathlift.ir.ops import OPS
from pathlift.ir.types import Dims, TensorType, ValueType


def verify(graph: Graph) -> dict[str, tuple[ValueType, ...]]:
    """Check that a graph is acyclic, that names are unique, arities and attributes right, and types agree.

    Returns
    -------
    dict
        Output types of the nodes, by key, whose declared ones are less precise than can be inferred.

    Raises
    ------
    GraphError
        At the first violation; names the node.
    """
    _check_names(graph)
    for value in graph.outputs:
        if value.node not in graph or not 0 <= value.port < len(graph[value.node].types):
            raise GraphError("0508", f"output {value.node!r}.{value.port} is not defined")
        if not graph.name_of(value):
            raise GraphError("0513", f"output {value.node!r}.{value.port} has no name")
    shape = Shape()
    types: dict[str, tuple[ValueType, ...]] = {}
    refined: dict[str, tuple[ValueType, ...]] = {}
    for key in graph.order:
        node = graph[key]
        if node.op in ("Input", "Param"):
            if graph.inputs_of(key) or len(node.names) != 1 or not node.names[0]:
                raise GraphError("0509", f"node {key!r}: {node.op} takes no inputs and has one output, with a name")
            if node.op == "Param" and (node.value is None or node.value.type != node.types[0]):
                raise GraphError("0510", f"parameter {key!r} and its value differ in type")
            types[key] = node.types
            continue
        types[key] = _check_node(graph, key, node, shape, types)
        if types[key] != node.types:
            refined[key] = types[key]
    return refined


def _check_names(graph: Graph) -> None:
    seen: set[str] = set()
    for key, node in graph.nx.nodes(data="node"):
        if len(node.names) != len(node.types) or not node.names:
            raise GraphError("0511", f"node {key!r}: {len(node.names)} names for {len(node.types)} outputs")
        for name in node.names:
            if name in seen:
                raise GraphError("0506", f"two values are called {name!r}")
            if name:
                seen.add(name)


def _check_node(
    graph: Graph, key: str, node: Node, shape: Shape, types: Mapping[str, tuple[ValueType, ...]]
) -> tuple[ValueType, ...]:
    sources = graph.inputs_of(key)
    op = OPS.get(node.op)
    if op is None:
        raise GraphError("0504", f"node {key!r}: there is no op {node.op!r}")
    problem = op.check_inputs(sources) or op.check_attrs(node.attrs)
    if not problem and any(s is not None and not _readable(graph, s) for s in sources):
        problem = "reads an output that its producer does not have, or that has no name"
    if not problem and sum(map(len, graph.nx.pred[key].values())) != sum(s is not None for s in sources):
        problem = "two edges lead to one input"
    if problem:
        raise GraphError("0504", f"node {key!r}: {problem}")
    inferred = evaluate(shape, node, tuple(None if s is None else types[s.node][s.port] for s in sources))
    if len(inferred) != len(node.types):
        raise GraphError("0505", f"node {key!r}: {node.op} has {len(inferred)} outputs, declares {len(node.types)}")
    return tuple(merge_types(node, i, a, b) for i, (a, b) in enumerate(zip(inferred, node.types, strict=True)))


def _readable(graph: Graph, value: Value) -> bool:
    names = graph[value.node].names
    return 0 <= value.port < len(names) and bool(names[value.port])


def merge_types(node: Node, index: int, inferred: ValueType, declared: ValueType) -> ValueType:
    """Return the more precise of two claims about an output's type.

    Raises
    ------
    GraphError
        If they contradict each other; names the node.
    """
    if inferred == declared:
        return declared
    if not isinstance(inferred, TensorType) or not isinstance(declared, TensorType):
        if isinstance(inferred, TensorType) and inferred.shape is None:
            return declared
        raise GraphError("0512", f"node {node.names[0]!r}: output {index} is {inferred}, declared {declared}")
    dtype = declared.dtype or inferred.dtype
    shape: Dims | None
    if inferred.shape is None or declared.shape is None:
        shape = declared.shape if inferred.shape is None else inferred.shape
        agree = True
    else:
        pairs = [D.unify(a, b) for a, b in zip(inferred.shape, declared.shape, strict=False)]
        agree = len(inferred.shape) == len(declared.shape) and all(ok for ok, _ in pairs)
        shape = tuple(dim for _, dim in pairs)
    if not agree or (inferred.dtype is not None and dtype != inferred.dtype):
        raise GraphError("0512", f"node {node.names[0]!r}: output {index} is {inferred}, declared {declared}")
    return TensorType(dtype, shape)
