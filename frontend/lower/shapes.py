"""Symbolic shape arithmetic: integer tensors computed from shapes, followed element by element.

PyTorch spells "keep the batch, flatten the rest" as Shape, Gather, Concat and Reshape. Where the batch is a symbol
such tensors are no constants, but what each element is can still be told: an extent, a symbol, or unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir

from pathlift.frontend.fold import SMALL, Constant
from pathlift.ir.graph import Value
from pathlift.ir.types import Array, Dim, Param, TensorType

if TYPE_CHECKING:
    from pathlift.frontend.lower.node import OnnxNode


@dataclass(frozen=True)
class SymbolicInts:
    """An integer tensor whose elements are known extents, symbols, or unknown.

    Parameters
    ----------
    array
        Of dtype object, holding `Dim`.
    dtype
        The integer type of the tensor itself.
    """

    array: Array
    dtype: np.dtype[Any]

    @property
    def values(self) -> list[Dim]:
        """The elements."""
        return list(self.array.reshape(-1))

    @property
    def is_complete(self) -> bool:
        """Whether every element is known."""
        return all(isinstance(d, int) and abs(d) < 2**31 for d in self.values)

    def param(self) -> Param:
        """Return the tensor, all of whose elements are known."""
        return Param.of(self.array.astype(self.dtype))


def propagate(node: OnnxNode) -> SymbolicInts | None:
    """Return what is known of the result of integer arithmetic on shapes; ``None`` if the node is none."""
    if node.node.domain:
        return None
    if node.op_type in ("Shape", "Size"):
        return _shape(node)
    if node.op_type not in _RULES or len(node.names) != 1:
        return None
    # Constants alone are folded; without any tensor that came from a shape there is nothing to follow.
    if not any(isinstance(x, Value) and x in node.lowerer.extents for x in node.operands):
        return None
    given = [x for x in node.operands if x is not None]
    known = [x for x in (_extents(node, operand) for operand in given) if x is not None]
    if len(known) < len(given):
        return None
    try:
        array = _RULES[node.op_type](node, *(x.array for x in known))
    except (IndexError, ValueError, TypeError, OverflowError):
        return None
    return None if array is None else SymbolicInts(np.asarray(array, dtype=object), _dtype(node, known))


def _dtype(node: OnnxNode, operands: Sequence[SymbolicInts]) -> np.dtype[Any]:
    match node.op_type:
        case "Cast":
            return onnx_ir.DataType(node.integer("to")).numpy()
        case "Equal":
            return np.dtype(np.bool_)
        case "Where":
            return operands[1].dtype
    return operands[0].dtype


def _extents(node: OnnxNode, operand: Value | Constant) -> SymbolicInts | None:
    if isinstance(operand, Value):
        return node.lowerer.extents.get(operand)
    if operand.param.dtype not in (np.int64, np.int32, np.bool_) or not operand.small:
        return None
    array = operand.numpy()
    return SymbolicInts(np.array(array.tolist(), dtype=object).reshape(array.shape), array.dtype)


def _shape(node: OnnxNode) -> SymbolicInts | None:
    operand = node.optional(0)
    type_ = None if operand is None else node.lowerer.type_of(operand)
    if not isinstance(type_, TensorType) or type_.shape is None:
        return None
    if node.op_type == "Size":
        known = all(isinstance(d, int) for d in type_.shape)
        size = prod(d for d in type_.shape if isinstance(d, int)) if known else None
        return SymbolicInts(np.array(size, dtype=object), np.dtype(np.int64))
    end = node.integer("end") if node.has("end") else None
    picked = type_.shape[node.integer("start") : end]
    return SymbolicInts(np.array([*picked, None], dtype=object)[:-1], np.dtype(np.int64))


def _slice(node: OnnxNode, x: Array, *operands: Array) -> Array | None:
    if x.ndim != 1:
        return None
    if node.version < 10:
        (start,), (end,), step = node.integers("starts"), node.integers("ends"), 1
    else:
        values = dict(zip([i for i, v in enumerate(node.operands) if v is not None][1:], operands, strict=True))
        (start,), (end,) = values[1], values[2]
        (step,) = values.get(4, [1])
    if not isinstance(start, int) or not isinstance(end, int) or not isinstance(step, int):
        return None
    return x[slice(start, None if step < 0 and end < -len(x) else end, step)]


def _concat(node: OnnxNode, *xs: Array) -> Array:
    return np.concatenate(xs, axis=node.integer("axis"))


def _gather(node: OnnxNode, x: Array, indices: Array) -> Array:
    return x.take(indices.astype(np.int64), axis=node.integer("axis"))


def _reshape(node: OnnxNode, x: Array, *operands: Array) -> Array | None:
    if node.op_type == "Reshape":
        return x.reshape([int(d) for d in operands[0]])
    # Squeeze and Unsqueeze between a scalar and a vector of one element, the only ones that shape arithmetic has.
    if node.op_type == "Unsqueeze":
        return x.reshape(1) if x.ndim == 0 else None
    return x.reshape(()) if x.shape == (1,) else None


def _cast(node: OnnxNode, x: Array) -> Array | None:
    return x if node.integer("to") in (onnx_ir.DataType.INT64, onnx_ir.DataType.INT32) else None


def _arithmetic(node: OnnxNode, x: Array, y: Array) -> Array | None:
    return _elementwise(lambda a, b: _combine(node.op_type, a, b), x, y)


def _equal(node: OnnxNode, x: Array, y: Array) -> Array | None:
    return _elementwise(_are_equal, x, y)


def _are_equal(a: Dim, b: Dim) -> bool | None:
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    if a is None or b is None:
        return None
    if a == b:
        return True
    # An extent is never negative: −1 stands for "as it is" where PyTorch broadcasts.
    return False if any(isinstance(d, int) and d < 0 for d in (a, b)) else None


def _where(node: OnnxNode, condition: Array, x: Array, y: Array) -> Array | None:
    return _elementwise(_choose, condition, x, y)


def _choose(condition: bool | None, a: Dim, b: Dim) -> Dim:
    if condition is None:
        return a if a == b else None
    return a if condition else b


def _elementwise(f: Callable[..., Any], *xs: Array) -> Array | None:
    if max(x.size for x in xs) > SMALL or np.broadcast(*xs).size > SMALL:
        return None
    return np.array(np.frompyfunc(f, len(xs), 1)(*xs), dtype=object)


def _combine(op_type: str, a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int):
        match op_type:
            case "Add":
                return a + b
            case "Sub":
                return a - b
            case "Mul":
                return a * b
        return int(a / b) if b and abs(a) < 2**52 else None
    neutral = 0 if op_type in ("Add", "Sub") else 1
    if b == neutral:
        return a
    return b if a == neutral and op_type in ("Add", "Mul") else None


_RULES: dict[str, Callable[..., Array | None]] = {
    "Identity": lambda _, x: x,
    "Slice": _slice,
    "Concat": _concat,
    "Gather": _gather,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Cast": _cast,
    "Add": _arithmetic,
    "Sub": _arithmetic,
    "Mul": _arithmetic,
    "Div": _arithmetic,
    "Equal": _equal,
    "Where": _where,
}
