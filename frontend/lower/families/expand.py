"""Expand and ConstantOfShape: broadcasting against known shapes, and along the batch of an input.

PyTorch spells "one for each sample" (a class token, coordinates, zeros to join) as a shape computed from an input's.
What is broadcast along such an extent is added to zeros that have it: an element of each sample, times zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.registry import GIVE_SHAPE, Refusal, lowering
from pathlift.ir.dims import broadcast
from pathlift.ir.graph import Value
from pathlift.ir.types import DTYPE_NAMES, Dims, is_float

COMPUTED = "its shape is computed from data"
UNKNOWN_EXTENT = "its shape depends on an unknown extent", GIVE_SHAPE


@lowering("Expand", takes="movable")
def expand(node: OnnxNode) -> Operand:
    """Broadcast against a shape; an extent that is the input's own need not be known."""
    x, target = node.input(0), node.extents(1)
    if target is None:
        raise Refusal(COMPUTED)
    if all(isinstance(d, int) for d in target):
        return node.result("Expand", x, shape=tuple(target))
    dims = node.dims(x)
    own = ((1,) * len(target) + dims)[len(dims) :]
    if any(d is None or (isinstance(d, str) and o not in (d, 1)) for d, o in zip(target, own, strict=True)):
        raise Refusal(*UNKNOWN_EXTENT)
    wanted = (1 if isinstance(d, str) and d == o else d for d, o in zip(target, own, strict=True))
    return _broadcast(node, x, tuple(wanted))


@lowering("ConstantOfShape", takes="any")
def constant_of_shape(node: OnnxNode) -> Operand:
    """One number, repeated."""
    target = node.extents(0)
    if target is None:
        raise Refusal(COMPUTED)
    value = node.node.attributes["value"].as_tensor().numpy() if node.has("value") else np.zeros(1, np.float32)
    if not is_float(value.dtype):
        raise Refusal("integer arithmetic")
    return _broadcast(node, node.lowerer.number(float(value.reshape(-1)[0]), value.dtype), tuple(target))


def _broadcast(node: OnnxNode, x: Operand, target: Dims) -> Operand:
    """Broadcast `x` against extents that are known but for one, the symbol of an input."""
    known = tuple(d if isinstance(d, int) else 1 for d in target)
    open_axes = [axis for axis, d in enumerate(target) if not isinstance(d, int)]
    if not open_axes:
        return node.result("Expand", x, shape=known)
    if len(open_axes) > 1:
        raise Refusal(*UNKNOWN_EXTENT)
    zeros = _zeros(node, str(target[open_axes[0]]), node.type(x).dtype)
    shape = tuple(-1 if axis in open_axes else 1 for axis in range(len(target)))
    column = node.emit("Reshape", zeros, shape=shape)
    wide_enough = broadcast(node.dims(x), known) == node.dims(x)
    return node.result("Add", column, x if wide_enough else node.emit("Expand", x, shape=known))


def _zeros(node: OnnxNode, symbol: str, dtype: np.dtype[Any] | None) -> Value:
    """Return as many zeros as a symbol says, in some shape: elements of an input that has this extent, times zero."""
    source, axis = node.lowerer.symbols.get(symbol, (None, 0))
    if source is None or dtype is None or not is_float(dtype) or not is_float(node.type(source).dtype):
        raise Refusal(*UNKNOWN_EXTENT)
    others = tuple(i for i in range(len(node.dims(source))) if i != axis)
    if others:
        zeros, ones = (0,) * len(others), (1,) * len(others)
        source = node.emit("Slice", source, axes=others, starts=zeros, ends=ones, steps=ones)
    if node.type(source).dtype != dtype:
        source = node.emit("Cast", source, to=DTYPE_NAMES[dtype])
    return node.emit("Mul", source, node.lowerer.number(0.0, dtype))
