"""`pathlift.Session`: a model, ready to run."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathlift.ir.graph import Graph
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.models.source import Model, Opened, open_model
from pathlift.runtime.executors import has_layers
from pathlift.runtime.session import CheckedSession, Executor, ExecutorName, open_executor

if TYPE_CHECKING:
    from pathlift.codegen.schedule import Precision

_PROTOBUF_LIMIT = 2**31 - 1


class Session(CheckedSession):
    """A model that is ready to run.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    device
        ``cpu``, ``cuda``, ``cuda:0`` ….
    threads
        Of one op; all cores by default.
    executor
        ``onnxruntime``, ``torch``, or ``auto``: the first where it has the device, but torch on a CUDA device for a
        model with Kronecker-sparse layers, whose kernels are generated.
    precision
        Of products of float32 numbers in generated kernels: ``ieee``; ``tf32``, which rounds factors to 11 bits; or
        ``tf32x3``, whose error is like that of ``ieee``. By default ``tf32`` if torch is set to it
        (`torch.set_float32_matmul_precision`), else ``tf32x3``.
    memory_limit
        Bytes that no tensor may pass.
    example
        For a module: the shape of its input, or one shape or tensor per input.

    Raises
    ------
    PathliftError
        If the model cannot be read, or there is no such device or executor.

    Examples
    --------
    >>> session = Session("examples/digits.onnx", threads=1)  # doctest: +SKIP
    >>> session.run({"image": images})["logits"].shape  # doctest: +SKIP
    (32, 10)
    """

    def __init__(
        self,
        model: Model,
        device: str = "cpu",
        *,
        threads: int | None = None,
        executor: ExecutorName = "auto",
        precision: Precision | None = None,
        memory_limit: int = MEMORY_LIMIT,
        example: Any = None,
    ) -> None:
        opened = open_model(model, memory_limit=memory_limit, example=example)
        super().__init__(*start(opened, device, threads=threads, executor=executor, precision=precision))
        self.source, self.warnings = opened.source, opened.warnings


def start(
    opened: Opened,
    device: str,
    *,
    threads: int | None,
    executor: ExecutorName,
    precision: Precision | None = None,
) -> tuple[str, Executor]:
    """Start what runs a model that is opened already; parameters and errors are those of `Session`."""
    with tempfile.TemporaryDirectory(prefix="pathlift-", ignore_cleanup_errors=True) as folder:
        source = model_source(opened.original, opened.graph, Path(folder)) if executor != "torch" else b""
        return open_executor(
            _fused(opened.graph), source, device=device, threads=threads, executor=executor, precision=precision
        )


def _fused(graph: Graph) -> Graph:
    """Fuse epilogues, which files spell out: a generated kernel computes them with its product."""
    if not has_layers(graph):
        return graph
    from pathlift.passes.kronecker.epilogue import FuseEpilogue

    return FuseEpilogue().run(graph).graph


def model_source(model: Model, graph: Graph, folder: Path) -> str | bytes:
    """Return what ONNX Runtime opens: the file itself, if it is one, or its bytes.

    Other models are saved in `folder`: above 2 GB there is no way but a file.
    """
    if isinstance(model, str | os.PathLike):
        return os.fspath(model)
    if isinstance(model, bytes):
        return model
    proto: Any = model
    if hasattr(model, "SerializeToString") and proto.ByteSize() < _PROTOBUF_LIMIT:
        return bytes(proto.SerializeToString())
    from pathlift.frontend.save import save

    save(graph, folder / "model.onnx")
    return str(folder / "model.onnx")
