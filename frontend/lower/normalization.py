"""Batch normalization with frozen statistics."""

from __future__ import annotations

from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.registry import Refusal, lowering


@lowering("BatchNormalization")
def batch_normalization(node: OnnxNode) -> tuple[Operand, ...]:
    """Scale and shift of every channel by constants."""
    more = any(node.used(i) for i in range(1, len(node.names)))
    # Before opset 14 it is the outputs that tell training from inference.
    training = bool(node.integer("training_mode")) if node.version >= 14 else more
    if training and (more or not node.lowerer.assume_eval):
        raise Refusal("training mode", "pass --assume-eval to read it as in inference" if not more else "")
    params = [node.constant(slot, "dynamic statistics or scale") for slot in range(1, 5)]
    if any(len(p.param.shape) != 1 for p in params):
        raise Refusal("statistics per position")
    return (node.result("BatchNormalization", node.input(0), *params, epsilon=node.real("epsilon", 1e-5)),)
