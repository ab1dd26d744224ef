"""Checks of the whole file: format and operator-set versions, text encoding, domains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]  # protobuf has no types
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto

from pathlift.frontend.protos import all_nodes, nested, quoted
from pathlift.ir.errors import InvalidModelError

OLDEST_IR, OLDEST_OPSET = 3, 7
_TENSOR_TEXT = ("name", "doc_string", "external_data", "metadata_props")
_TORCH = (
    "it looks like a PyTorch file, which holds weights and no graph: `pathlift export package.module:factory --shape "
    "1,3,224,224 -o model.onnx` writes a module as an ONNX file"
)


def parse(data: bytes, size: int) -> ModelProto:
    """Parse the bytes of a model file of that size and check what every model must have, and its versions."""
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        hint = _TORCH if _is_torch(data) else "is the file truncated?"
        message = f"not an ONNX model: {size} bytes that are not valid protobuf"
        raise InvalidModelError("0101", message, hint=hint) from error
    check_header(model, f"{size} bytes", hint="is the file truncated?")
    return model


def _is_torch(data: bytes) -> bool:
    """Whether these are what ``torch.save`` writes: an archive with a pickle in it, or, by old versions, a pickle."""
    return (data.startswith(b"PK\x03\x04") and b"/data.pkl" in data[:4096]) or data.startswith(b"\x80\x02\x8a\x0a")


def check_header(model: ModelProto, what: str, hint: str = "") -> None:
    """Check what every model must have, and its versions; `what` names the model in messages."""
    missing = [name for name in ("ir_version", "graph") if not model.HasField(name)]
    if missing or not model.opset_import:
        lacking = (*missing, "opset_import")[0]
        raise InvalidModelError("0102", f"not a complete ONNX model: {what} without {lacking}", hint=hint)
    _require_text(model)
    if not OLDEST_IR <= model.ir_version <= onnx.IR_VERSION:
        raise InvalidModelError(
            "0103", f"IR version {model.ir_version} is not supported: {OLDEST_IR} to {onnx.IR_VERSION} are"
        )


def _require_text(model: ModelProto) -> None:
    # The parser accepts any bytes as text and hands them over as bytes; everything downstream expects str.
    # One message at a time: two bytes of a file make a message, whose Python object takes a hundred.
    pending: list[Iterator[Message]] = [iter([model])]
    while pending:
        if (message := next(pending[-1], None)) is None:
            pending.pop()
            continue
        for kind, value in _fields(message):
            if kind == "message":
                pending.append(iter(value))
            elif not all(isinstance(text, str) for text in value):
                raise InvalidModelError("0105", f"a name in the file is not valid UTF-8: {quoted(str(value[0]))}")


def _fields(message: Message) -> Iterable[tuple[str, Any]]:
    """Yield the nested messages and the texts of `message`, without touching the weights."""
    if isinstance(message, TensorProto):  # listing all its fields would copy raw_data
        for name in _TENSOR_TEXT:
            value = getattr(message, name)
            yield ("text", [value]) if name in _TENSOR_TEXT[:2] else ("message", value)
        return
    for field, value in message.ListFields():
        many = value if field.is_repeated else (value,)
        if field.type == field.TYPE_MESSAGE:
            yield "message", many
        elif field.type == field.TYPE_STRING:
            yield "text", many


def settle_domains(model: ModelProto) -> list[str]:
    """Check and complete the operator-set imports, in place, and spell the default domain one way.

    Returns
    -------
    list of str
        Warnings: the domains that were used and not imported.
    """
    for node in all_nodes(model):
        node.domain = _spelled(node.domain)
    for function in model.functions:
        function.domain = _spelled(function.domain)
    versions = _imports(model, "the model")
    _check_standard(nested(model.graph.node), versions, {}, "the model")
    for function in model.functions:
        where = f"function {quoted(function.name)}"
        _check_standard(nested(function.node), _imports(function, where), versions, where)
    functions = {function.domain for function in model.functions}
    absent = sorted({node.domain for node in all_nodes(model)} - versions.keys() - {""})
    for domain in absent:
        model.opset_import.add(domain=domain, version=1)
    return [
        f"domain {quoted(domain)} is used without an opset import: version 1 assumed"
        for domain in absent
        if domain not in functions
    ]


def _spelled(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _imports(owner: ModelProto | FunctionProto, where: str) -> dict[str, int]:
    versions: dict[str, int] = {}
    for entry in owner.opset_import:
        entry.domain = _spelled(entry.domain)
        if versions.setdefault(entry.domain, entry.version) != entry.version:
            raise InvalidModelError("0107", f"{where} imports two versions of domain {quoted(entry.domain)}")
    return versions


def _check_standard(nodes: Iterable[NodeProto], own: dict[str, int], inherited: dict[str, int], where: str) -> None:
    version = own.get("", inherited.get(""))
    newest = onnx.defs.onnx_opset_version()
    if version is None and any(node.domain == "" for node in nodes):
        raise InvalidModelError("0102", f"{where} uses standard operators without importing an opset for them")
    if version is not None and not OLDEST_OPSET <= version <= newest:
        raise InvalidModelError(
            "0104", f"{where} imports opset {version}, which is not supported: {OLDEST_OPSET} to {newest} are"
        )
