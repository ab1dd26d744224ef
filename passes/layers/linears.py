"""Linear ops by the channels that go in and come out, whose scalings their weights can take in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pathlift.ir.graph import Graph
from pathlift.ir.primitives.maps import Contract
from pathlift.ir.rows import Rows, blocks, rows_of
from pathlift.ir.types import Array, Param, TensorType
from pathlift.passes.layers.weights import constant, rounded


@dataclass(frozen=True)
class NewWeights:
    """Parameters for a linear op; ``None`` for those that stay as they are."""

    weight: Param | None
    bias: Param | None


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear op with constant weights.

    Parameters
    ----------
    weight, bias
        As stored. The bias broadcasts to the output channels.
    axes
        Of the channels, in the operand and in the result.
    sources, targets
        Numbers of the channels that each weight reads and writes; they broadcast to the weights.
    rank
        Of the result.
    takes_bias
        Whether the op can have one.
    uniform
        Whether every weight meets an input at every position, so that a constant before the op is one behind it.
    """

    weight: Param
    bias: Param | None
    axes: tuple[int, int]
    sources: Array
    targets: Array
    rank: int
    takes_bias: bool = True
    uniform: bool = False

    @property
    def channels(self) -> tuple[int, int]:
        """How many go in, and come out."""
        return int(self.sources.max(initial=-1)) + 1, int(self.targets.max(initial=-1)) + 1

    def followed_by(self, scale: Array, shift: Array) -> NewWeights | None:
        """Return the op with y ↦ scale·y + shift behind it; ``None`` if the element type cannot hold it."""
        return self._rounded(scale[self.targets], scale, shift)

    def preceded_by(self, scale: Array, shift: Array) -> NewWeights | None:
        """Return the op with x ↦ scale·x + shift before it; ``None`` if the element type cannot hold it."""
        through: Array = np.zeros(self.channels[1])
        if shift.any():
            alike = tuple(i for i, n in enumerate(self.targets.shape) if n == 1)
            with np.errstate(all="ignore"):  # what is not finite is not stored
                terms = (self.weight.numpy().astype(np.float64) * shift[self.sources]).sum(alike, keepdims=True)
                through = np.bincount(self.targets.reshape(-1), weights=terms.reshape(-1), minlength=len(through))
        return self._rounded(scale[self.sources], np.ones(()), through)

    def _rounded(self, factors: Array, scale: Array, shift: Array) -> NewWeights | None:
        """The weights times `factors`, and the bias, as scale·bias + shift."""
        weight: Param | None = None
        bias: Param | None = None
        if (factors != 1).any():
            weight = self._multiplied(factors)
            if weight is None:
                return None
        if shift.any() or (self.bias is not None and (scale != 1).any()):
            with np.errstate(all="ignore"):  # what is not finite is not stored
                values = shift if self.bias is None else self.bias.numpy().astype(np.float64) * scale + shift
            stored = rounded(values, self.weight.dtype)
            if stored is None:
                return None
            bias = Param.of(stored)
        return NewWeights(weight, bias)

    def _multiplied(self, factors: Array) -> Param | None:
        """The weights times `factors`, computed anew whenever they are asked for; ``None`` if some do not fit."""
        old = self.weight

        def values(rows: Rows) -> Array:
            with np.errstate(all="ignore"):  # what is not finite is not stored
                product: Array = old.rows(rows).astype(np.float64) * rows_of(factors, rows, len(old.shape))
            return product

        if any(rounded(values(rows), old.dtype) is None for rows in blocks(old.shape)):
            return None
        return Param.by_rows(old.dtype, old.shape, lambda rows: values(rows).astype(old.dtype))


def read_linear(graph: Graph, key: str) -> Linear | None:
    """Return the linear op that a node is; ``None`` if it is none, or its weights are no constants."""
    node, operands = graph[key], graph.inputs_of(key)
    params = [constant(graph, value) for value in operands[1:]]
    type_ = graph.type_of(operands[0]) if operands and operands[0] is not None else None
    if node.op not in _READERS or None in params or not isinstance(type_, TensorType) or type_.shape is None:
        return None
    return _READERS[node.op](len(type_.shape), *params, **node.attrs)  # type: ignore[operator,no-any-return]  # an attribute has the type that its op gives it


def _gemm(rank: int, weight: Param, bias: Param | None = None, *, trans_w: bool = False) -> Linear:
    rows, columns = (_along(weight, i) for i in range(2))
    sources, targets = (columns, rows) if trans_w else (rows, columns)
    return Linear(weight, bias, (rank - 1, rank - 1), sources, targets, rank, uniform=True)


def _conv(
    rank: int, weight: Param, bias: Param | None = None, *, groups: int = 1, pads: tuple[int, ...], **_: Any
) -> Linear:
    targets, sources = _along(weight, 0), _along(weight, 1)
    if groups > 1:
        sources = targets * groups // weight.shape[0] * weight.shape[1] + sources
    return Linear(weight, bias, (1, 1), sources, targets, rank, uniform=not any(pads))


def _conv_transpose(rank: int, weight: Param, bias: Param | None = None, *, groups: int = 1, **_: Any) -> Linear:
    sources, targets = _along(weight, 0), _along(weight, 1)
    if groups > 1:
        targets = sources * groups // weight.shape[0] * weight.shape[1] + targets
    return Linear(weight, bias, (1, 1), sources, targets, rank)


def _einsum(rank: int, weight: Param, *, equation: str) -> Linear | None:
    """Its channels are an axis that the weights share with the operand, and with the result: axis 1, if possible."""
    x, w, out = Contract(equation).letters(rank)
    axes = [next((i for i in (1, *range(len(term))) if term[i : i + 1] in (*w,)), -1) for term in (x, out)]
    if min(axes) < 0:
        return None
    sources, targets = (_along(weight, w.index(term[i])) for term, i in zip((x, out), axes, strict=True))
    return Linear(weight, None, (axes[0], axes[1]), sources, targets, len(out), takes_bias=False)


def _along(weight: Param, axis: int) -> Array:
    """Numbers along one axis of the weights."""
    return np.arange(weight.shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(weight.shape))])


_READERS = {"Gemm": _gemm, "Conv": _conv, "ConvTranspose": _conv_transpose, "Einsum": _einsum}
