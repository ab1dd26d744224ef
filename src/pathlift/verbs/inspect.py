"""The verb `inspect`: what a model is made of, and which analyses apply to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.models.options import Flag, MemoryLimit, Model
from pathlift.report.result import Result
from pathlift.report.symmetries import symmetry_text
from pathlift.report.tables import Payload, Table, byte_size, interface, more, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.errors import UnsupportedError
    from pathlift.ir.graph import Graph
    from pathlift.ir.types import ValueType
    from pathlift.passes.channels.symmetry import Symmetry
    from pathlift.report.page import Page

_REFUSALS = 12
"""How many are shown; ``--format json`` has them all."""


@dataclass(frozen=True, kw_only=True)
class InspectResult(Result):
    """The graph, its rescaling symmetries, and per analysis what it would refuse.

    Parameters
    ----------
    graph, symmetry, refusals
        These.
    nodes
        Whether all nodes are listed.
    """

    graph: Graph
    symmetry: Symmetry
    refusals: dict[str, list[UnsupportedError]]
    nodes: bool = False

    ROWS = ("nodes", "ops")

    def to_json(self) -> dict[str, Any]:
        graph, info = self.graph, self.graph.info
        nodes = [graph[key] for key in graph if _is_node(graph, key)]
        params = [p for key in graph.params if (p := graph[key].value) is not None]
        return {
            "ops": dict(sorted(Counter(str(n.attrs.get("op_type", n.op)) for n in nodes).items())),
            "opaque": sum(n.op == "Opaque" for n in nodes),
            "inputs": [_interface(graph[key].names[0], graph[key].types[0]) for key in graph.inputs],
            "outputs": [_interface(graph.name_of(v), graph.shown_type(v)) for v in graph.outputs],
            "parameters": {
                "count": sum(p.size for p in params),
                "bytes": sum(p.size * p.dtype.itemsize for p in params),
            },
            "opset": info.opsets.get(""),
            "ir_version": info.ir_version,
            "producer": " ".join(v for k in ("producer_name", "producer_version") if (v := info.properties.get(k))),
            "rescaling": self.symmetry.to_json(),
            "analyses": {
                name: {
                    "applies": not found,
                    "refusals": [{"code": r.code, "node": r.node, "op": r.op, "reason": r.reason} for r in found],
                }
                for name, found in self.refusals.items()
            },
            **({"nodes": [_node(graph, key) for key in graph.order if _is_node(graph, key)]} if self.nodes else {}),
        }

    def headline(self) -> str:
        graph = self.graph
        size = sum(p.size for key in graph.params if (p := graph[key].value) is not None)
        return f"{sum(_is_node(graph, key) for key in graph)} nodes, {size:,} parameters"

    def records(self) -> list[dict[str, Any]]:
        if self.nodes:
            return super().records()
        return [{"op": op, "count": count} for op, count in self.to_json()["ops"].items()]

    def chart(self) -> Page | None:
        from pathlift.report.row_chart import Panel, row_chart

        graph = self.graph
        sizes = {
            graph[key].label: sum(p.size for v in graph.inputs_of(key) if v and (p := graph[v.node].value) is not None)
            for key in graph.order
        }
        known = {name: size for name, size in sizes.items() if size}
        return row_chart(list(known), "who reads parameters", [Panel("parameters", list(known.values()), "{:,.0f}")])


def _is_node(graph: Graph, key: str) -> bool:
    return graph[key].op not in ("Input", "Param")


def _node(graph: Graph, key: str) -> dict[str, Any]:
    node = graph[key]
    read = [value for value in graph.inputs_of(key) if value is not None]
    return {
        "node": node.label,
        "op": str(node.attrs.get("op_type", node.op)),
        "parameters": [graph.name_of(value) for value in read if graph[value.node].op == "Param"],
        "outputs": [_interface(name, type_) for name, type_ in zip(node.names, node.types, strict=True) if name],
    }


def _interface(name: str, type_: ValueType) -> dict[str, Any]:
    from pathlift.ir.types import DTYPE_NAMES, TensorType, named

    if not isinstance(type_, TensorType):
        return {"name": name, "dtype": str(type_), "shape": None}
    dtype = "?" if type_.dtype is None else DTYPE_NAMES[type_.dtype]
    return {"name": name, "dtype": dtype, "shape": None if type_.shape is None else list(map(named, type_.shape))}


def inspect(
    model: Model,
    *,
    nodes: Annotated[bool, Flag()] = False,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    example: Any = None,
) -> InspectResult:
    """Show a model's ops, shapes and parameters, and which analyses apply to it and why not.

    It never imports torch (for a file) and never reads the weights' values.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    nodes
        List all nodes, with their parameters and what they compute.
    memory_limit
        Refuse larger tensors and models. In bytes.
    example
        For a module: the shape of its input, or one shape or tensor per input.

    Raises
    ------
    PathliftError
        If the model cannot be read.
    """
    from pathlift.models.source import open_model
    from pathlift.passes.channels.symmetry import symmetry
    from pathlift.passes.path_norm.support import support
    from pathlift.passes.rewrites.strip_head import StripHead

    opened = open_model(model, memory_limit=memory_limit, example=example)
    return InspectResult(
        input=opened.source,
        warnings=opened.warnings,
        graph=opened.graph,
        symmetry=symmetry(opened.graph),
        refusals={"path-norm": list(support(StripHead().run(opened.graph).graph).refused.values())},
        nodes=nodes,
    )


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield the file's facts, its interface, its ops, and what each analysis says of it."""
    parameters = payload["parameters"]
    facts = {
        "parameters": f"{parameters['count']:,} ({byte_size(parameters['bytes'])})",
        "opset": str(payload["opset"]),
        "IR version": str(payload["ir_version"]),
        "producer": payload["producer"] or "-",
    }
    yield table(["model", ""], list(facts.items()))
    yield ""
    yield interface(payload)
    ops = sorted(payload["ops"].items(), key=lambda item: (-item[1], item[0]))
    yield ""
    yield table(["op", "count"], [[op, str(count)] for op, count in ops], right=["count"])
    if "nodes" in payload:
        yield ""
        yield _nodes_table(payload["nodes"])
    yield ""
    yield from symmetry_text(payload["rescaling"])
    verdicts = {name: v["applies"] for name, v in payload["analyses"].items()}
    yield ""
    yield table(["analysis", ""], [[k, "applies" if v else "does not apply"] for k, v in verdicts.items()])
    for name, verdict in payload["analyses"].items():
        if not verdict["applies"]:
            yield ""
            yield f"{name} does not apply:"
            shown = verdict["refusals"][:_REFUSALS]
            yield from (f"  {r['code']} node {r['node']!r} ({r['op']}): {r['reason']}" for r in shown)
            yield from more(len(verdict["refusals"]) - len(shown))


def _nodes_table(nodes: Sequence[Payload]) -> Table:
    rows = [
        [node["node"], node["op"], ", ".join(node["parameters"]), ", ".join(map(_type_text, node["outputs"]))]
        for node in nodes
    ]
    return table(["node", "op", "parameters", "output"], rows, less=["parameters"])


def _type_text(port: Payload) -> str:
    if port["shape"] is None:
        return str(port["dtype"])
    return f"{port['dtype']}[{', '.join('?' if n is None else str(n) for n in port['shape'])}]"
