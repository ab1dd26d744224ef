"""Batch normalization with frozen statistics; other normalizations stay opaque."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pathlift.frontend.fold import Constant
from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.registry import Refusal, lowering, opaque
from pathlift.ir.types import Array

opaque(
    "a normalization by statistics of the data is not piecewise linear",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "LpNormalization",
    "LRN",
    "MeanVarianceNormalization",
    "RMSNormalization",
)


@lowering("BatchNormalization", ignores=["momentum", "spatial"])
def batch_normalization(node: OnnxNode) -> tuple[Operand, ...]:
    """Scale and shift of every channel by constants."""
    # Before opset 14 it is the outputs that tell training from inference: those that are there, whether read or not.
    training = bool(node.integer("training_mode")) if node.version >= 14 else any(node.names[1:])
    read = any(node.used(i) for i in range(1, len(node.names)))
    if training and not node.lowerer.assume_eval:
        raise Refusal("training mode", "pass --assume-eval to read it as in inference" if not read else "")
    node.first_output_only("its statistics are used")
    params = [node.constant(slot, "dynamic statistics or scale") for slot in range(1, 5)]
    if any(len(p.param.shape) != 1 for p in params):
        raise Refusal("statistics per position")
    x, epsilon = node.input(0), node.real("epsilon", 1e-5)
    if isinstance(x, Constant):
        return (_standardized(node, x, params, epsilon),)
    return (node.result("BatchNormalization", x, *params, epsilon=epsilon),)


def _standardized(node: OnnxNode, x: Constant, params: Sequence[Constant], epsilon: float) -> Constant:
    """Return a weight that is normalized by constants: those of its own statistics, in standardized convolutions."""

    def normalize(a: Array) -> Array:
        gamma, beta, mean, var = (p.numpy().reshape(-1, *(1,) * (a.ndim - 2)) for p in params)
        return (a - mean) * (gamma / np.sqrt(var + epsilon)) + beta

    return node.derive(x, "normalized", normalize, x.param.shape, *(p.param for p in params), epsilon)
