"""Integer tensors with one row for each sample, counted on from row to row: ``first + n·step``.

They are indices that PyTorch computes where the batch is a symbol: assignments to a slice of all samples, strided
views. `shapes` follows what is computed from extents; this follows what is counted up to one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pathlift.frontend.fold import SMALL, Constant
from pathlift.ir.graph import Value
from pathlift.ir.types import Array

if TYPE_CHECKING:
    from pathlift.frontend.lower.node import OnnxNode


@dataclass(frozen=True)
class Rows:
    """An integer tensor whose n-th row, along its first axis, is ``first + n·step``.

    Parameters
    ----------
    count
        The symbol that says how many rows there are.
    first
        The first row: int64, one axis fewer than the tensor.
    step
        From each row to the next, the same for all elements.
    """

    count: str
    first: Array
    step: int


def counted(node: OnnxNode) -> Rows | None:
    """Return the result of a node as rows; ``None`` if it is no such tensor."""
    if node.node.domain or None in node.operands:
        return None
    if node.op_type == "Range":
        return _range(node)
    rule = _RULES.get(node.op_type)
    if rule is None or len(node.operands) != 2:
        return None
    constants = [x for x in node.operands if isinstance(x, Constant) and x.small]
    rows = [node.lowerer.rows[x] for x in node.operands if isinstance(x, Value) and x in node.lowerer.rows]
    return rule(rows[0], constants[0].numpy().astype(np.int64)) if rows and constants else None


def _range(node: OnnxNode) -> Rows | None:
    start, end, step = (node.extents(slot) for slot in range(3))
    if start != [0] or step != [1] or end is None or not isinstance(end[0], str):
        return None
    return Rows(end[0], np.zeros((), np.int64), 1)


def _unsqueeze(rows: Rows, axes: Array) -> Rows | None:
    rank = 1 + rows.first.ndim + axes.size
    inserted = {int(axis) % rank for axis in axes.reshape(-1)}
    rest = iter(rows.first.shape)
    shape = [1 if axis in inserted else next(rest) for axis in range(1, rank)] if 0 not in inserted else None
    return None if shape is None else Rows(rows.count, rows.first.reshape(shape), rows.step)


def _mul(rows: Rows, factor: Array) -> Rows | None:
    if factor.size != 1 or factor.ndim > rows.first.ndim + 1:
        return None
    return Rows(rows.count, rows.first * factor.reshape(()), rows.step * int(factor.reshape(())))


def _add(rows: Rows, offset: Array) -> Rows | None:
    """Add what is the same for each row."""
    rank = 1 + rows.first.ndim
    if offset.ndim > rank or (offset.ndim == rank and offset.shape[0] != 1):
        return None
    offset = offset[0] if offset.ndim == rank else offset
    if np.broadcast(rows.first, offset).size > SMALL:
        return None
    return Rows(rows.count, rows.first + offset, rows.step)


_RULES: dict[str, Callable[[Rows, Array], Rows | None]] = {"Unsqueeze": _unsqueeze, "Mul": _mul, "Add": _add}
