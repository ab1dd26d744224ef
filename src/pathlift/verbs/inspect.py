"""The verb `inspect`: what a model is made of, and which analyses apply to it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.types import DTYPE_NAMES, MEMORY_LIMIT, TensorType, ValueType
from pathlift.models.source import Model, open_model
from pathlift.passes.channels.symmetry import Symmetry, symmetry
from pathlift.passes.path_norm.support import support
from pathlift.passes.rewrites.strip_head import StripHead
from pathlift.report.result import Result
from pathlift.verbs.rescaling import rescaling_json


@dataclass(frozen=True, kw_only=True)
class InspectResult(Result):
    """The graph, its rescaling symmetries, and per analysis what it would refuse."""

    graph: Graph
    symmetry: Symmetry
    refusals: dict[str, list[UnsupportedError]]

    def to_json(self) -> dict[str, Any]:
        graph, info = self.graph, self.graph.info
        nodes = [graph[key] for key in graph if graph[key].op not in ("Input", "Param")]
        params = [p for key in graph.params if (p := graph[key].value) is not None]
        return {
            "ops": dict(sorted(Counter(str(n.attrs.get("op_type", n.op)) for n in nodes).items())),
            "opaque": sum(n.op == "Opaque" for n in nodes),
            "inputs": [_interface(graph[key].names[0], graph[key].types[0]) for key in graph.inputs],
            "outputs": [_interface(graph.name_of(v), graph.type_of(v)) for v in graph.outputs],
            "parameters": {
                "count": sum(p.size for p in params),
                "bytes": sum(p.size * p.dtype.itemsize for p in params),
            },
            "opset": info.opsets.get(""),
            "ir_version": info.ir_version,
            "producer": " ".join(v for k in ("producer_name", "producer_version") if (v := info.properties.get(k))),
            "rescaling": rescaling_json(self.symmetry),
            "analyses": {
                name: {
                    "applies": not found,
                    "refusals": [{"code": r.code, "node": r.node, "op": r.op, "reason": r.reason} for r in found],
                }
                for name, found in self.refusals.items()
            },
        }


def _interface(name: str, type_: ValueType) -> dict[str, Any]:
    if not isinstance(type_, TensorType):
        return {"name": name, "dtype": str(type_), "shape": None}
    dtype = "?" if type_.dtype is None else DTYPE_NAMES[type_.dtype]
    return {"name": name, "dtype": dtype, "shape": None if type_.shape is None else list(type_.shape)}


def inspect(model: Model, *, memory_limit: int = MEMORY_LIMIT, example: Any = None) -> InspectResult:
    """Summarize a model; never imports torch (for a file) and never reads the weights' values.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    memory_limit
        Bytes that no tensor may pass.
    example
        For a module: the shape of its input, or one shape or tensor per input.

    Raises
    ------
    PathliftError
        If the model cannot be read.
    """
    opened = open_model(model, memory_limit=memory_limit, example=example)
    return InspectResult(
        input=opened.source,
        warnings=opened.warnings,
        graph=opened.graph,
        symmetry=symmetry(opened.graph),
        refusals={"path-norm": list(support(StripHead().run(opened.graph).graph).refused.values())},
    )
