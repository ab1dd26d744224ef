"""Kronecker-sparse layers that are in a model already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.stages import stage
from pathlift.models.options import AssumeEval, CostModel, Flag, MemoryLimit, Model, Samples
from pathlift.report.result import Result
from pathlift.report.tables import Payload, percent, scaled, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.kronecker import Pattern
    from pathlift.passes.kronecker.detect import Detection
    from pathlift.report.page import Page


@dataclass(frozen=True, kw_only=True)
class KsDetectResult(Result):
    """The layers that were found, each with its pattern and what it costs.

    Parameters
    ----------
    detection
        What was found.
    written
        Patterns of the layers that the model has as `KSLinear` nodes, by node.
    """

    detection: Detection
    written: Mapping[str, Pattern]

    ROWS = ("layers",)

    def to_json(self) -> dict[str, Any]:
        return {
            "written": [{"node": node, "pattern": list(pattern)} for node, pattern in self.written.items()],
            **self.detection.to_json(),
        }

    def headline(self) -> str:
        return f"{len(self.to_json()['layers'])} layers are Kronecker-sparse"

    def chart(self) -> Page | None:
        from pathlift.report.row_chart import Panel, row_chart

        layers = self.to_json()["layers"]
        if not layers:
            return None
        panels = [
            Panel("operations of the dense product [%]", [100 * x["flops"] / x["flops_dense"] for x in layers]),
            Panel("predicted speed-up", [x["predicted_speedup"] for x in layers], "{:.2f}×", line=1.0),
        ]
        return row_chart([x["node"] for x in layers], "Kronecker-sparse layers", panels)


def ks_detect(
    model: Model,
    *,
    permutation: Annotated[bool, Flag()] = False,
    samples: Samples = 1024,
    device: CostModel = "cpu",
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    assume_eval: AssumeEval = False,
    example: Any = None,
) -> KsDetectResult:
    """Find layers that are Kronecker-sparse already: zeros in weights, grouped convolutions, batched products.

    Nothing is approximated.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    permutation
        Also find blocks in another order of inputs and outputs.
    samples
        Rows, batch times positions, that times are predicted for.
    device
        What they are predicted for: cpu, h100, h200 or a100.
    memory_limit
        Refuse larger tensors and models. In bytes.
    assume_eval
        Read training-mode layers as in evaluation.
    example
        For a module: the shape of its input, or one shape or tensor per input.

    Raises
    ------
    UsageError
        If there are no samples, or the device is not known.
    PathliftError
        If the model cannot be read.
    """
    from pathlift.ir.kronecker import Pattern
    from pathlift.models.source import open_model
    from pathlift.passes.kronecker.detect import KsDetect

    detect = KsDetect(permutation=permutation, samples=samples, device=device)
    opened = open_model(model, memory_limit=memory_limit, assume_eval=assume_eval, example=example)
    graph = opened.graph
    with stage("looking for structure"):
        found = detect.run(graph)
    return KsDetectResult(
        input=opened.source,
        warnings=opened.warnings,
        assumptions=found.assumptions,
        detection=found,
        written={
            graph[key].label: Pattern(*graph[key].attrs["pattern"])  # type: ignore[misc]  # an attribute has the type that its op gives it
            for key in graph.order
            if graph[key].op == "KSLinear"
        },
    )


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield one row per layer that was found, or that there is none."""
    layers, written = payload["layers"], payload["written"]
    for layer in written:
        yield f"{layer['node']} is a KSLinear of pattern ({','.join(map(str, layer['pattern']))})"
    if not layers:
        yield (
            "no other layer is Kronecker-sparse"
            if written
            else ("no layer is Kronecker-sparse: each needs its whole matrix")
        )
        return
    figures = ["density", "flops", "of dense", "predicted"]
    rows = [
        [
            layer["node"],
            layer["op"],
            layer["kind"] + (", permuted" if layer["permuted"] else ""),
            f"({','.join(map(str, layer['pattern']))})",
            f"{layer['rows']}×{layer['cols']}",
            percent(layer["density"], ".3g"),
            scaled(layer["flops"]),
            percent(layer["flops"] / layer["flops_dense"], ".3g"),
            f"{layer['predicted_speedup']:.2f}×",
        ]
        for layer in layers
    ]
    yield table(
        ["layer", "op", "structure", "pattern", "matrix", *figures], rows, right=figures,
        less=["op", "matrix", "flops", "density", "structure", "of dense"],
    )  # fmt: skip
    yield f"predicted: time as it is over time as KSLinear, {payload['samples']:,} samples, {payload['device']}"
