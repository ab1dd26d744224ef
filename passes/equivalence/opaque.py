"""Opaque nodes without the names they use: equal keys stand for the same ONNX computation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pathlift.ir.graph import Graph
from pathlift.passes.equivalence.axes import count_from_front

if TYPE_CHECKING:
    import onnx


def opaque_key(graph: Graph, key: str) -> tuple[object, ...]:
    """Return what an opaque node computes, whatever its file calls it.

    Parameters
    ----------
    graph
        Its graph, which holds the functions that it may call.
    key
        Of an ``Opaque`` node; its ``captures`` are the last of its inputs.
    """
    import onnx

    node = graph[key]
    proto = onnx.NodeProto.FromString(node.attrs["proto"])
    version = int(node.attrs.get("version", 0))  # type: ignore[arg-type]  # an attribute has the type that its op gives it
    domain = str(node.attrs.get("domain", ""))
    outer = [*proto.input, *node.attrs.get("captures", ())]  # type: ignore[misc]  # an attribute has the type that its op gives it
    names: dict[str, str] = {"": ""}
    for slot, name in enumerate(outer):
        names.setdefault(name, f"i{slot}")
    _rename_node(proto, names, {**graph.info.opsets, domain: version})
    count_from_front(proto, graph, key)
    del proto.input[:]  # the graph's edges say what it reads
    called = tuple(f for f in graph.info.functions if _is_called(onnx.FunctionProto.FromString(f), proto))
    others = graph.info.functions if called else ()  # which may call each other
    return (proto.SerializeToString(deterministic=True), *sorted(others))


def _is_called(function: onnx.FunctionProto, node: onnx.NodeProto) -> bool:
    inner = (n for a in node.attribute for g in _graphs(a) for n in g.node)
    same = (function.domain, function.name) == (node.domain, node.op_type)
    return same or any(_is_called(function, n) for n in inner)


def _graphs(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def _rename_node(node: onnx.NodeProto, names: dict[str, str], versions: Mapping[str, int]) -> None:
    """Name values by the order in which they occur, and the node by its operator's version; spell out defaults."""
    from pathlift.ir.opsets import settle

    for field in ("name", "doc_string", "metadata_props"):
        node.ClearField(field)
    node.name = str(settle(node, versions.get(node.domain, 0)))
    _rename_all(node.input, names)
    for attribute in node.attribute:
        attribute.ClearField("doc_string")
        for graph in _graphs(attribute):
            _rename_graph(graph, names, versions)
    _rename_all(node.output, names)
    attributes = sorted(node.attribute, key=lambda a: a.name)
    del node.attribute[:]
    node.attribute.extend(attributes)


def _rename_graph(graph: onnx.GraphProto, names: dict[str, str], versions: Mapping[str, int]) -> None:
    for field in ("name", "doc_string", "metadata_props", "value_info", "quantization_annotation"):
        graph.ClearField(field)
    for values in (graph.input, graph.initializer):
        for value in values:
            _rename_one(value, names)
    for node in graph.node:
        _rename_node(node, names, versions)
    for output in graph.output:
        _rename_one(output, names)


def _rename_one(value: Any, names: dict[str, str]) -> None:
    value.name = names.setdefault(value.name, f"v{len(names)}")
    for field in ("doc_string", "metadata_props"):
        value.ClearField(field)


def _rename_all(values: Any, names: dict[str, str]) -> None:
    values[:] = [names.setdefault(name, f"v{len(names)}") for name in values]
