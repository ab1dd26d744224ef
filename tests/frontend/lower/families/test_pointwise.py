"""Arithmetic, activations, normalization and quantization, in every spelling, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.testing.onnx_models import f32

Rng = np.random.Generator


SHAPES = [
    ((2, 3, 4), (2, 3, 4)),
    ((2, 3, 4), (4,)),
    ((2, 3, 4), ()),
    ((2, 1, 4), (3, 1)),
    ((4,), (2, 3, 4)),
    ((), (3,)),
]


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize(
    "op_type,both,right,left",
    [
        ("Add", "Add", "Add", "Add"),
        ("Sub", "Sub", "Add", ["Neg", "Add"]),
        ("Mul", "Product", "Mul", "Mul"),
        ("Div", "Opaque", "Div", "Opaque"),
        ("Sum", "Sum", "Sum", "Sum"),
        ("Mean", ["Sum", "Div"], ["Sum", "Div"], ["Sum", "Div"]),
    ],
)
def test_arithmetic(
    check: Any, dyn: Any, rng: Rng, op_type: str, both: Any, right: Any, left: Any, shapes: Any
) -> None:
    x, y = f32(rng, *shapes[0]), f32(rng, *shapes[1])
    check(op_type, dyn(x), dyn(y), expect=both)
    check(op_type, dyn(x), y, expect=right)
    check(op_type, x, dyn(y), expect=left)


@pytest.mark.parametrize("op_type", ["Sum", "Mean", "Max", "Min"])
def test_variadic(check: Any, dyn: Any, rng: Rng, op_type: str) -> None:
    check(op_type, f32(rng, 3), dyn(f32(rng, 2, 3)), dyn(f32(rng, 2, 1)), np.float32(0.5), opset=8)
    check(op_type, dyn(f32(rng, 2, 3)), expect="Identity")


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Max", "Neg", "Relu", "Abs"])
def test_integers_are_opaque(check: Any, dyn: Any, op_type: str) -> None:
    x = np.array([[1, -2], [3, 4]], np.int32)
    operands = [dyn(x)] if op_type in ("Neg", "Relu", "Abs") else [dyn(x), dyn(x + 1)]
    graph = check(op_type, *operands, expect="Opaque")
    assert graph["y0"].attrs["reason"] == "integer arithmetic"


def test_square_is_a_product(check: Any, dyn: Any, rng: Rng) -> None:
    x = dyn(f32(rng, 2, 3))
    check("Pow", x, np.float32(2), expect="Product")
    check("Pow", x, np.array([2], np.int64), expect="Product")
    check("Pow", x, np.float32(1), expect="Identity")
    check("Pow", x, np.float32(3), expect="Opaque")
    check("Pow", x, np.array([1.0, 2.0, 3.0], np.float32), expect="Opaque")
    check("Pow", x, np.full((1, 1, 1), 2, np.float32), expect="Opaque")


@pytest.mark.parametrize(
    "op_type,constant,op",
    [
        ("Max", np.float32(0), "Relu"), ("Max", np.float32(1), "Clip"), ("Min", np.array([[0.5]], np.float32), "Clip"),
        ("Min", np.zeros(3, np.float32), "Clip"), ("Min", np.float32([0, 1, 2]), "Min"),
        ("Max", np.zeros((1, 1, 1), np.float32), "Max"),
        ("Max", np.float32(-np.inf), "Clip"),
    ],
)  # fmt: skip
def test_extremum_with_a_constant(check: Any, dyn: Any, rng: Rng, op_type: str, constant: Any, op: str) -> None:
    x = dyn(f32(rng, 2, 3))
    check(op_type, x, constant, expect=op)
    check(op_type, constant, x, expect=op)


@pytest.mark.parametrize(
    "op_type,attrs",
    [
        ("Relu", {}), ("Abs", {}), ("Sigmoid", {}), ("Tanh", {}), ("Softplus", {}), ("Softsign", {}), ("Erf", {}),
        ("HardSwish", {}), ("LeakyRelu", {}), ("LeakyRelu", {"alpha": 0.3}), ("LeakyRelu", {"alpha": 1.5}), ("Elu", {}),
        ("Elu", {"alpha": 0.7}), ("HardSigmoid", {}), ("HardSigmoid", {"alpha": 0.4, "beta": 0.3}), ("Gelu", {}),
        ("Gelu", {"approximate": "tanh"}),
    ],
)  # fmt: skip
def test_activation(check: Any, dyn: Any, rng: Rng, op_type: str, attrs: Any) -> None:
    check(op_type, dyn(3 * f32(rng, 4, 5)), expect=op_type, **attrs)


def test_selu(check: Any, dyn: Any, rng: Rng) -> None:
    check("Selu", dyn(f32(rng, 4, 5)), expect=["Elu", "Mul"])
    check("Selu", dyn(f32(rng, 4, 5)), alpha=0.5, gamma=2.0, expect=["Elu", "Mul"])


def test_celu(check: Any, dyn: Any, rng: Rng) -> None:
    check("Celu", dyn(f32(rng, 4, 5)), expect="Elu")
    check("Celu", dyn(3 * f32(rng, 4, 5)), alpha=0.4, expect=["Div", "Elu", "Mul"])
    check("Celu", dyn(3 * f32(rng, 4, 5)), alpha=-0.4, expect="Opaque")


@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 1), (5,), (2, 3, 4, 5)])
def test_prelu(check: Any, dyn: Any, rng: Rng, shape: Any) -> None:
    x = dyn(f32(rng, 2, 3, 4, 5))
    check("PRelu", x, f32(rng, *shape), expect="PRelu")
    check("PRelu", x, dyn(f32(rng, *shape)), expect="Opaque")


@pytest.mark.parametrize(
    "low,high,op",
    [
        (None, None, "Clip"), (0, 6, "Clip"), (0, None, "Relu"), (None, 1, "Clip"), (-1, None, "Clip"), (2, -2, "Clip"),
        (-0.0, None, "Clip"),
        (0, np.finfo(np.float32).max, "Relu"), (np.finfo(np.float32).min, 0.5, "Clip"),
    ],
)  # fmt: skip
def test_clip(check: Any, dyn: Any, rng: Rng, low: Any, high: Any, op: str) -> None:
    x = dyn(5 * f32(rng, 4, 5))
    attrs = {name: float(v) for name, v in (("min", low), ("max", high)) if v is not None}
    if "min" not in attrs or "max" not in attrs or low <= high:
        check("Clip", x, opset=7, expect=op, **attrs)
    check("Clip", x, *(None if v is None else np.float32(v) for v in (low, high)), expect=op)


@pytest.mark.parametrize("bounds", [(np.nan, None), (None, np.nan), (0.0, np.nan)])
def test_clip_to_nothing_that_is_a_number_is_opaque(check: Any, dyn: Any, rng: Rng, bounds: Any) -> None:
    given = (None if v is None else np.float32(v) for v in bounds)
    check("Clip", dyn(f32(rng, 3)), *given, expect="Opaque", run=False)


def test_clip_with_dynamic_bounds_is_opaque(check: Any, dyn: Any, rng: Rng) -> None:
    check("Clip", dyn(f32(rng, 3)), dyn(np.zeros((), np.float32)), expect="Opaque")


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [7, 11, 13, 20])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, 3, -1])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 1, 1)])
def test_softmax(check: Any, dyn: Any, rng: Rng, op_type: str, opset: int, axis: Any, shape: Any) -> None:
    if axis == -1 and opset < 11:
        return
    graph = check(op_type, dyn(f32(rng, *shape)), opset=opset, **({} if axis is None else {"axis": axis}))
    assert "Opaque" not in [graph[k].op for k in graph]
    dynamic = dyn(f32(rng, *shape), ("N", *shape[1:]))
    check(op_type, dynamic, opset=opset, **({} if axis is None else {"axis": axis}))


def test_cast(check: Any, dyn: Any, rng: Rng) -> None:
    check("Cast", dyn(f32(rng, 3)), to=11, expect="Cast")
    check("Cast", dyn(f32(rng, 3)), to=10, expect="Cast", rtol=1e-3)
    check("Cast", dyn(f32(rng, 3)), to=7, expect="Opaque")
    check("Cast", dyn(f32(rng, 3)), to=17, opset=19, expect="Opaque", run=False)  # 8 bits: far from the same numbers
    check("Cast", dyn(np.arange(3)), to=1, expect="Opaque")


def test_dropout(check: Any, dyn: Any, rng: Rng) -> None:
    x = dyn(f32(rng, 3, 4))
    check("Dropout", x, opset=7, ratio=0.3, expect="Identity")
    check("Dropout", x, opset=10, outputs=["y", ""], expect="Identity")
    check("Dropout", x, np.float32(0.4), opset=13, expect="Identity")
    check("Dropout", x, np.float32(0.4), np.array(False), opset=13, expect="Identity")
    check("Dropout", x, None, np.array(False), opset=13, outputs=2, expect="Opaque")
    graph = check("Dropout", x, np.float32(0.4), np.array(True), opset=13, expect="Opaque", run=False)
    assert graph["y0"].attrs["reason"] == "training mode"
    assert "--assume-eval" in str(graph["y0"].attrs["hint"])
