"""Outputs of verbs that write models: an ONNX file, a text, or a stream of either."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from pathlift.frontend.files import writing
from pathlift.frontend.plir import is_text_path, save_text, whole_text
from pathlift.frontend.save import save, save_stream
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph

Output: TypeAlias = "str | os.PathLike[str] | BinaryIO"


class Written(NamedTuple):
    """What was written.

    Parameters
    ----------
    name
        The path, or ``-`` for a stream.
    rounded
        What the file cannot hold as the graph does, one sentence each.
    bytes
        The size of the file or stream, without what lies beside it.
    """

    name: str
    rounded: tuple[str, ...]
    bytes: int


def check_sink(output: Output | None, text: bool) -> None:
    """Check that a model can go where it is to go, as far as that is known before there is one.

    Raises
    ------
    UsageError
        If bytes are to go to a terminal, or a text to nowhere.
    """
    if output is None:
        if text:
            raise UsageError("0436", "a text is for an output", hint="add -o FILE.plir, or -o -")
    elif not isinstance(output, str | os.PathLike) and not text and output.isatty():
        raise UsageError("1414", "a model is bytes, and standard output is a terminal", hint="redirect it; --text")


def write_model(
    graph: Graph,
    output: Output,
    *,
    force: bool = False,
    sparse: bool = False,
    text: bool = False,
    whole: bool = False,
) -> Written:
    """Write a graph.

    Parameters
    ----------
    graph
        What to write.
    output
        A path, whose suffix ``.plir`` asks for a text, or a binary stream.
    force
        Replace files that exist.
    sparse
        As for `save`; texts have no sparse weights.
    text
        Write a text whatever the name. A stream's has all weights in it.
    whole
        Put all weights into a text, instead of a file beside it.

    Raises
    ------
    PathliftError
        If the graph cannot be written as ONNX, or the system fails.
    """
    if not isinstance(output, str | os.PathLike):
        rounded, size = _to_stream(graph, output, text)
        return Written("-", rounded, size)
    rounded = ()
    if text or is_text_path(output):
        save_text(graph, Path(output), whole=whole, force=force)
    else:
        rounded = save(graph, output, force=force, sparse=sparse)
    return Written(os.fspath(output), rounded, os.path.getsize(output))


def _to_stream(graph: Graph, stream: Any, text: bool) -> tuple[tuple[str, ...], int]:
    if not text:
        return save_stream(graph, stream)
    data = whole_text(graph).encode()
    with writing(stream):
        stream.write(data)
    return (), len(data)
