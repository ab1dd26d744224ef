"""Maps that act on every channel by itself, x ↦ scale·x + shift: frozen batch norms, and arithmetic with constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pathlift.ir.graph import Graph, Value
from pathlift.ir.ops.normalization import EPSILON
from pathlift.ir.types import Array, TensorType
from pathlift.passes.layers.weights import constant

DIAGONAL_OPS = frozenset({"BatchNormalization", "Mul", "Div", "Add", "Sub"})
"""A choice of syntax: the ops that `read_diagonal` reads the parameters of, and that rewrites take in."""


@dataclass(frozen=True, eq=False)
class Diagonal:
    """What a node does to the channels of one operand.

    Parameters
    ----------
    slot
        Of the operand.
    axis
        Along which the channels lie; ``None`` if all values are treated alike.
    scale, shift
        float64, one number per channel (one, where all are treated alike); perhaps not finite.
    """

    slot: int
    axis: int | None
    scale: Array
    shift: Array


def read_diagonal(graph: Graph, key: str) -> Diagonal | None:
    """Return what a node does to channels; ``None`` if it does not act on them, or not by constants."""
    node, operands = graph[key], graph.inputs_of(key)
    if node.op not in DIAGONAL_OPS:
        return None
    params = [constant(graph, value) for value in operands]
    constants = [p.numpy().astype(np.float64) for p in params if p is not None]
    if len(constants) != len(operands) - 1:
        return None
    slot = params.index(None)
    if node.op == "BatchNormalization":
        epsilon: Any = node.attrs.get("epsilon", EPSILON)
        return None if slot else _batch_norm(*constants, epsilon=epsilon)
    return _arithmetic(node.op, slot, constants[0], graph.type_of(operands[slot] or Value(key)))


def _batch_norm(gamma: Array, beta: Array, mean: Array, var: Array, *, epsilon: float) -> Diagonal:
    with np.errstate(all="ignore"):  # what is not finite is not stored
        scale = gamma / np.sqrt(var + epsilon)
        return Diagonal(0, 1, scale, beta - scale * mean)


def _arithmetic(op: str, slot: int, c: Array, type_: object) -> Diagonal | None:
    """A sum or product with a constant, whose operand does not grow by it."""
    dims = type_.shape if isinstance(type_, TensorType) else None
    if dims is None or c.ndim > len(dims):
        return None
    extents = (1,) * (len(dims) - c.ndim) + c.shape
    axes = [i for i, n in enumerate(extents) if n != 1]
    if len(axes) > 1 or any(dims[i] != extents[i] for i in axes) or (op == "Div" and slot):
        return None
    axis, c = axes[0] if axes else None, c.reshape(-1)
    zeros, ones = np.zeros_like(c), np.ones_like(c)
    with np.errstate(all="ignore"):
        scale, shift = {
            "Mul": (c, zeros),
            "Div": (1 / c, zeros),
            "Add": (ones, c),
            "Sub": (-ones, c) if slot else (ones, -c),
        }[op]
    return Diagonal(slot, axis, scale, shift)
