"""The IR on torch tensors: the reference on any device, and what runs what is not a generated kernel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.dlpack import from_dlpack

from pathlift.codegen.schedule import Precision
from pathlift.ir.algebras.interpret import Kernel, run
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.errors import ExecutionError, UsageError
from pathlift.ir.foreign import is_out_of_memory, out_of_memory, running
from pathlift.ir.graph import Graph
from pathlift.ir.primitives.base import View
from pathlift.ir.primitives.views import Take
from pathlift.ir.types import Param, TensorType, is_float, named
from pathlift.runtime.executors import has_layers
from pathlift.runtime.executors.capture import Replays
from pathlift.runtime.ports import Port, is_tensor

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_INTEGERS = ("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
_ADVICE = {
    "not compiled with CUDA": "install a torch that is built for CUDA, or use cpu",
    "no NVIDIA driver": "install NVIDIA's driver, or use cpu",
    "driver on your system is too old": "update NVIDIA's driver, install a torch for an older CUDA, or use cpu",
}
"""What to do, by what torch says."""
_TYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in (*_FLOATS, *_INTEGERS)}


class DeviceNumeric(Numeric):
    """Execution whose parameters stay on the device, and so do the indices that nodes gather.

    What comes from the CPU within a run makes it wait, and a CUDA graph cannot hold it.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(dtype, str(device))
        self.held: dict[int, tuple[Param, torch.Tensor]] = {}
        self._indices: dict[tuple[int, ...], torch.Tensor] = {}

    def param(self, p: Param) -> torch.Tensor:
        if id(p) not in self.held:
            self.held[id(p)] = (p, super().param(p))
        return self.held[id(p)][1]

    def move(self, xs: Sequence[torch.Tensor], v: View) -> torch.Tensor:
        if not isinstance(v, Take):
            return super().move(xs, v)
        if v.indices not in self._indices:
            self._indices[v.indices] = torch.tensor(v.indices, dtype=torch.int64, device=self.device)
        return xs[0].index_select(v.axis % xs[0].ndim, self._indices[v.indices])

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
        As torch calls it. On CUDA devices Kronecker-sparse layers are generated kernels, and runs are captured in CUDA
        graphs, one for every shape of the inputs: see `pathlift.runtime.executors.capture`.
    threads
        Of one op, on the CPU; torch's setting by default.
    kernels
        By a node's key, or by op: what computes it instead of the op's program. Generated kernels, by default.
    precision
        Of products of float32 numbers in generated kernels: ``ieee``, ``tf32`` or ``tf32x3``; torch's by default.

    Attributes
    ----------
    remarks
        What does not run as it could, and why.

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
        precision: Precision | None = None,
    ) -> None:
        found = _device(device)
        self.graph, self.dtype, self._threads = graph, _dtype(graph), threads
        self._algebra = DeviceNumeric(self.dtype, found)
        generated, self._remarks = _generated(graph, found, self.dtype, precision)
        self._kernels = generated if kernels is None else kernels
        self._replays = None
        if found.type == "cuda":
            self._replays = Replays(self._computed, found, refusal=_uncapturable(graph))
        self.inputs = tuple(_port(graph[key].names[0], graph[key].types[0]) for key in graph.inputs)
        self.outputs = tuple(_port(graph.name_of(v), graph.type_of(v)) for v in graph.outputs)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What does not run as it could, and why."""
        return self._remarks + (self._replays.remarks if self._replays is not None else ())

    def tensors(self, feeds: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Run on tensors of the device, of real type `dtype`; outputs may share memory with feeds and parameters."""
        with torch.inference_mode(), _as_declared(self._algebra.device):
            return run(self.graph, self._algebra, feeds, kernels=self._kernels)

    def run(self, feeds: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Run on arrays or tensors that fit; returns tensors of the device, in memory of their own.

        Raises
        ------
        PathliftError
            If memory runs out, or the model fails on them.
        """
        with running(), _threads(self._threads):
            placed = {name: self._algebra.tensor(x) for name, x in feeds.items()}
            found = self._computed(placed) if self._replays is None else self._replays.run(placed)
            seen = {_storage(x) for x in (*placed.values(), *(x for _, x in self._algebra.held.values()))}
            return {name: _own(y, seen) for name, y in found.items()}

    def _computed(self, feeds: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Outputs in the types that the graph declares."""
        ports = {port.name: port for port in self.outputs}  # a name may be listed twice: it is one value
        found = self.tensors(feeds)
        return {name: _declared(found[name], port) for name, port in ports.items()}


def _device(name: str) -> torch.device:
    """A device that torch has; of several, the current one if none is named."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise out_of_memory(f"use {name}") from error
        reason = str(error).splitlines()[0]
        raise UsageError("0496", f"torch has no device {name!r} here: {reason}", hint=_advice(reason)) from error
    device = torch.device(name)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _advice(reason: str) -> str:
    for said, advice in _ADVICE.items():
        if said in reason:
            return advice
    return "cpu works"


def _generated(
    graph: Graph, device: torch.device, dtype: torch.dtype, precision: Precision | None
) -> tuple[dict[str, Kernel[Any]], tuple[str, ...]]:
    """Kernels by node, and a remark if a device has none for a graph that could use them."""
    from pathlift.runtime.cards import obstacle

    if not has_layers(graph):
        return {}, ()
    if reason := obstacle(device, dtype):
        said = f"Kronecker-sparse layers run as plain torch operations: {reason}"
        return {}, (said,) if device.type == "cuda" else ()
    from pathlift.runtime.executors.layers import ks_kernels

    return ks_kernels(graph, precision), ()


def _uncapturable(graph: Graph) -> str:
    """Why a graph cannot be captured, as far as it shows; empty if it does not."""
    opaque = [graph[key] for key in graph.order if key in graph.live and graph[key].op == "Opaque"]
    return f"node {opaque[0].label!r} is executed on the CPU" if opaque else ""


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


def _declared(y: Any, port: Port) -> torch.Tensor:
    """Give an output its declared type."""
    if not is_tensor(y):
        raise ExecutionError("0904", f"output {port.name!r} is a {type(y).__name__}, no tensor")
    declared: torch.Tensor = y.to(_TYPES.get(port.dtype.name, y.dtype)) if port.dtype is not None else y
    return declared


def _own(y: torch.Tensor, seen: set[int]) -> torch.Tensor:
    """Give an output memory of its own, and make it a tensor that autograd accepts."""
    if _storage(y) in seen:
        y = y.clone()
    seen.add(_storage(y))
    return from_dlpack(y) if y.is_inference() else y


def _storage(x: torch.Tensor) -> int:
    return x.untyped_storage().data_ptr()


@contextmanager
def _as_declared(device: torch.device) -> Iterator[None]:
    """Compute in the model's types, and not in those of an ``autocast`` around the run."""
    kind = device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        yield
        return
    with torch.autocast(kind, enabled=False):
        yield


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
