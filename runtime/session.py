"""Running a model: feeds are checked, then one executor runs all of it.

On a CPU one ONNX Runtime session over the whole model is the fastest plan: cutting it at Kronecker-sparse layers costs
a few percent. On a CUDA device it is torch where a model has such layers, whose kernels are generated; models without
them run in ONNX Runtime's provider where that is installed, or else in torch, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pathlift.ir.errors import UsageError
from pathlift.ir.foreign import loading
from pathlift.ir.graph import Graph
from pathlift.runtime.executors import has_layers
from pathlift.runtime.ports import Port, as_feed, as_numpy, as_tensor, check_feeds, is_tensor

if TYPE_CHECKING:
    from pathlift.codegen.schedule import Precision

ExecutorName = Literal["auto", "onnxruntime", "torch"]


def onnxruntime_session(source: str | bytes, *, beside: str | None = None) -> Any:
    """Open a model in ONNX Runtime as it is written: one thread, no graph optimizations.

    Parameters
    ----------
    source
        A file, or its bytes.
    beside
        Of bytes: the folder where weights in files of their own are.

    Raises
    ------
    PathliftError
        If it cannot load the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if beside is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", beside)
    with loading():
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class Executor(Protocol):
    """What runs a model."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def remarks(self) -> tuple[str, ...]:
        """What does not run as it could, and why."""

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Run on arrays or tensors that fit."""


def open_executor(
    graph: Graph,
    source: str | bytes,
    *,
    device: str = "cpu",
    threads: int | None = None,
    executor: str = "auto",
    precision: Precision | None = None,
) -> tuple[str, Executor]:
    """Choose what runs a model.

    Parameters
    ----------
    graph, source
        The model, for torch and for ONNX Runtime.
    device
        ``cpu``, ``cuda``, ``cuda:0`` ….
    threads
        Of one op; all cores by default.
    executor
        ``onnxruntime``, ``torch``, or ``auto``: the first where it has the device, but torch on a CUDA device for a
        graph with Kronecker-sparse layers.
    precision
        Of products of float32 numbers in generated kernels: ``ieee``, ``tf32`` or ``tf32x3``; torch's by default.

    Returns
    -------
    tuple
        The executor's name, and itself.

    Raises
    ------
    UsageError
        If there is no such executor, device or precision, or the number of threads is not positive.
    """
    if executor not in ("auto", "onnxruntime", "torch"):
        raise UsageError("0497", f"there is no executor {executor!r}", hint="onnxruntime, torch or auto")
    if threads is not None and threads < 1:
        raise UsageError("0449", f"{threads} threads are too few", hint="at least one")
    if precision is not None:
        from pathlift.codegen.schedule import Form

        Form(precision=precision)  # it checks its fields
    if executor == "auto" and device.startswith("cuda") and has_layers(graph):
        executor = "torch"
    if executor != "torch":
        from pathlift.runtime.executors.onnxruntime import OnnxRuntimeExecutor

        try:
            return "onnxruntime", OnnxRuntimeExecutor(source, device=device, threads=threads)
        except UsageError:
            if executor == "onnxruntime" or device == "cpu":
                raise
    from pathlift.runtime.executors.torch import TorchExecutor

    return "torch", TorchExecutor(graph, device=device, threads=threads, precision=precision)


class CheckedSession:
    """A model that is ready to run.

    Parameters
    ----------
    name, executor
        As `open_executor` returns them.
    """

    def __init__(self, name: str, executor: Executor) -> None:
        self.executor, self._executor = name, executor

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What the model reads."""
        return self._executor.inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        """What it returns."""
        return self._executor.outputs

    @property
    def remarks(self) -> tuple[str, ...]:
        """What does not run as it could, and why: some of it shows in the first run."""
        return self._executor.remarks

    def run(self, feeds: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
        """Run the model.

        Parameters
        ----------
        feeds
            Arrays or tensors, by input name or in the order of the inputs. What is on the session's device is not
            copied, unless ONNX Runtime needs it contiguous; its CUDA provider takes everything from the CPU.

        Returns
        -------
        dict
            By output name: tensors on the first feed's device if all feeds were torch tensors, else arrays.

        Raises
        ------
        UsageError
            If a feed is missing, unknown, or of another element type or shape; names the input.
        ExecutionError
            If the model fails on them.
        """
        if isinstance(feeds, str | bytes) or not isinstance(feeds, Mapping | Sequence):
            kind = type(feeds).__name__
            raise UsageError("1423", f"feeds are a {kind}, not arrays by name or in order", hint="run([x])")
        if not isinstance(feeds, Mapping):
            if len(feeds) != len(self.inputs):
                names = ", ".join(port.name for port in self.inputs)
                raise UsageError("0416", f"{len(feeds)} arrays for {len(self.inputs)} inputs", hint=f"inputs: {names}")
            feeds = {port.name: x for port, x in zip(self.inputs, feeds, strict=True)}
        given = {name: as_feed(x, name) for name, x in feeds.items()}
        check_feeds(self.inputs, given)
        found = self._executor.run(given)
        if given and all(map(is_tensor, feeds.values())):
            device = next(iter(given.values())).device
            return {name: t.to(device) if is_tensor(t := as_tensor(y)) else t for name, y in found.items()}
        return {name: as_numpy(y) for name, y in found.items()}

    def __call__(self, *feeds: Any) -> Any:
        """Run on feeds in the order of the inputs; returns the output, or a tuple of them as the model lists them."""
        named = self.run(feeds)
        found = tuple(named[port.name] for port in self.outputs)
        return found[0] if len(found) == 1 else found
