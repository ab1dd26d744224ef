"""ONNX's Where with a constant condition: the sum of what it keeps of one side and of the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from pathlift.frontend.fold import Constant
from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.registry import Refusal, lowering
from pathlift.ir.dims import broadcast
from pathlift.ir.types import is_float


@lowering("Where", takes="any")
def where(node: OnnxNode) -> Operand:
    """Elements of one tensor or of the other, as a constant mask says."""
    mask = node.constant(0, "a choice that depends on data")
    x, y, chosen = node.input(1), node.input(2), True
    if isinstance(x, Constant):
        x, y, chosen = y, x, False
    if not is_float(dtype := node.type(x).dtype):
        raise Refusal("integer arithmetic")
    kept = _factors(node, mask, chosen, dtype)
    if not isinstance(y, Constant):
        rest = node.emit("Mul", y, _factors(node, mask, not chosen, dtype))
        return node.result("Add", node.emit("Mul", x, kept), rest)
    if not np.isfinite(y.numpy()).all():
        raise Refusal("a mask that fills with infinity")
    shape = broadcast(node.dims(x), mask.param.shape)
    if not y.numpy().any() and broadcast(shape, y.param.shape) == shape:
        return node.result("Mul", x, kept)
    return node.result("Add", node.emit("Mul", x, kept), _rest(node, mask, chosen, y))


def _factors(node: OnnxNode, mask: Constant, chosen: bool, dtype: np.dtype[Any] | None) -> Constant:
    """Return ones where the mask chooses a side, and zeros elsewhere."""
    what = "mask" if chosen else "complement"
    return node.derive(mask, what, lambda m: m == chosen, mask.param.shape, dtype=dtype)


def _rest(node: OnnxNode, mask: Constant, chosen: bool, y: Constant) -> Constant:
    """Return `y` where the mask does not choose the other side, and zeros elsewhere."""
    shape = np.broadcast_shapes(mask.param.shape, y.param.shape)
    return node.derive(y, "rest", lambda a: np.where(mask.numpy() == chosen, 0, a), shape, mask.param, chosen)
