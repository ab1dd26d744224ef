"""Ways to grow a random graph: by an op, or by an idiom. An op without a step of its own is drawn as its sample is.

The simplest comes first, and so does the simplest choice of each, so that failing examples shrink well.
"""

from __future__ import annotations

import importlib

from pathlift.testing.steps.sampled import all_steps

__all__ = ["all_steps"]

for _family in ("pointwise", "linear", "kronecker", "pooling", "structure", "nonlinear"):
    importlib.import_module(f"pathlift.testing.steps.{_family}")
