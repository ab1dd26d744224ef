"""PyTorch modules: `KSLinear`, a Kronecker-sparse layer, and `replace_linears`, which puts some into a module."""

from __future__ import annotations

from pathlift.ks_linear import KSLinear
from pathlift.replace import Replacement, replace_linears

__all__ = ["KSLinear", "Replacement", "replace_linears"]
