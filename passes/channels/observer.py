"""An observer of magnitudes, told while ties are found: every step of the network that changes sizes, in order."""

from __future__ import annotations

from pathlift.ir.types import Array
from pathlift.passes.channels.parameters import ParamExpr
from pathlift.passes.channels.products import ChannelProduct


class MagnitudeObserver:
    """What becomes of the sizes of values along the way; by default, nobody asks."""

    def fixed(self, y: Array) -> None:
        """Cells whose size no rescaling changes."""

    def constant(self, y: Array, c: ParamExpr) -> None:
        """Cells that hold a parameter."""

    def linear(self, y: Array, p: ChannelProduct, w: ParamExpr) -> None:
        """A product with weights; `y` in the shape of its result."""

    def sum(self, y: Array, a: Array, b: Array | ParamExpr) -> None:
        """A sum, with broadcasting; a constant may broadcast along an axis already."""

    def scaled(self, y: Array, x: Array, c: ParamExpr | float, *, reciprocal: bool = False) -> None:
        """A product with (or quotient by) a constant."""

    def sloped(self, y: Array, x: Array, slope: ParamExpr) -> None:
        """An activation whose slopes are 1 and `slope`."""

    def largest(self, y: Array, x: Array, axis: int) -> None:
        """The largest of the values along an axis, whose positions share weights."""

    def combined(self, y: Array, x: Array, axis: int, count: int, coefficient: float) -> None:
        """`count` values along an axis, each times a coefficient."""
