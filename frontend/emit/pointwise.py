"""Elementwise ops. Most are spelled alike in ONNX: the same name, inputs, attributes and defaults."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from pathlift.frontend.emit.values import onnx_dtype
from pathlift.frontend.emit.writer import EmissionSite, emits
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.types import DTYPES

_QUANTIZED_SINCE = {"i8": 10, "u8": 10, "i16": 21, "u16": 21, "i4": 21, "u4": 21, "i2": 25, "u2": 25}


@emits("Add", "Sub", "Sum", "Neg", "Mul", "Div", "Max", "Min", "Identity", "BatchNormalization")
@emits("Relu", "LeakyRelu", "PRelu", "Abs", "Tanh", "Softsign", "Elu", "Sigmoid", "HardSigmoid", "Softplus", "Erf")
@emits("Softmax", "LogSoftmax", "Flatten", "Transpose", "Concat")
def same(at: EmissionSite, *inputs: str, **attributes: Any) -> None:
    """An op that ONNX spells alike, with the same defaults."""
    at.emit(at.node.op, *inputs, **{k: v for k, v in attributes.items() if k in at.node.attrs})


@emits("Product")
def product(at: EmissionSite, x: str, y: str) -> None:
    """ONNX has one Mul."""
    at.emit("Mul", x, y)


@emits("Clip")
def clip(at: EmissionSite, x: str, *, low: float, high: float) -> None:
    """Both bounds: one that is left out is the largest finite number, which would make infinity finite."""
    at.emit("Clip", x, at.scalar(low, "min"), at.scalar(high, "max"))


@emits("HardSwish")
def hard_swish(at: EmissionSite, x: str) -> None:
    """Younger than the oldest opset."""
    at.require(14)
    at.emit("HardSwish", x)


@emits("Gelu")
def gelu(at: EmissionSite, x: str, *, tanh: bool) -> None:
    """Younger than the oldest opset; spelled out, it would not be read as one op again."""
    at.require(20)
    at.emit("Gelu", x, approximate="tanh" if tanh else None)


@emits("FakeQuantize")
def fake_quantize(at: EmissionSite, x: str, *, scale: float, zero_point: int, dtype: str, low: int, high: int) -> None:
    """QuantizeLinear, then DequantizeLinear."""
    if dtype not in _QUANTIZED_SINCE:
        raise UnsupportedError("0374", f"ONNX cannot quantize to {dtype}")
    at.require(_QUANTIZED_SINCE[dtype])
    # ONNX quantizes float32, and since opset 19 half precision too, with a scale of the same type.
    real = at.dtype
    wide = real != np.float32 and not (at.opset >= 19 and real.itemsize == 2 and float(real.type(scale)) == scale)
    if wide:
        real, x = np.dtype(np.float32), at.step("Cast", x, hint="f32", to=TensorProto.FLOAT)
    step, zero = at.scalar(scale, "scale", real), at.scalar(zero_point, "zero_point", DTYPES[dtype])
    whole = at.step("QuantizeLinear", x, step, zero, hint="quantized")
    if (low, high) != _range(dtype):
        whole = at.step(
            "Clip",
            whole,
            at.scalar(low, "low", DTYPES[dtype]),
            at.scalar(high, "high", DTYPES[dtype]),
            hint="saturated",
        )
    if wide:
        y = at.step("DequantizeLinear", whole, step, zero, hint="dequantized")
        at.emit("Cast", y, to=onnx_dtype(at.dtype))
    else:
        at.emit("DequantizeLinear", whole, step, zero)


def _range(dtype: str) -> tuple[int, int]:
    bits = int(dtype[1:])
    return (0, 2**bits - 1) if dtype[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
