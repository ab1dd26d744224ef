"""Kronecker-sparse layers that are in a model already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pathlift.ir.kronecker import Pattern
from pathlift.ir.types import MEMORY_LIMIT
from pathlift.models.source import Model, open_model
from pathlift.report.result import Result

if TYPE_CHECKING:
    from pathlift.passes.kronecker.detect import Detection, Found

_CPU = "times are predicted for one thread of ONNX Runtime: half within a factor of 1.5, nine in ten within 2.5"
_CARD = "times are predicted for kernels that reach the memory bandwidth or the arithmetic of a {device}"


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

    def to_json(self) -> dict[str, Any]:
        return {
            "written": [{"node": node, "pattern": list(pattern)} for node, pattern in self.written.items()],
            "layers": list(map(_layer, self.detection.layers)),
            "samples": self.detection.samples,
            "device": self.detection.device.name,
        }


def _layer(found: Found) -> dict[str, Any]:
    node = found.product.graph[found.product.key]
    return {
        "node": node.label,
        "op": node.op,
        "kind": found.kind,
        "pattern": list(found.pattern),
        "rows": found.pattern.rows,
        "cols": found.pattern.cols,
        "density": found.pattern.density,
        "flops": found.after.flops,
        "flops_dense": found.dense.flops,
        "bytes": found.after.bytes,
        "bytes_dense": found.dense.bytes,
        "predicted_speedup": found.speedup,
        "permuted": found.permuted,
    }


def ks_detect(
    model: Model,
    *,
    permutation: bool = False,
    samples: int = 1024,
    device: str = "cpu",
    memory_limit: int = MEMORY_LIMIT,
    assume_eval: bool = False,
    example: Any = None,
) -> KsDetectResult:
    """Find linear layers whose matrices are Kronecker-sparse as they are: nothing is approximated.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    permutation
        Also look for blocks that permutations of inputs and of outputs bring onto the diagonal.
    samples
        Rows that each layer is applied to, batch times positions, for which costs are predicted.
    device
        What they are predicted for: ``cpu``, ``h100`` or ``a100``.
    memory_limit
        Bytes that no tensor may pass.
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
    from pathlift.passes.kronecker.detect import KsDetect

    detect = KsDetect(permutation=permutation, samples=samples, device=device)
    opened = open_model(model, memory_limit=memory_limit, assume_eval=assume_eval, example=example)
    graph = opened.graph
    found = detect.run(graph)
    on = _CPU if device == "cpu" else _CARD.format(device=device.upper())
    return KsDetectResult(
        input=opened.source,
        warnings=opened.warnings,
        assumptions=(on,) if found.layers else (),
        detection=found,
        written={
            graph[key].label: Pattern(*graph[key].attrs["pattern"])  # type: ignore[misc]
            for key in graph.order
            if graph[key].op == "KSLinear"
        },
    )
