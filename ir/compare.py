"""Structural equality of graphs: what ``text∘parse = identity`` and ``save∘load = identity`` mean."""

from __future__ import annotations

import numpy as np

from pathlift.ir.graph import Attr, Graph, ModelInfo, Node, Value
from pathlift.ir.ops import OPS
from pathlift.ir.types import Array


def graphs_equal(a: Graph, b: Graph, *, info: bool = True, origin: bool = True) -> str:
    """Return the first difference between two graphs; empty if there is none.

    Equal graphs have the same nodes (op, attributes, names, types, provenance) reading the same values, the same
    inputs and outputs in the same order, and parameters with the same bits (any NaN equals any other) and ties. Keys
    and the order of independent nodes do not matter.

    Parameters
    ----------
    a, b
        The graphs.
    info, origin
        Whether facts about the model and provenance count.

    Returns
    -------
    str
        One sentence that names the node.
    """
    if info and a.info != b.info:
        return _info_difference(a.info, b.info)
    for what, left, right in (
        ("inputs", _names(a, a.inputs), _names(b, b.inputs)),
        ("outputs", [a.name_of(v) for v in a.outputs], [b.name_of(v) for v in b.outputs]),
    ):
        if left != right:
            return f"the {what} are {left} and {right}"
    theirs = {_identity(b, key): key for key in b.order}
    ties: tuple[dict[int, str], dict[int, str]] = ({}, {})
    for key in a.order:
        other = theirs.pop(_identity(a, key), None)
        if other is None:
            return f"only the first has the node {', '.join(map(repr, a[key].names))}"
        problem = _node_difference(a, key, b, other, origin) or _value_difference(a[key], b[other], ties)
        if problem:
            return f"node {a[key].names[0]!r}: {problem}"
    rest = next(iter(theirs.values()), None)
    return "" if rest is None else f"only the second has the node {', '.join(map(repr, b[rest].names))}"


def _names(graph: Graph, keys: tuple[str, ...]) -> list[str]:
    return [graph[key].names[0] for key in keys]


def _identity(graph: Graph, key: str) -> tuple[object, ...]:
    """What a node is recognised by: its outputs' names, or what it reads, if none has a name."""
    node = graph[key]
    return node.names if any(node.names) else (node.op, *_sources(graph, key))


def _sources(graph: Graph, key: str) -> tuple[tuple[str, int] | None, ...]:
    def source(value: Value | None) -> tuple[str, int] | None:
        return None if value is None else (graph.name_of(value), 0 if graph.name_of(value) else value.port)

    return tuple(source(v) for v in graph.inputs_of(key))


def _info_difference(a: ModelInfo, b: ModelInfo) -> str:
    for name in ModelInfo.__dataclass_fields__:
        left, right = getattr(a, name), getattr(b, name)
        if left != right:
            return f"the models' {name} are {left!r} and {right!r}"
    return ""


def _node_difference(a: Graph, key: str, b: Graph, other: str, origin: bool) -> str:
    left, right = a[key], b[other]
    if left.op != right.op:
        return f"ops are {left.op} and {right.op}"
    if _sources(a, key) != _sources(b, other):
        return f"inputs are {_sources(a, key)} and {_sources(b, other)}"
    for name in dict.fromkeys((*left.attrs, *right.attrs)):
        if not _same(_attribute(left, name), _attribute(right, name)):
            return f"attribute {name!r} is {_attribute(left, name)!r} and {_attribute(right, name)!r}"
    if left.types != right.types:
        return f"types are {', '.join(map(str, left.types))} and {', '.join(map(str, right.types))}"
    if origin and left.origin != right.origin:
        return f"origins are {left.origin} and {right.origin}"
    return ""


def _attribute(node: Node, name: str) -> Attr | None:
    schema = OPS[node.op].attributes if node.op in OPS else {}
    default: Attr | None = schema[name].default if name in schema else None
    return node.attrs.get(name, default)


def _same(a: object, b: object) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return repr(float(a)) == repr(float(b))  # tells −0.0 from 0.0, and not NaN from NaN
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _value_difference(a: Node, b: Node, ties: tuple[dict[int, str], dict[int, str]]) -> str:
    """Compare parameters; of a set of tied ones, the first by value, the others by whom they are tied to."""
    if a.value is None or b.value is None:
        return "" if a.value is b.value else "only one of them has a value"
    left, right = (t.setdefault(id(n.value), n.names[0]) for t, n in zip(ties, (a, b), strict=True))
    if left != right:
        return f"the parameters are those of {left!r} and of {right!r}"
    if left != a.names[0] or a.value is b.value:
        return ""
    return _array_difference(a.value.numpy(), b.value.numpy())


def _array_difference(a: Array, b: Array) -> str:
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"values are {a.dtype}{list(a.shape)} and {b.dtype}{list(b.shape)}"
    if a.dtype == object:
        equal = a == b
    else:
        bits = [np.ascontiguousarray(x).reshape(-1).view(np.uint8).reshape(x.size, x.dtype.itemsize) for x in (a, b)]
        with np.errstate(invalid="ignore"):
            equal = (bits[0] == bits[1]).all(1).reshape(a.shape) | ((a != a) & (b != b))  # the second: NaN
    if np.all(equal):
        return ""
    where = tuple(int(i) for i in np.argwhere(~np.asarray(equal))[0])
    return f"values differ at {where}: {a[where]} and {b[where]}"
