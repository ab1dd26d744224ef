"""Ops beyond piecewise linear."""

from __future__ import annotations

from pathlift.ir.graph import Value
from pathlift.ir.types import DTYPES, TensorType
from pathlift.testing.growth import Growth, step


@step("Softmax", exact=False)
def _softmax(g: Growth, x: Value) -> Value:
    return g.op("Softmax", x, axis=g.axis(x))


@step("LogSoftmax", exact=False)
def _log_softmax(g: Growth, x: Value) -> Value:
    return g.op("LogSoftmax", x, axis=g.axis(x))


@step("Product", exact=False)
def _product(g: Growth, x: Value) -> Value:
    return g.op("Product", x, g.choice(g.partners(x)))


@step("Opaque", exact=False)
def _opaque(g: Growth, x: Value) -> Value:
    from onnx import helper

    name = g.b.fresh("sin")
    type_ = g.b.type_of(x)
    assert isinstance(type_, TensorType)
    proto = helper.make_node("Sin", [g.b[x].names[x.port]], [name]).SerializeToString(deterministic=True)
    return g.op(
        "Opaque", x, name=name, types=[TensorType(DTYPES["f32"], type_.shape)],
        op_type="Sin", version=7, reason="Sin has no rule here", proto=proto,
    )  # fmt: skip
