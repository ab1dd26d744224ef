"""Every op, written once: a short program over the primitives of an algebra.

The signature is the schema. Positional parameters are inputs (with a default: optional; ``*xs``: any number),
keyword-only parameters are attributes with their types and defaults. Adding an op is one function here and one sample
in `pathlift.testing.samples`; shapes, execution, path-norms, text and verification follow by themselves.
"""

from __future__ import annotations

import importlib

from pathlift.ir.ops.registry import OPS, Op

for _family in ("linear", "pointwise", "kronecker", "pooling", "structure", "normalization", "nonlinear"):
    importlib.import_module(f"pathlift.ir.ops.{_family}")

__all__ = ["OPS", "Op"]
