"""Quantization: a QuantizeLinear–DequantizeLinear pair on an activation is one gate."""

from __future__ import annotations

from typing import Any

import numpy as np

from pathlift.frontend.fold import Constant
from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.registry import Refusal, lowering, opaque
from pathlift.ir.types import DTYPE_NAMES

opaque(
    "integer arithmetic",
    "ConvInteger",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
)
opaque("a QuantizeLinear that is not dequantized at once", "QuantizeLinear")


@lowering("DequantizeLinear", takes="any", ignores=["axis"])
def dequantize_linear(node: OnnxNode) -> Operand:
    """The second half of a pair with one constant scale and zero point; the first half is dead, then."""
    quantizer = node.producer(0)
    if quantizer is None or quantizer.node.domain or quantizer.op_type != "QuantizeLinear":
        raise Refusal("a DequantizeLinear without its QuantizeLinear")
    if quantizer.integer("block_size") or quantizer.integer("precision"):
        raise Refusal("a quantization by blocks, or of another precision than its scale")
    scale, zero, dtype = _scheme(node)
    if (scale, zero) != _scheme(quantizer)[:2]:
        raise Refusal("a DequantizeLinear that undoes another quantization")
    x = quantizer.input(0)
    if any(half.constant(1, "").param.dtype != node.type(x).dtype for half in (node, quantizer)):
        raise Refusal("a scale of another type than what it scales")
    name = DTYPE_NAMES[dtype]
    bits = int(name[1:])
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if name.startswith("i") else (0, 2**bits - 1)
    attrs = {"scale": scale, "zero_point": zero, "dtype": name, "low": low, "high": high}
    return node.result("FakeQuantize", x, **attrs)


def _scheme(node: OnnxNode) -> tuple[float, int, np.dtype[Any]]:
    """Return scale, zero point and integer type of a quantization per tensor."""
    operand = node.input(0)
    quantized = node.lowerer.operands[node.node.outputs[0]] if node.op_type == "QuantizeLinear" else operand
    dtype = node.type(quantized).dtype
    if dtype is None or not DTYPE_NAMES[dtype].startswith(("i", "u")):
        raise Refusal("a quantization to no integers")
    scale = node.scalar(1, 1.0, "a scale that is computed, or one per channel")
    zero = node.optional(2)
    if zero is not None and (not isinstance(zero, Constant) or zero.param.size != 1):
        raise Refusal("a zero point that is computed, or one per channel")
    return scale, int(zero.numpy().reshape(-1)[0]) if zero is not None else 0, dtype
