"""Lowering: a checked ONNX model becomes an IR graph.

One short function per ONNX operator, registered under its name by `lowering`, says what the operator is in the IR's
small op set, whatever its spelling in that opset version. What has no lowering, or violates the precondition of its
own, is carried as an ``Opaque`` node with the reason.
"""

from __future__ import annotations

import importlib

from pathlift.frontend.lower.model import lower

for _family in (
    "arithmetic",
    "control",
    "convolution",
    "expand",
    "indexing",
    "kronecker",
    "linear",
    "masks",
    "normalization",
    "pointwise",
    "points",
    "pooling",
    "quantization",
    "resize",
    "sequences",
    "structure",
):
    importlib.import_module(f"pathlift.frontend.lower.families.{_family}")

__all__ = ["lower"]
