"""Printing a graph: one line per node, producers first, ties broken by insertion order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

from pathlift.ir.graph import Graph, ModelInfo, Node, Origin
from pathlift.ir.ops import OPS
from pathlift.ir.quoting import plain, quote
from pathlift.ir.text.literals import array_text, literal_text, pairs_text
from pathlift.ir.types import UNKNOWN, Param, TensorType, ValueType, unnamed

Place = Callable[[str, Param], Mapping[str, object]]
"""Where the values of a parameter are, by its name: attributes of its line."""


def print_graph(graph: Graph, *, max_inline: int = 16, place: Place | None = None, metadata: bool = True) -> str:
    """Return the text form of a graph; `parse_graph` reads it back.

    Parameters
    ----------
    graph
        What to print.
    max_inline
        Parameters with at most this many elements are printed with their values; those of larger ones are not part of
        the text, `parse_graph` is given them.
    place
        Says where the values of larger ones are: ``{"data": bytes}``, or ``{"file": name, "offset": bytes}``. Strings
        are always printed.
    metadata
        Whether to print what the model says about itself and its nodes.

    Returns
    -------
    str
        One line per node, without a newline at the end.

    Raises
    ------
    GraphError
        If the graph has a cycle.
    """
    lines = [] if graph.info == ModelInfo() or not metadata else [_header(graph.info)]
    tied: dict[int, str] = {}
    for key in graph.order:
        node = graph[key]
        text = f"{', '.join(_value(name) for name in node.names)} = {node.op}"
        if node.op == "Param":
            text += _param(node, tied, max_inline, place)
        else:
            text += _call(graph, key, node)
        if any(t != UNKNOWN for t in node.types):
            text += f" : {', '.join(_type(t, node) for t in node.types)}"
        lines.append(text + (_location(node.origin) if metadata else ""))
    returned = ", ".join(_value(graph.name_of(v)) for v in graph.outputs)
    return "\n".join([*lines, f"return {returned}".rstrip()])


def _type(type_: ValueType, node: Node) -> str:
    """Print a type; symbols without a name, whose `?` would not tell which they are, stand in quotes."""
    if not isinstance(type_, TensorType):
        return str(type_)
    own = range(len(type_.shape or ())) if node.op == "Input" else ()
    return type_.spelled(unnamed(node.names[0], axis) for axis in own)


def _value(name: str) -> str:
    return f"%{plain(name)}" if name else "_"


def _header(info: ModelInfo) -> str:
    fields: dict[str, Any] = {
        "ir_version": info.ir_version,
        "opset": info.opsets.get(""),
        "opsets": {domain: version for domain, version in info.opsets.items() if domain},
        "doc": info.doc,
        "properties": info.properties,
        "metadata": info.metadata,
        "graph_metadata": info.graph_metadata,
        "overridable": info.overridable,
        "functions": info.functions,
        "declared": info.declared,
    }
    return f"graph {quote(info.name)}{_braces({k: v for k, v in fields.items() if v})}"


def _braces(fields: Mapping[str, object]) -> str:
    """Print attributes, after a space; nothing if there are none."""
    return " {" + ", ".join(f"{k}={literal_text(v)}" for k, v in fields.items()) + "}" if fields else ""


def _param(node: Node, tied: dict[int, str], max_inline: int, place: Place | None) -> str:
    value = node.value
    if value is None:
        return ""
    if id(value) in tied:
        return f" {{same={_value(tied[id(value)])}}}"
    tied[id(value)] = node.names[0]
    if value.size <= max_inline or (place is not None and value.dtype == object):
        return f" {{value={array_text(value.numpy())}}}"
    return "" if place is None else _braces(place(node.names[0], value))


def _call(graph: Graph, key: str, node: Node) -> str:
    sources = graph.inputs_of(key)
    inputs = ", ".join("_" if v is None else _value(graph.name_of(v)) for v in sources)
    schema = OPS[node.op].attributes if node.op in OPS else {}
    names = dict.fromkeys(chain((n for n in schema if n in node.attrs), node.attrs))
    call = "" if node.op == "Input" else f"({inputs})"
    return call + _braces({name: node.attrs[name] for name in names})


def _location(origin: Origin) -> str:
    if origin == Origin():
        return ""
    details = [f"doc={quote(origin.doc)}"] if origin.doc else []
    details += [f"metadata={pairs_text(origin.metadata)}"] if origin.metadata else []
    parts = [", ".join(map(plain, origin.nodes)), "{" + ", ".join(details) + "}" if details else ""]
    return f"  # loc: {' '.join(filter(None, parts))}"
