"""The IR on torch tensors: the reference on any device, and what runs what is not a generated kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pathlift.ir.errors import RuntimeFailureError, UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.interpret import run
from pathlift.ir.numeric import Numeric
from pathlift.ir.types import Array, Param, TensorType, is_float
from pathlift.runtime.ports import Port

_WIDTHS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}


class Resident(Numeric):
    """Execution whose parameters stay on the device."""

    def __init__(self, dtype: torch.dtype, device: str) -> None:
        super().__init__(dtype, device)
        self._held: dict[int, tuple[Param, torch.Tensor]] = {}

    def param(self, p: Param) -> torch.Tensor:
        if id(p) not in self._held:
            self._held[id(p)] = (p, super().param(p))
        return self._held[id(p)][1]


class TorchExecutor:
    """One graph on one device.

    Parameters
    ----------
    graph
        Opaque nodes are ONNX Runtime's to execute, on the CPU.
    device
        As torch calls it.

    Raises
    ------
    UsageError
        If torch has no such device.
    """

    def __init__(self, graph: Graph, *, device: str = "cpu") -> None:
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise UsageError("0496", f"torch has no device {device!r} here: {str(error).splitlines()[0]}") from error
        self.graph, self.dtype = graph, _dtype(graph)
        self._algebra = Resident(self.dtype, device)
        self.inputs = tuple(_port(graph[key].names[0], graph[key].types[0]) for key in graph.inputs)
        self.outputs = tuple(_port(graph.name_of(v), graph.type_of(v)) for v in graph.outputs)

    def tensors(self, feeds: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Run on tensors of the device; real numbers are of the executor's `dtype`."""
        with torch.inference_mode():
            return run(self.graph, self._algebra, feeds)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run on arrays that fit.

        Raises
        ------
        RuntimeFailureError
            If memory runs out, or an opaque node fails.
        """
        try:
            found = self.tensors({name: self._algebra.tensor(x) for name, x in feeds.items()})
        except (RuntimeError, MemoryError) as error:
            reason = " ".join(str(error).split())[:300]
            raise RuntimeFailureError("0903", f"the model fails on these inputs: {reason}") from error
        types = {port.name: port.dtype for port in self.outputs}
        return {name: _array(y, types[name]) for name, y in found.items()}


def _dtype(graph: Graph) -> torch.dtype:
    """The widest type of real numbers that a graph's inputs and parameters have: all are held in it."""
    types = [graph[key].types[0] for key in (*graph.inputs, *graph.params)]
    names = {t.dtype.name for t in types if isinstance(t, TensorType) and t.dtype is not None and is_float(t.dtype)}
    if not names or names - _WIDTHS.keys() or len(names & {"float16", "bfloat16"}) > 1:
        return torch.float32
    return max((_WIDTHS[name] for name in names), key=lambda dtype: dtype.itemsize)


def _port(name: str, type_: Any) -> Port:
    known = isinstance(type_, TensorType)
    return Port(name, type_.dtype if known else None, type_.shape if known else None)


def _array(y: Any, dtype: np.dtype[Any] | None) -> Array:
    if not isinstance(y, torch.Tensor):
        raise RuntimeFailureError("0904", f"an output is a {type(y).__name__}, no tensor")
    y = y.cpu()
    array: Array = y.float().numpy() if y.dtype == torch.bfloat16 else y.numpy()
    return array if dtype is None or array.dtype == dtype else array.astype(dtype)
