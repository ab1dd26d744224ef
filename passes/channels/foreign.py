"""Marks through what is not piecewise linear: products of signals, softmax, and some of ONNX's own operators."""

from __future__ import annotations

from collections.abc import Sequence

from pathlift.ir import dims as D
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.base import Nonlinear
from pathlift.ir.types import ValueType
from pathlift.passes.channels.axes import AxisAlgebra, Marked

_ELEMENTWISE = frozenset({
    "Where", "Exp", "Log", "Sqrt", "Reciprocal", "Pow", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "Erf", "Mish",
    "Mul", "Div", "Add", "Sub", "Max", "Min", "And", "Or", "Not", "Equal", "Less", "Greater", "IsNaN", "IsInf",
})  # fmt: skip
"""Operators of ONNX that are functions of elements, with broadcasting."""


def foreign_rule(
    algebra: AxisAlgebra, f: Nonlinear, xs: Sequence[Marked], types: Sequence[ValueType]
) -> tuple[Marked, ...]:
    """Return the marks of what a node outside the piecewise-linear world computes.

    Raises
    ------
    UnsupportedError
        If there is no rule for it.
    """
    node = f.node
    op = str(node.attrs.get("op_type", node.op)) if not node.attrs.get("domain") else ""
    if op == "Product":
        return (algebra.elementwise(xs, "product"),)
    if op in ("Softmax", "LogSoftmax") and node.op == op:
        axis = node.attrs.get("axis", -1)
        return (algebra.without(xs[0], [int(axis)], xs[0].dims),)  # type: ignore[arg-type]  # an int
    if op in _ELEMENTWISE and len(types) == 1:
        return (algebra.elementwise(xs, "any"),)
    if op == "MatMul" and min(len(x.dims) for x in xs) >= 2:
        return (_product(algebra, *xs),)
    if op == "LayerNormalization" and len(types) == 1:
        return (_normalized(algebra, f, xs),)
    raise UnsupportedError("0304", f.reason)


def _product(algebra: AxisAlgebra, a: Marked, b: Marked) -> Marked:
    """A batched product of matrices: batches meet, rows are the first's, columns the second's."""
    algebra.lose(a.axes[-1])
    algebra.lose(b.axes[-2])
    batches = algebra.elementwise([Marked(x.dims[:-2], x.axes[:-2]) for x in (a, b)], "product")
    y = Marked((*batches.dims, a.dims[-2], b.dims[-1]), (*batches.axes, a.axes[-2], b.axes[-1]))
    algebra.worked([*zip(y.dims, y.axes, strict=True), (a.dims[-1], None)])
    return y


def _normalized(algebra: AxisAlgebra, f: Nonlinear, xs: Sequence[Marked]) -> Marked:
    """What is normalized is mixed along the last axes, and its scale and shift are along these."""
    import onnx

    x, *params = xs
    proto = onnx.NodeProto.FromString(f.node.attrs["proto"])
    axis = D.axis(next((a.i for a in proto.attribute if a.name == "axis"), -1), len(x.dims))
    for p in params:
        for marks in p.axes:
            algebra.lose(marks)
    return algebra.without(x, range(axis, len(x.dims)), x.dims)
