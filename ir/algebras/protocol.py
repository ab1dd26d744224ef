"""The algebra protocol: what an analysis must say, once, about the handful of primitives every op is made of.

An op is a short program over these primitives (`pathlift.ir.ops`); an analysis is a class that gives each primitive a
meaning. N ops and M analyses cost N + M pieces of code. `pathlift.ir.algebras.interpret.run` brings the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from pathlift.ir.errors import UnsupportedError

if TYPE_CHECKING:
    from pathlift.ir.graph import Node
    from pathlift.ir.primitives.base import Activation, LinearMap, Nonlinear, OrderStatistic, View
    from pathlift.ir.primitives.derived import NormScale
    from pathlift.ir.types import Array, Param, ValueType

T = TypeVar("T")


class Algebra(Generic[T]):
    """Base of all analyses; a primitive that is not overridden refuses the node by name.

    Attributes
    ----------
    name
        How the analysis is called in refusals and in the support table.
    node
        The node being evaluated, for notes and refusals; set by the evaluator.
    """

    name: ClassVar[str] = "this analysis"
    node: Node | None = None

    def enter(self, node: Node) -> None:
        """Remember the node whose program runs next."""
        self.node = node

    def param(self, p: Param) -> T:
        """A parameter. `p` is compared by identity: two nodes that see the same `p` are tied."""
        raise self.refusal("a parameter")

    def derive(self, f: NormScale, *params: T) -> T:
        """A parameter computed elementwise, linear in the first of `params`, without cancellation: γ/√(var+ε)."""
        raise self.refusal("a derived parameter")

    def linear(self, f: LinearMap, x: T, w: T | None = None) -> T:
        """Apply a linear map with weights `w`, or with fixed coefficients (average pool, resize) without."""
        raise self.refusal("a linear map")

    def add(self, x: T, y: T, axis: int | None = None, *, alike: bool = False) -> T:
        """Add with broadcasting; with `axis`, `y` is a vector along that axis of `x` (a bias).

        With `alike`, there is no broadcasting: both have one shape.
        """
        raise self.refusal("an addition")

    def scale(self, x: T, c: T | float, axis: int | None = None, *, reciprocal: bool = False) -> T:
        """Multiply (or divide) by a constant: a number or a parameter, broadcast, or a vector along `axis`."""
        raise self.refusal("a scaling")

    def gate(self, x: T, f: Activation, *params: T) -> T:
        """Apply an elementwise activation; `params` are its slopes (PRelu)."""
        raise self.refusal("an activation")

    def select(self, x: T, s: OrderStatistic) -> T:
        """Pick order statistics: max-pool windows, sort, top-k, maximum along axes."""
        raise self.refusal("an order statistic")

    def move(self, xs: Sequence[T], v: View) -> T:
        """Rearrange elements: reshape, transpose, slice, concat, pad and so on."""
        raise self.refusal("a rearrangement")

    def apply(self, f: Nonlinear, xs: Sequence[T | None], types: Sequence[ValueType]) -> tuple[T, ...]:
        """Anything else: softmax, products of activations, opaque ONNX nodes. `types` are the outputs' types."""
        raise UnsupportedError("0304", f.reason, hint=f.hint)

    # ---- what programs (`pathlift.ir.programs`) ask for

    def extents(self, x: T) -> tuple[int, ...]:
        """The shape of a value."""
        raise self.refusal("programs, which depend on shapes")

    def is_constant(self, x: T) -> bool:
        """Whether a value is a parameter."""
        raise self.refusal("programs, which depend on parameters")

    def numbers(self, x: T) -> Array:
        """The numbers that a parameter holds."""
        raise self.refusal("programs, which depend on numbers")

    def is_defined(self, x: T) -> bool:
        """Whether a value is a number wherever the network is run: no root of -1, no quotient by 0 is part of it."""
        raise self.refusal("programs, which depend on what is defined")

    def shown(self, x: T) -> tuple[T, Array | None]:
        """A value that -∞ may have been added to, without it; and where it was not, which broadcasts to the value."""
        raise self.refusal("programs, which depend on masks")

    def refusal(self, what: str) -> UnsupportedError:
        """Return the default refusal of a primitive."""
        return UnsupportedError("0302", f"{self.name} has no rule for {what}")
