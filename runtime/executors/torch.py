"""The IR on torch tensors: the reference on any device, and what runs what is not a generated kernel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.dlpack import from_dlpack

from pathlift.ir.algebras.interpret import Kernel, run
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.errors import ExecutionError, UsageError
from pathlift.ir.foreign import running
from pathlift.ir.graph import Graph
from pathlift.ir.types import Param, TensorType, is_float, named
from pathlift.runtime.ports import Port, is_tensor

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_INTEGERS = ("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
_TYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in (*_FLOATS, *_INTEGERS)}


class DeviceNumeric(Numeric):
    """Execution whose parameters stay on the device."""

    def __init__(self, dtype: torch.dtype, device: str) -> None:
        super().__init__(dtype, device)
        self.held: dict[int, tuple[Param, torch.Tensor]] = {}

    def param(self, p: Param) -> torch.Tensor:
        if id(p) not in self.held:
            self.held[id(p)] = (p, super().param(p))
        return self.held[id(p)][1]

    def tensor(self, array: Any) -> torch.Tensor:
        if not is_tensor(array):
            return super().tensor(array)
        moved: torch.Tensor = array.to(self.device, self.dtype if array.is_floating_point() else None)
        return moved


class TorchExecutor:
    """One graph on one device.

    All real numbers are held in one type, the widest that the graph has: a float32 model runs in float32, one of
    float16 with float32 parts in float32. Outputs have the types that the graph declares.

    Parameters
    ----------
    graph
        Opaque nodes are ONNX Runtime's to execute, on the CPU; nothing else leaves the device.
    device
        As torch calls it.
    threads
        Of one op, on the CPU; torch's setting by default.
    kernels
        By a node's key, or by op: what computes it instead of the op's program.

    Raises
    ------
    UsageError
        If torch has no such device.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        device: str = "cpu",
        threads: int | None = None,
        kernels: Mapping[str, Kernel[Any]] | None = None,
    ) -> None:
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError("0496", f"torch has no device {device!r} here: {reason}", hint="cpu works") from error
        self.graph, self.dtype, self._threads, self._kernels = graph, _dtype(graph), threads, kernels or {}
        self._algebra = DeviceNumeric(self.dtype, device)
        self.inputs = tuple(_port(graph[key].names[0], graph[key].types[0]) for key in graph.inputs)
        self.outputs = tuple(_port(graph.name_of(v), graph.type_of(v)) for v in graph.outputs)

    def tensors(self, feeds: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Run on tensors of the device, of real type `dtype`; outputs may share memory with feeds and parameters."""
        with torch.inference_mode():
            return run(self.graph, self._algebra, feeds, kernels=self._kernels)

    def run(self, feeds: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Run on arrays or tensors that fit; returns tensors of the device, in memory of their own.

        Raises
        ------
        PathliftError
            If memory runs out, or the model fails on them.
        """
        ports = {port.name: port for port in self.outputs}  # a name may be listed twice: it is one value
        with running(), _threads(self._threads):
            placed = {name: self._algebra.tensor(x) for name, x in feeds.items()}
            found = self.tensors(placed)
            seen = {_storage(x) for x in (*placed.values(), *(x for _, x in self._algebra.held.values()))}
            return {name: _own(found[name], port, seen) for name, port in ports.items()}


def _dtype(graph: Graph) -> torch.dtype:
    types = [t for key in graph.order for t in graph[key].types]
    names = {t.dtype.name for t in types if isinstance(t, TensorType) and t.dtype is not None and is_float(t.dtype)}
    if not names or not names <= _TYPES.keys() or {"float16", "bfloat16"} <= names:
        names.add("float32")
    return max((_TYPES[name] for name in names & _TYPES.keys()), key=lambda dtype: dtype.itemsize)


def _port(name: str, type_: Any) -> Port:
    if not isinstance(type_, TensorType):
        return Port(name, None, None)
    return Port(name, type_.dtype, None if type_.shape is None else tuple(map(named, type_.shape)))


def _own(y: Any, port: Port, seen: set[int]) -> torch.Tensor:
    """Give an output its declared type and memory of its own, and make it a tensor that autograd accepts."""
    if not is_tensor(y):
        raise ExecutionError("0904", f"output {port.name!r} is a {type(y).__name__}, no tensor")
    y = y.to(_TYPES.get(port.dtype.name, y.dtype)) if port.dtype is not None else y
    if _storage(y) in seen:
        y = y.clone()
    seen.add(_storage(y))
    return from_dlpack(y) if y.is_inference() else y


def _storage(x: torch.Tensor) -> int:
    return x.untyped_storage().data_ptr()


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
