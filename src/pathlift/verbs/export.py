"""PyTorch modules to ONNX files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pathlift.ir.errors import UsageError
from pathlift.ir.types import DTYPE_NAMES
from pathlift.models.source import shapes_of
from pathlift.report.result import Result

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class ExportResult(Result):
    """What was written."""

    output: str
    summary: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {"output": self.output, **self.summary}


def export(
    module: torch.nn.Module | str,
    *,
    shape: Sequence[int] | Sequence[Sequence[int]],
    output: str | os.PathLike[str],
    opset: int | None = None,
    force: bool = False,
) -> ExportResult:
    """Export a module to an ONNX file, in eval mode, with an open batch axis.

    Parameters
    ----------
    module
        A ``torch.nn.Module``, or ``"package.module:factory"``, a function without arguments that returns one.
    shape
        Shape of the input (float32), or one shape per input.
    output
        The file to write.
    opset
        ONNX opset version; the exporter's default if None.
    force
        Replace `output` if it exists.

    Raises
    ------
    UsageError
        If the factory cannot be imported, or ``pathlift[export]`` is not installed.
    UnsupportedError
        If torch cannot export the module.
    OutputError
        If the output cannot be written.
    """
    import onnx_ir

    from pathlift.frontend.export import export as export_module
    from pathlift.frontend.export import load_factory
    from pathlift.frontend.files import replacing

    loaded = load_factory(module) if isinstance(module, str) else module
    if isinstance(loaded, type) or not hasattr(loaded, "forward"):
        raise UsageError("0444", f"{loaded!r} is not a torch.nn.Module")
    model = export_module(loaded, shapes_of(shape), opset=opset)
    path = os.fspath(output)
    with replacing(path, force=force) as temporary:
        onnx_ir.save(model, temporary)
    return ExportResult(
        output=path,
        summary={
            "bytes": os.path.getsize(path),
            "opset": model.opset_imports.get(""),
            "inputs": [_interface(v) for v in model.graph.inputs],
            "outputs": [_interface(v) for v in model.graph.outputs],
        },
    )


def _interface(value: Any) -> dict[str, Any]:
    shape = None if value.shape is None else [d if isinstance(d, int) else d.value for d in value.shape]
    dtype = "?" if value.dtype is None else DTYPE_NAMES.get(value.dtype.numpy(), "?")
    return {"name": value.name, "dtype": dtype, "shape": shape}
