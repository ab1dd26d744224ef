"""One way to grow a random graph per op, or per idiom.

The simplest comes first, and so does the simplest choice of each, so that failing examples shrink well.
"""

from __future__ import annotations

import importlib

for _family in ("pointwise", "linear", "kronecker", "pooling", "structure", "nonlinear"):
    importlib.import_module(f"pathlift.testing.steps.{_family}")
