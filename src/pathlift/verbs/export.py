"""PyTorch modules to ONNX files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

from pathlift.ir.errors import UsageError
from pathlift.ir.stages import stage
from pathlift.models import parse
from pathlift.models.options import Flag, Force
from pathlift.report.result import Result
from pathlift.report.tables import Payload, byte_size, interface

if TYPE_CHECKING:
    import torch
    from rich.console import RenderableType

Module = Annotated[
    "torch.nn.Module | str",
    Flag(
        argument=True,
        type=str,
        metavar="PACKAGE.MODULE:FACTORY",
        help="A function without arguments that returns a module.",
    ),
]
Shapes = Annotated[Sequence[int] | Sequence[Sequence[int]], Flag(metavar="N,C,...", type=list[str], read=parse.shapes)]


@dataclass(frozen=True, kw_only=True)
class ExportResult(Result):
    """What was written."""

    output: str
    summary: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {"output": self.output, **self.summary}

    def headline(self) -> str:
        return f"wrote {self.output}"


def export(
    module: Module,
    *,
    shape: Shapes,
    output: Annotated[str | os.PathLike[str] | BinaryIO, Flag("--output", "-o", type=Path, read=parse.model_output)],
    opset: Annotated[int | None, Flag(default="the exporter's")] = None,
    force: Force = False,
) -> ExportResult:
    """Export a PyTorch module to ONNX.

    It is exported in eval mode, with an open batch axis.

    Parameters
    ----------
    module
        A ``torch.nn.Module``, or ``"package.module:factory"``, a function without arguments that returns one.
    shape
        Shape of an input; once per input. One shape, or a sequence of them; inputs are float32.
    output
        The file to write: ONNX, or a text if it ends in .plir; - for standard output, where ONNX goes.
    opset
        ONNX opset version. The exporter's default if None.
    force
        Replace output files that exist.

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

    from pathlift.frontend.doubles import doubles, rounded
    from pathlift.frontend.export import export as export_module
    from pathlift.frontend.export import load_factory
    from pathlift.frontend.files import replacing
    from pathlift.frontend.load import load
    from pathlift.frontend.plir import is_text_path
    from pathlift.models.output import Written, write_model
    from pathlift.models.source import shapes_of

    with stage("importing the module"):
        loaded = load_factory(module) if isinstance(module, str) else module
    if isinstance(loaded, type) or not hasattr(loaded, "forward"):
        raise UsageError("0444", f"{loaded!r} is not a torch.nn.Module")
    with stage("exporting"):
        model = export_module(loaded, shapes_of(shape), opset=opset)
    if isinstance(output, str | os.PathLike) and not is_text_path(output):
        with replacing(output, force=force) as temporary, stage(f"saving {os.path.basename(output)}"):
            onnx_ir.save(model, temporary)
        written = Written(os.fspath(output), tuple(rounded(doubles(model))), os.path.getsize(output))
    else:
        written = write_model(load(model), output, force=force)
    return ExportResult(
        output=written.name,
        warnings=written.rounded,
        summary={
            "bytes": written.bytes,
            "opset": model.opset_imports.get(""),
            "inputs": [_interface(v) for v in model.graph.inputs],
            "outputs": [_interface(v) for v in model.graph.outputs],
        },
    )


def _interface(value: Any) -> dict[str, Any]:
    from pathlift.ir.types import DTYPE_NAMES

    shape = None if value.shape is None else [d if isinstance(d, int) else d.value for d in value.shape]
    dtype = "?" if value.dtype is None else DTYPE_NAMES.get(value.dtype.numpy(), "?")
    return {"name": value.name, "dtype": dtype, "shape": shape}


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield what was written."""
    yield f"wrote {payload['output']} ({byte_size(payload['bytes'])}, opset {payload['opset']})"
    yield interface(payload)
