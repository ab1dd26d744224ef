"""Loading: an ONNX file, or a text, becomes an IR graph."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pathlift.frontend.lower import lower
from pathlift.frontend.plir import is_text, is_text_path, load_text
from pathlift.frontend.read import folder_of, read_bytes, read_model
from pathlift.ir.errors import UsageError, about
from pathlift.ir.graph import Graph
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.spelling import Remarks, Snapshot
from pathlift.ir.stages import stage

if TYPE_CHECKING:
    import onnx_ir
    from onnx import ModelProto


class Report(NamedTuple):
    """What is to be said about a file.

    Parameters
    ----------
    sha256
        Hex digest of its bytes; None for a parsed model that is too large to have any.
    warnings
        What was repaired or could not be determined, one sentence each.
    is_text
        Whether it is the text form, which knows nothing of the extents that were asked for.
    """

    sha256: str | None
    warnings: tuple[str, ...] = ()
    is_text: bool = False


def load(
    source: str | os.PathLike[str] | bytes | ModelProto | onnx_ir.Model,
    *,
    base_dir: str | os.PathLike[str] | None = None,
    memory_limit: int = MEMORY_LIMIT,
    assume_eval: bool = False,
    shapes: Mapping[str, int] | None = None,
) -> Graph:
    """Load an ONNX model, or a graph's text form: contents tell which.

    Parameters
    ----------
    source
        A path, the bytes of a file, or a parsed model. An ``onnx_ir.Model`` keeps the doubles among its attributes.
    base_dir
        Where external data may lie, for bytes; files are looked for beside the model.
    memory_limit
        Bytes that no single tensor, stored or computed, may take.
    assume_eval
        Read training-mode batch normalization and dropout as in inference.
    shapes
        Extents of open dimensions, by name, or by ``input.axis``: the graph is that for inputs of these. A text stays
        as it is.

    Returns
    -------
    Graph
        Weights stay in the file until something asks for their values.

    Raises
    ------
    InvalidModelError, UnsafeModelError
        If the file is no valid model, or asks for more than it may.
    UnsupportedError
        If it holds values that the IR cannot represent.
    UsageError
        If an extent does not fit the model.
    """
    return load_with_report(
        source, base_dir=base_dir, memory_limit=memory_limit, assume_eval=assume_eval, shapes=shapes
    )[0]


def load_with_report(
    source: str | os.PathLike[str] | bytes | ModelProto | onnx_ir.Model,
    *,
    base_dir: str | os.PathLike[str] | None = None,
    memory_limit: int = MEMORY_LIMIT,
    assume_eval: bool = False,
    shapes: Mapping[str, int] | None = None,
) -> tuple[Graph, Report]:
    """Load an ONNX model like `load`, and return with it what is to be said about the file."""
    if source is None:
        raise UsageError("0474", "no model is given", hint="give a path, the bytes of a file or an onnx.ModelProto")
    given = source if not isinstance(source, os.PathLike) else Path(source)
    kinds = ("opset_import", "opset_imports")  # of a ModelProto, and of an onnx_ir.Model
    if not isinstance(given, str | Path | bytes) and not any(hasattr(given, kind) for kind in kinds):
        raise UsageError(
            "0474",
            f"a model cannot be read from an object of type {type(source).__name__}",
            hint="give a path, the bytes of a file or an onnx.ModelProto; a torch module has to be exported first",
        )
    with about(given) if isinstance(given, str | Path) else nullcontext():
        return _loaded(given, base_dir, memory_limit, assume_eval, shapes)


def _loaded(
    given: str | Path | bytes | ModelProto | onnx_ir.Model,
    base_dir: str | os.PathLike[str] | None,
    memory_limit: int,
    assume_eval: bool,
    shapes: Mapping[str, int] | None,
) -> tuple[Graph, Report]:
    folder = None if base_dir is None else Path(base_dir)
    if isinstance(given, str | Path | bytes):
        path = None if isinstance(given, bytes) else Path(given)
        data = read_bytes(given, memory_limit)
        if is_text(data) or (path is not None and is_text_path(path)):
            report = Report(hashlib.sha256(data).hexdigest(), is_text=True)
            return load_text(data, folder_of(path, folder), memory_limit), report
        given, folder = data, folder or folder_of(path, None)
    with stage("parsing"):
        read = read_model(given, base_dir=folder, memory_limit=memory_limit)
    warnings = list(read.warnings)
    with stage("lowering"):
        graph = lower(read.model, memory_limit=memory_limit, assume_eval=assume_eval, warnings=warnings, shapes=shapes)
    if read.remarks:
        said = Remarks(read.remarks, Snapshot.of(graph, graph))
        graph = Graph(graph.nx, graph.outputs, dataclasses.replace(graph.info, remarks=said))
    return graph, Report(read.sha256, tuple(warnings))
