"""Sources of a verb: a file, its bytes, a stream of them, a graph, or a torch module with an example input."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias

from pathlift.ir.errors import UnsafeModelError, UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.stages import stage
from pathlift.report.result import Source

if TYPE_CHECKING:
    import onnx
    import torch

Model: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | Graph | onnx.ModelProto | torch.nn.Module"


class Opened(NamedTuple):
    """A graph, where it came from, and what loading had to say.

    Parameters
    ----------
    graph
        For inputs of the given extents, unless it is one that was given itself.
    source, warnings
        Of the file.
    original
        What ONNX Runtime is to open: the model as it was given, if that is ONNX and can be read again.
    shape
        The extents that the graph still leaves open.
    """

    graph: Graph
    source: Source
    original: Model
    warnings: tuple[str, ...] = ()
    shape: tuple[tuple[str, int], ...] = ()


def open_model(
    model: Model,
    *,
    memory_limit: int = MEMORY_LIMIT,
    assume_eval: bool = False,
    example: Any = None,
    shape: tuple[tuple[str, int], ...] = (),
) -> Opened:
    """Bring any kind of model into the IR.

    Parameters
    ----------
    model
        A path, the bytes of a file, a stream of them, a ModelProto, a `Graph`, or a ``torch.nn.Module``. Files are ONNX
        or the text form.
    memory_limit
        Bytes that no tensor may pass.
    assume_eval
        Read training-mode layers as in evaluation.
    example
        For a module: a shape, or a sequence of shapes or tensors, one per argument of ``forward``.
    shape
        Extents of symbolic dimensions, as `extents` returns them. With them, what a file computes from its inputs'
        shapes is settled.

    Raises
    ------
    InvalidModelError, UnsafeModelError
        If the file is broken, or reaches for what is not its own.
    UsageError
        If there is no such file, or a module comes without an example.
    """
    from pathlift.frontend.load import load_with_report

    if isinstance(model, Graph):
        return Opened(model, Source(), model, shape=shape)
    if not isinstance(memory_limit, Real):
        raise UsageError("0442", f"memory_limit is {memory_limit!r}, not a number of bytes")
    path = str(model) if isinstance(model, str | os.PathLike) else None
    if not isinstance(model, str | os.PathLike | bytes) and hasattr(model, "read"):
        path, model = "-", _bytes_of(model, memory_limit)
    if not isinstance(model, str | os.PathLike | bytes) and hasattr(model, "forward"):
        if isinstance(model, type):
            raise UsageError("0441", f"{model.__name__} is a class of modules, not a module", hint="call it")
        if example is None:
            raise UsageError("0440", "a module needs an example input", hint="example=(1, 3, 224, 224)")
        from pathlift.frontend.export import export

        # One tensor is one input; iterating over it would take its rows for inputs.
        with stage("exporting"):
            loadable: Any = export(model, (example,) if hasattr(example, "layout") else example)
    else:
        loadable = model
    with stage(f"reading {os.path.basename(path) if path else 'the model'}"):
        graph, read = load_with_report(loadable, memory_limit=memory_limit, assume_eval=assume_eval, shapes=dict(shape))
    source = Source(path, read.sha256 if path else None)
    if read.is_text:
        return Opened(graph, source, graph, read.warnings, shape)
    return Opened(graph, source, model, read.warnings)


def _bytes_of(stream: Any, memory_limit: int) -> bytes:
    """Read a stream to its end."""
    if stream.isatty():
        raise UsageError("1416", "the model is to come from standard input, which is a terminal", hint="pipe it in")
    data: bytes = stream.read(memory_limit + 1)
    if len(data) > memory_limit:
        raise UnsafeModelError(
            "0212",
            f"standard input has more bytes than the limit of {memory_limit}",
            hint="raise --memory-limit if this is meant",
        )
    if not data:
        hint = "only one model can come from it"
        raise UsageError("1416", "the model is to come from standard input, which is empty", hint=hint)
    return data


def shapes_of(shape: Sequence[int] | Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Normalize one shape, or one shape per input, to the latter."""
    if isinstance(shape, Sequence) and all(isinstance(n, int) for n in shape):
        return (tuple(shape),)  # type: ignore[arg-type]  # numbers all
    if not isinstance(shape, Sequence) or not all(isinstance(s, Sequence) for s in shape):
        raise UsageError("0443", f"shape is {shape!r}, not a shape or a list of shapes", hint="shape=(1, 3, 224, 224)")
    return tuple(tuple(s) for s in shape)  # type: ignore[arg-type]  # sequences all


def extents(shape: Any) -> tuple[tuple[str, int], ...]:
    """Return extents of symbolic dimensions as passes take them.

    Raises
    ------
    UsageError
        If they are not given by name.
    """
    if not isinstance(shape, Mapping | None) or not all(isinstance(n, Integral) for n in (shape or {}).values()):
        raise UsageError("0423", f"shape is {shape!r}, not extents by name", hint='shape={"H": 224}')
    return tuple((name, int(n)) for name, n in (shape or {}).items())
