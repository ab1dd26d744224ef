"""Text files: the text form of a graph, with weights that are larger than a few numbers in a file beside it.

A text names that file, and for each weight where in it the bytes begin. Texts are as little trusted as any model: the
file lies in the text's own folder, is plain, and is long enough, or nothing is read.
"""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from onnx import ModelProto, TensorProto

from pathlift.frontend.emit.tensors import raw_data
from pathlift.frontend.emit.versions import NEWEST
from pathlift.frontend.files import replacing
from pathlift.frontend.protos import foreign
from pathlift.frontend.read.external import ExternalData
from pathlift.frontend.read.functions import check_functions
from pathlift.frontend.read.tensors import check_tensors
from pathlift.ir.errors import InvalidModelError, TextError, UnsafeModelError
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph, print_graph
from pathlift.ir.text.raw import from_raw, raw_size, to_raw
from pathlift.ir.types import Array, Param, TensorType

SUFFIX = ".plir"
NUMBERS = 64
"""Elements up to which values are numbers in the text."""
_ALIGNMENT = 64
_START = re.compile(rb"(?:\s|#[^\n]*\n)*(?:graph\s|%|_[\s,=]|return\b)")


def is_text(data: bytes) -> bool:
    """Whether bytes begin as a text does; no serialized model does."""
    return _START.match(data) is not None


def is_text_path(path: object) -> bool:
    """Whether a file is to be a text, by its name."""
    return str(path).endswith(SUFFIX)


def whole_text(graph: Graph) -> str:
    """Return the text of a graph with all of its weights in it: numbers where they are few, else bytes in base64."""
    return print_graph(graph, max_inline=NUMBERS, place=lambda _, param: {"data": to_raw(param.numpy())}) + "\n"


def save_text(graph: Graph, path: Path, *, whole: bool = False, force: bool = False) -> None:
    """Write the text of a graph, and beside it ``path`` with ``.data`` appended, unless it holds all of the weights.

    Parameters
    ----------
    graph
        What to save.
    path
        The file.
    whole
        Put all weights into the text.
    force
        Replace files that exist.

    Raises
    ------
    OutputError
        If a file exists, or cannot be written.
    """
    with replacing(path, force=force) as staged:
        if whole or all(_is_inline(graph, key) for key in graph.params):
            text = whole_text(graph)
        else:
            with open(data := staged.with_name(f"{staged.name}.data"), "xb") as file:
                text = print_graph(graph, max_inline=NUMBERS, place=_appending(file, data.name)) + "\n"
        staged.write_text(text, encoding="utf-8", newline="\n")


def _is_inline(graph: Graph, key: str) -> bool:
    value = graph[key].value
    return value is None or value.size <= NUMBERS or value.dtype == object


def _appending(file: IO[bytes], name: str) -> Callable[[str, Param], Mapping[str, object]]:
    """Write each weight to the end of a file, and return where that is."""

    def place(param_name: str, param: Param) -> Mapping[str, object]:
        file.seek(-file.tell() % _ALIGNMENT, 1)
        offset = file.tell()
        file.writelines(raw_data(param_name, param))
        return {"file": name, "offset": offset}

    return place


def load_text(data: bytes, folder: Path | None, memory_limit: int) -> Graph:
    """Read a text.

    Parameters
    ----------
    data
        The bytes of the file, in UTF-8.
    folder
        Where the files that it names may lie; None refuses them.
    memory_limit
        Bytes that no weight may take.

    Raises
    ------
    TextError
        If it is not well-formed, with line and column; or speaks of an opset that there is not.
    InvalidModelError, UnsafeModelError
        If a file that it names cannot be read, or reaches for what is not its own.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TextError("0608", f"byte {error.start} of the text is not UTF-8") from None
    graph = parse_graph(text, stored=_Stored(folder, memory_limit).param)
    _check_embedded(graph, memory_limit)
    return graph


def _check_embedded(graph: Graph, memory_limit: int) -> None:
    """Check the ONNX messages in a text like those of a model: none may reach for a file."""
    held = ModelProto()
    opaque = [graph[key] for key in graph if graph[key].op == "Opaque"]
    with foreign("read a node or function in the text"):
        for node in opaque:
            held.graph.node.add().ParseFromString(node.attrs["proto"])
        for function in graph.info.functions:
            held.functions.add().ParseFromString(function)
    check_functions(held)
    check_tensors(held, ExternalData(None), memory_limit, f"\0{secrets.token_hex()}")
    versions = [int(node.attrs["version"]) for node in opaque if not node.attrs.get("domain")]  # type: ignore[arg-type]
    for version in (*versions, graph.info.opsets.get("", NEWEST)):
        if not 0 <= version <= NEWEST:
            raise TextError("0609", f"there is no opset {version}", hint=f"the newest that onnx knows is {NEWEST}")


class _Stored:
    """Weights in files of one folder, which are read when something asks for them."""

    def __init__(self, folder: Path | None, memory_limit: int) -> None:
        self.folder, self.memory_limit, self.external = folder, memory_limit, ExternalData(folder)

    def param(self, name: str, type_: TensorType, file: str, offset: int) -> Param:
        dtype: np.dtype[Any] | None = type_.dtype
        shape: Any = type_.shape
        assert dtype is not None
        size, where = raw_size(dtype, shape), f"tensor {name!r}"
        if size > self.memory_limit:
            message = f"{where} takes {size} bytes, above the limit of {self.memory_limit}"
            raise UnsafeModelError("0211", message, hint="raise --memory-limit if this is meant")
        tensor = TensorProto()
        for key, value in ("location", file), ("offset", offset):
            tensor.external_data.add(key=key, value=str(value))
        self.external.check(tensor, where, size)
        assert self.folder is not None
        path = self.folder / file

        @functools.cache
        def load() -> Array:
            try:
                with path.open("rb") as opened:
                    opened.seek(offset)
                    found = opened.read(size)
            except OSError as error:
                raise InvalidModelError("0131", f"{where}: cannot read external data: {error.strerror}") from error
            if len(found) != size:
                raise InvalidModelError("0132", f"{where}: its file got shorter while it was read")
            return from_raw(found, dtype, shape)

        return Param(dtype, shape, load)
