"""Kronecker-sparse linear maps: a call of our function, then the epilogue in ONNX's own operators."""

from __future__ import annotations

from typing import Any

from onnx import FunctionProto

from pathlift.frontend.emit.writer import EmissionSite, emits
from pathlift.frontend.ks_function import DOMAIN, FEATURES, ROWS
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.types import Ints

_EPILOGUES: dict[str, tuple[str, dict[str, Any]]] = {
    "Relu": ("Relu", {}),
    "Gelu": ("Gelu", {}),
    "GeluTanh": ("Gelu", {"approximate": "tanh"}),
}


@emits("KSLinear")
def ks_linear(
    at: EmissionSite,
    x: str,
    w: str,
    b: str = "",
    residual: str = "",
    *,
    pattern: Ints,
    feature_major: bool,
    activation: str,
) -> None:
    """A function cannot leave an input out in every runtime, so that whatever follows the product is nodes of its own.

    They compute in the order of the program: bias, residual, activation.
    """
    name = FEATURES if feature_major else ROWS
    if any((f.domain, f.name) == (DOMAIN, name) for f in map(FunctionProto.FromString, at.writer.graph.info.functions)):
        raise UnsupportedError("0376", f"the model defines another function {name!r} in the domain {DOMAIN!r}")
    steps: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [(name, (w,), {"domain": DOMAIN, "abcd": pattern})]
    at.writer.emitted.functions.add(name)
    if b:
        column = at.step("Unsqueeze", b, at.ints((1,), "axes"), hint="column") if feature_major else b
        steps.append(("Add", (column,), {}))
    if residual:
        steps.append(("Add", (residual,), {}))
    if activation:
        op_type, attributes = _EPILOGUES[activation]
        if op_type == "Gelu":
            at.require(20)
        steps.append((op_type, (), attributes))
    for i, (op_type, more, attributes) in enumerate(steps):
        if i == len(steps) - 1:
            at.emit(op_type, x, *more, **attributes)
        else:
            x = at.step(op_type, x, *more, hint=("product", "sum", "total")[i], **attributes)
