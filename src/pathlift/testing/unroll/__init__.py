"""Ops as scalar neurons: loops and numpy index arrays, for `pathlift.testing.oracle`."""

from __future__ import annotations

from pathlift.testing.unroll import kronecker, linear, selections, structure
from pathlift.testing.unroll.net import Net, Number, Signal

__all__ = ["RULES", "Net", "Number", "Signal"]

RULES = linear.RULES | kronecker.RULES | selections.RULES | structure.RULES
