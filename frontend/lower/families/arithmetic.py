"""Sums and products: with a constant they are biases and scalings."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from math import prod

import numpy as np

from pathlift.frontend.fold import Constant
from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.registry import Refusal, lowering
from pathlift.ir.types import Array, Dims


def negated(node: OnnxNode, c: Constant) -> Constant:
    """Return −c."""
    return node.derive(c, "negated", np.negative, c.param.shape)


@lowering("Add")
def add(node: OnnxNode) -> Operand:
    """A sum; a constant comes second."""
    x, y = node.input(0), node.input(1)
    return node.result("Add", y, x) if isinstance(x, Constant) else node.result("Add", x, y)


@lowering("Sub")
def sub(node: OnnxNode) -> Operand:
    """A difference; with a constant on either side, the sum with a constant."""
    x, y = node.input(0), node.input(1)
    if isinstance(y, Constant):
        return node.result("Add", x, negated(node, y))
    if isinstance(x, Constant):
        return node.result("Add", node.emit("Neg", y), x)
    return node.result("Sub", x, y)


@lowering("Mul")
def mul(node: OnnxNode) -> Operand:
    """A scaling by a constant, or a product of two activations."""
    x, y = node.input(0), node.input(1)
    if isinstance(x, Constant):
        x, y = y, x
    return node.result("Mul" if isinstance(y, Constant) else "Product", x, y)


@lowering("Div")
def div(node: OnnxNode) -> Operand:
    """A scaling by the reciprocal of a constant."""
    x, y = node.input(0), node.input(1)
    if not isinstance(y, Constant):
        raise Refusal("division by an activation")
    return node.result("Div", x, y)


@lowering("Sum")
def sum_(node: OnnxNode) -> Operand:
    """A sum of any number of tensors."""
    operands = _summands(node)
    return operands[0] if len(operands) == 1 else node.result("Sum", *operands)


@lowering("Mean")
def mean(node: OnnxNode) -> Operand:
    """An elementwise mean of any number of tensors."""
    operands = _summands(node)
    if len(operands) == 1:
        return operands[0]
    total = node.emit("Sum", *operands)
    return node.result("Div", total, node.lowerer.number(float(len(operands)), node.type(total).dtype))


def _summands(node: OnnxNode) -> list[Operand]:
    """Return all operands, no constant first: apart from that in their order, which decides how they round."""
    operands = [x for x in node.operands if x is not None]
    if isinstance(operands[0], Constant) and len(operands) > 1:
        if isinstance(operands[1], Constant):
            return _variadic(node)
        operands[:2] = reversed(operands[:2])
    return operands


def _variadic(node: OnnxNode) -> list[Operand]:
    """Return all operands, constants last."""
    operands = [x for x in node.operands if x is not None]
    return sorted(operands, key=lambda x: isinstance(x, Constant))


@lowering("Neg")
def neg(node: OnnxNode) -> Operand:
    """−x."""
    return node.result("Neg", node.input(0))


@lowering("Pow")
def power(node: OnnxNode) -> Operand:
    """x·x, and x itself."""
    x = node.input(0)
    exponent = node.scalar(1, 0.0, "a power with an exponent that is computed, or is no scalar")
    if len(node.constant(1, "").param.shape) > len(node.dims(x)):
        raise Refusal("a power that broadcasts")
    if exponent == 1:
        return x
    if exponent == 2:
        return node.result("Product", x, x)
    raise Refusal(f"no path-lifting semantics for the power {exponent:g}")


@lowering("Max", "Min")
def extremum(node: OnnxNode) -> Operand:
    """An elementwise maximum or minimum; against one number, in whatever shape, it is a Clip, against zero a Relu.

    A constant that varies from element to element is an operand like any other: a pool with constant neurons. Several
    constants are one.
    """
    operands = _joined(node, _variadic(node))
    if len(operands) == 1:
        return operands[0]
    x, bound = operands[:2]
    if len(operands) == 2 and isinstance(bound, Constant) and _fits(bound.param.shape, node.dims(x)):
        number = _everywhere(bound)
        if number is not None and node.op_type == "Min":
            return node.result("Clip", x, high=number)
        if number is not None:
            return node.result("Relu", x) if number == 0 else node.result("Clip", x, low=number)
    return node.result(node.op_type, *operands)


def _joined(node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Replace several constants by their own maximum or minimum, unless that is larger than each of them."""
    constants = [x for x in operands if isinstance(x, Constant)]
    shapes = [c.param.shape for c in constants]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:  # which is not for us to tell
        return operands
    if len(constants) < 2 or len(constants) == len(operands) or prod(shape) > max(map(prod, shapes)):
        return operands
    first, *others = constants
    extreme = np.maximum if node.op_type == "Max" else np.minimum

    def join(values: Array) -> Array:
        return np.broadcast_to(functools.reduce(extreme, (c.numpy() for c in others), values), shape)

    others_key = tuple(c.param for c in others)
    rest = [x for x in operands if not isinstance(x, Constant)]
    return [*rest, node.derive(first, "joined", join, shape, node.op_type, others_key)]


def _fits(shape: Sequence[int], dims: Dims) -> bool:
    """Whether a constant broadcasts to a tensor, and the tensor not to the constant."""
    aligned = zip(shape[::-1], dims[::-1], strict=False)
    return len(shape) <= len(dims) and all(n == 1 or n == d for n, d in aligned)


def _everywhere(constant: Constant) -> float | None:
    """Return the number that all elements are; ``None`` if they differ, are none, or NaN."""
    values = constant.numpy()
    return float(values.reshape(-1)[0]) if values.size and (values == values.reshape(-1)[0]).all() else None
