"""Expand and ConstantOfShape: broadcasting against known shapes, and along the batch of an input.

PyTorch spells "one for each sample" (a class token, coordinates, zeros to join) as a shape computed from an input's.
What is broadcast along such an extent is added to −0.0 (x + −0.0 is x, whatever x is) as often as the extent says: that
many empty samples, padded. No value of the input is ever read, so that none can get into the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pathlift.frontend.lower.node import MOVABLE, OnnxNode, Operand
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
    axis = open_axes[0]
    column = _column(node, str(target[axis]), len(target), axis, node.type(x).dtype)
    wide_enough = broadcast(node.dims(x), known) == node.dims(x)
    return node.result("Add", column, x if wide_enough else node.emit("Expand", x, shape=known))


def _column(node: OnnxNode, symbol: str, rank: int, axis: int, dtype: np.dtype[Any] | None) -> Value:
    """Return −0.0 as often as a symbol says, along one axis: what is left of an input of this extent without values."""
    source, own = node.lowerer.symbols.get(symbol, (None, 0))
    if source is None or dtype is None or not is_float(dtype) or not _is_movable(node.type(source).dtype):
        raise Refusal(*UNKNOWN_EXTENT)
    x: Operand = source if len(node.dims(source)) > 1 else node.emit("Unsqueeze", source, axes=(1,))
    others = tuple(i for i in range(len(node.dims(x))) if i != own)
    zeros, ones = (0,) * len(others), (1,) * len(others)
    x = node.emit("Slice", x, axes=others, starts=zeros, ends=zeros, steps=ones)
    if node.type(x).dtype != dtype:
        x = node.emit("Cast", x, to=DTYPE_NAMES[dtype])
    count = len(others) + 1
    pads = (0,) * count + tuple(int(i in others) for i in range(count))
    x = node.emit("Pad", x, pads=pads, value=-0.0)
    return node.emit("Reshape", x, shape=tuple(-1 if i == axis else 1 for i in range(rank)))


def _is_movable(dtype: np.dtype[Any] | None) -> bool:
    return dtype is not None and (DTYPE_NAMES[dtype] in MOVABLE or (is_float(dtype) and dtype.itemsize > 1))
