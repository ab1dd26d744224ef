"""JSON objects that every verb prints: of a result, and of an error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pathlift.ir.errors import PathliftError
from pathlift.report.result import Result

SCHEMA_VERSION = 1


def wants_json(arguments: Sequence[str]) -> bool:
    """Return whether arguments ask for JSON; read off them, since what does not parse is answered in JSON too."""
    format_ = ""
    for i, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument == "--format":
            format_ = "".join(arguments[i + 1 : i + 2])
        elif argument.startswith("--format="):
            format_ = argument.partition("=")[2]
    return format_ == "json"


def pipes_model(arguments: Sequence[str]) -> bool:
    """Return whether arguments send a model to standard output, which is then nothing else."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return any(pair in (("-o", "-"), ("--output", "-")) or pair[0] in ("-o-", "--output=-") for pair in pairs)


def dumps(envelope: dict[str, Any]) -> str:
    """Return an envelope as text: ASCII, and no NaN, so that whatever reads it need not know better than the standard.

    Raises
    ------
    ValueError
        If it holds a NaN or an infinity, which is a bug.
    """
    return json.dumps(envelope, indent=2, allow_nan=False) + "\n"


def of_result(result: Result) -> dict[str, Any]:
    """Return the envelope of a result."""
    return {
        **_head(),
        "input": {"path": result.input.path, "sha256": result.input.sha256},
        "assumptions": list(result.assumptions),
        "warnings": list(result.warnings),
        "result": result.to_json(),
    }


def of_error(error: PathliftError) -> dict[str, Any]:
    """Return the envelope of an error; what is not known is null, unless the error that it comes of knows it."""
    place: dict[str, str | None] = dict.fromkeys(("node", "op", "input"))
    cause: BaseException | None = error
    while isinstance(cause, PathliftError):
        if place["node"] is None and cause.node:
            place |= {"node": cause.node, "op": cause.op or None}
        place["input"] = place["input"] or cause.input or None
        cause = cause.__cause__
    told = {"code": error.code, "message": error.message, "hint": error.hint or None, **place}
    return {**_head(), "error": told, "exit_code": error.exit_code}


def _head() -> dict[str, Any]:
    from importlib.metadata import version

    return {"schema_version": SCHEMA_VERSION, "tool": {"name": "pathlift", "version": version("pathlift")}}
