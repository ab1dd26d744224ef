"""The registry: one program per ONNX operator. Its keyword-only parameters are the operator's attributes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pathlift.ir.errors import UnsupportedError

if TYPE_CHECKING:
    from pathlift.ir.graph import Node

Program = Callable[..., Any]
PROGRAMS: dict[str, Program] = {}
SILENT = frozenset(["stash_type", "consumed_inputs", "layout"])
"""Attributes that change nothing of the real numbers that are meant, or whose default alone is known."""


def program(*op_types: str) -> Callable[[Program], Program]:
    """Register the decorated program: ``program(algebra, *inputs, **attributes)``, inputs left out being ``None``.

    It may ask for ``version``, the operator's opset, and for ``op_type``.
    """

    def register(function: Program) -> Program:
        for op_type in op_types:
            assert op_type not in PROGRAMS, op_type
            PROGRAMS[op_type] = function
        return function

    return register


def real(value: float) -> float:
    """The default of a float attribute, which ONNX has in float32."""
    return float(np.float32(value))


def program_of(node: Node) -> Program | None:
    """Return what an opaque node computes, on an algebra and its operands; ``None`` if that is not known."""
    op_type = str(node.attrs["op_type"])
    if node.attrs.get("domain") or op_type not in PROGRAMS:
        return None

    def run(alg: Any, *xs: Any) -> Any:
        found = PROGRAMS[op_type]
        names = [p.name for p in inspect.signature(found).parameters.values() if p.kind is p.KEYWORD_ONLY]
        given = {"version": node.attrs.get("version", 0), "op_type": op_type, **_attributes(node)}
        unknown = [n for n in given if n not in (*names, *SILENT, "version", "op_type")]
        if unknown:
            raise UnsupportedError(
                "0304", f"{node.attrs['reason']!s}, and its attribute {unknown[0]} has no meaning here"
            )
        return found(alg, *xs, **{n: v for n, v in given.items() if n in names})

    return run


def _attributes(node: Node) -> dict[str, Any]:
    import onnx

    proto = onnx.NodeProto.FromString(node.attrs["proto"])
    values = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    return {name: v.decode() if isinstance(v, bytes) else v for name, v in values.items()}
