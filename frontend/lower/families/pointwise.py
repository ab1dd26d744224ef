"""Elementwise activations, and the softmax."""

from __future__ import annotations

from math import copysign, inf, isnan

import numpy as np
import onnx_ir

from pathlift.frontend.fold import Constant
from pathlift.frontend.lower.families.structure import reshape_target
from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.registry import Refusal, lowering
from pathlift.frontend.types import numpy_dtype
from pathlift.ir.types import DTYPE_NAMES, is_float


@lowering("Relu", "Abs", "Sigmoid", "Tanh", "Softplus", "Softsign", "Erf", "HardSwish")
def plain(node: OnnxNode) -> Operand:
    """Activations without parameters, spelled the same in the IR."""
    return node.result(node.op_type, node.input(0))


@lowering("LeakyRelu")
def leaky_relu(node: OnnxNode) -> Operand:
    """A slope for negative inputs."""
    return node.result("LeakyRelu", node.input(0), alpha=node.real("alpha", 0.01))


@lowering("PRelu")
def prelu(node: OnnxNode) -> Operand:
    """Constant slopes for negative inputs."""
    return node.result("PRelu", node.input(0), node.constant(1, "dynamic slope"))


@lowering("Elu")
def elu(node: OnnxNode) -> Operand:
    """An exponential for negative inputs."""
    return node.result("Elu", node.input(0), alpha=node.real("alpha", 1.0))


@lowering("Selu")
def selu(node: OnnxNode) -> Operand:
    """A scaled Elu."""
    x = node.emit("Elu", node.input(0), alpha=node.real("alpha", 1.67326319217681884765625))
    gamma = node.real("gamma", 1.05070102214813232421875)
    return node.result("Mul", x, node.lowerer.number(gamma, node.type(x).dtype))


@lowering("Celu")
def celu(node: OnnxNode) -> Operand:
    """An Elu, stretched along both axes."""
    x, alpha = node.input(0), node.real("alpha", 1.0)
    if alpha == 1.0:
        return node.result("Elu", x)
    if alpha <= 0.0:
        raise Refusal(f"no path-lifting semantics for a Celu of alpha {alpha:g}")
    factor = node.lowerer.number(alpha, node.type(x).dtype)
    return node.result("Mul", node.emit("Elu", node.emit("Div", x, factor)), factor)


@lowering("HardSigmoid")
def hard_sigmoid(node: OnnxNode) -> Operand:
    """A clipped affine function."""
    return node.result("HardSigmoid", node.input(0), alpha=node.real("alpha", 0.2), beta=node.real("beta", 0.5))


@lowering("Gelu")
def gelu(node: OnnxNode) -> Operand:
    """x·Φ(x), or its tanh approximation."""
    return node.result("Gelu", node.input(0), tanh=node.choice("approximate", "none", "tanh") == "tanh")


@lowering("Clip")
def clip(node: OnnxNode) -> Operand:
    """Constant bounds, given as attributes before opset 11; bounds at the ends of the float range bound nothing."""
    x = node.input(0)
    if node.version < 11:
        low, high = node.real("min", -inf), node.real("max", inf)
    else:
        low, high = node.scalar(1, -inf, "dynamic bounds"), node.scalar(2, inf, "dynamic bounds")
    if isnan(low) or isnan(high):
        raise Refusal("a bound is NaN")
    dtype = node.type(x).dtype
    if dtype in (np.float32, np.float64, np.float16):
        limits = np.finfo(dtype)
        low, high = (-inf if low <= limits.min else low), (inf if high >= limits.max else high)
    if low == 0 and copysign(1.0, low) > 0 and high == inf:
        return node.result("Relu", x)
    return node.result("Clip", x, low=low, high=high)


@lowering("Softmax", "LogSoftmax")
def softmax(node: OnnxNode) -> Operand:
    """Along one axis; before opset 13 over all axes from `axis` on, taken together."""
    x = node.input(0)
    if node.version >= 13:
        return node.result(node.op_type, x, axis=node.integer("axis", -1))
    dims = node.dims(x)
    axis = node.axis(node.integer("axis", 1), len(dims))
    if all(d == 1 for d in dims[axis + 1 :]):
        return node.result(node.op_type, x, axis=-1 if axis == len(dims) - 1 else axis)
    target = reshape_target(dims, kept=1 if axis == 1 else 0)  # the flattened tensor has its own first axis only then
    y = node.emit(node.op_type, node.emit("Flatten", x, axis=axis), axis=-1)
    return node.result("Reshape", y, shape=target)


@lowering("Dropout", ignores=["ratio", "seed"])
def dropout(node: OnnxNode) -> Operand:
    """The identity at inference time."""
    mode = node.optional(2) if node.version >= 12 else None
    training = mode is not None and not (isinstance(mode, Constant) and not mode.numpy().any())
    if training and not node.lowerer.assume_eval:
        raise Refusal("training mode", "pass --assume-eval to read it as in inference")
    node.first_output_only("its mask is used")
    return node.result("Identity", node.input(0))


@lowering("Identity", takes="any")
def identity(node: OnnxNode) -> Operand:
    """Another name for a value."""
    if node.input(0) not in node.lowerer.sequences:
        node.require("movable")
    return node.result("Identity", node.input(0))


@lowering("Cast", ignores=["saturate", "round_mode"])
def cast(node: OnnxNode) -> Operand:
    """Another floating-point format of 16 bits or more."""
    to = numpy_dtype(onnx_ir.DataType(node.integer("to")), "a Cast")
    if not is_float(to) or to.itemsize < 2:
        raise Refusal(f"a cast to {DTYPE_NAMES[to]}")
    return node.result("Cast", node.input(0), to=DTYPE_NAMES[to])
