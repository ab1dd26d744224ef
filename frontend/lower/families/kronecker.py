"""Calls of our own function for Kronecker-sparse linear maps."""

from __future__ import annotations

from pathlift.frontend.ks_function import DOMAIN, FEATURES, ROWS, is_ks_function
from pathlift.frontend.lower.families.linear import PRODUCT
from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.registry import Refusal, lowering
from pathlift.ir.kronecker import Pattern


@lowering(f"{DOMAIN}.{ROWS}", f"{DOMAIN}.{FEATURES}")
def ks_linear(node: OnnxNode) -> Operand:
    """A Kronecker-sparse map, if the function that the file defines is ours; a file may also leave it out."""
    if not node.calls(is_ks_function):
        raise Refusal(f"the file's function {node.op_type} is another one than pathlift's")
    pattern = node.integers("abcd")
    if len(pattern) != 4 or min(pattern) < 1:
        raise Refusal(f"{pattern} is no pattern (a, b, c, d)")
    w = node.constant(1, PRODUCT)
    p = Pattern(*pattern)
    if w.param.size != p.size:
        raise Refusal(f"{w.param.size} weights do not fit pattern {p}")
    return node.result(
        "KSLinear", node.input(0), node.reshaped(w, p.shape), pattern=tuple(p), feature_major=node.op_type == FEATURES
    )
