"""ONNX's Where with a constant condition: a choice at constant places, which no value takes part in.

What is not chosen is replaced by −0.0, since x + −0.0 is x for every x: a product with a mask of ones and zeros would
be NaN where what the mask hides is infinite or NaN.
"""

from __future__ import annotations

from math import copysign

import numpy as np

from pathlift.frontend.fold import Constant
from pathlift.frontend.lower.families.expand import UNKNOWN_EXTENT
from pathlift.frontend.lower.families.indexing import MAX_INDICES
from pathlift.frontend.lower.families.structure import reshape_target
from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.registry import Refusal, lowering
from pathlift.ir.dims import broadcast
from pathlift.ir.graph import Value
from pathlift.ir.types import Array, is_float


@lowering("Where", takes="any")
def where(node: OnnxNode) -> Operand:
    """Elements of one tensor or of the other, as a constant mask says."""
    mask = node.constant(0, "a choice that depends on data")
    x, y, chosen = node.input(1), node.input(2), mask.numpy()
    if isinstance(x, Constant):
        x, y, chosen = y, x, ~chosen
    if not is_float(node.type(x).dtype):
        raise Refusal("integer arithmetic")
    if chosen.all() or not chosen.any():
        return _whole(node, *((x, y) if chosen.any() else (y, x)), mask)
    if not isinstance(y, Constant):
        return node.result("Add", _kept(node, x, chosen), _kept(node, y, ~chosen))
    if not np.isfinite(y.numpy()).all():
        raise Refusal("a mask that fills with infinity")
    shape = broadcast(node.dims(x), chosen.shape)
    if (fill := _number(y.numpy())) is not None and broadcast(shape, y.param.shape) == shape:
        return _kept(node, x, chosen, fill, last=True)
    return node.result("Add", _kept(node, x, chosen), _rest(node, mask, chosen, y))


def _whole(node: OnnxNode, x: Operand, y: Operand, mask: Constant) -> Operand:
    """Choose one tensor as a whole; the other, and the mask, can only broadcast it."""
    shape = broadcast(node.dims(x), node.dims(y), mask.param.shape)
    if shape == node.dims(x):
        return x
    if not all(isinstance(d, int) for d in shape):
        raise Refusal(*UNKNOWN_EXTENT)
    return node.result("Expand", x, shape=shape)


def _kept(node: OnnxNode, x: Operand, chosen: Array, fill: float = -0.0, *, last: bool = False) -> Value:
    """Return `x` where it is chosen, and a number elsewhere, which is picked from behind the end of an axis."""
    if broadcast(node.dims(x), chosen.shape) != node.dims(x):
        x = node.emit("Expand", x, shape=chosen.shape)
    dims = node.dims(x)
    chosen = chosen.reshape((1,) * (len(dims) - chosen.ndim) + chosen.shape)
    varied = [axis for axis in range(len(dims)) if (chosen != chosen.take([0], axis)).any()]
    first, end = varied[0], varied[-1] + 1
    within = tuple(d for d in dims[first:end] if isinstance(d, int))
    if len(within) < end - first:
        raise Refusal(*UNKNOWN_EXTENT)
    picked = np.broadcast_to(chosen[(0,) * first][(..., *(0,) * (len(dims) - end))], within).reshape(-1)
    if picked.size > MAX_INDICES:
        raise Refusal(f"more than {MAX_INDICES} indices")
    joined = (*dims[:first], picked.size, *dims[end:])
    row = x if end == first + 1 else node.emit("Reshape", x, shape=reshape_target(joined, kept=first))
    pads = (0,) * len(joined) + tuple(int(axis == first) for axis in range(len(joined)))
    padded = node.emit("Pad", row, pads=pads, value=fill)
    indices = tuple(np.where(picked, np.arange(picked.size), picked.size).tolist())
    make = node.result if last else node.emit
    if end == first + 1:
        return make("Gather", padded, axis=first, indices=indices)
    shape = reshape_target(dims, kept=first)
    return make("Reshape", node.emit("Gather", padded, axis=first, indices=indices), shape=shape)


def _number(values: Array) -> float | None:
    """Return the number that all elements are; ``None`` if they differ."""
    numbers = np.unique(values.astype(np.float64))
    if len(numbers) != 1 or np.signbit(values).any() != np.signbit(values).all():
        return None
    return copysign(float(numbers[0]), -1.0 if np.signbit(values).any() else 1.0)


def _rest(node: OnnxNode, mask: Constant, chosen: Array, y: Constant) -> Constant:
    """Return `y` where the other side is not chosen, and −0.0 elsewhere."""
    shape = np.broadcast_shapes(chosen.shape, y.param.shape)
    side = bool(chosen.flat[0])  # the mask, or its complement
    return node.derive(y, "rest", lambda a: np.where(chosen, a.dtype.type(-0.0), a), shape, mask.param, side)
