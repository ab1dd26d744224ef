"""Two-sorted algebras: analyses for which parameters are one sort of values, and signals another.

A parameter is what the graph holds, and what sums, products and rearrangements make of parameters alone. A signal is
what depends on the network's input, and what a linear map, an activation or a pool makes of anything: neurons. Weights,
factors and slopes must be parameters. Where a signal is expected, a parameter is read as one: a bias.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pathlift.ir.algebras.protocol import Algebra
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.base import SeparableMap

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from pathlift.ir.primitives.base import Activation, LinearMap, OrderStatistic, View
    from pathlift.ir.primitives.derived import NormScale

P = TypeVar("P")
S = TypeVar("S")


class TwoSorted(Algebra[P | S], Generic[P, S]):
    """Base of analyses that tell parameters from signals: it sorts operands, and hands them to methods of one sort.

    A subclass says what a parameter is (`param`), how one is read as a signal (`lift`), and what becomes of each sort.
    As in any algebra, what it leaves out refuses the node by name.

    Attributes
    ----------
    parameter_type
        The class of parameters; whatever is not of it is a signal.
    """

    parameter_type: ClassVar[type]

    # ---- sorts

    def is_parameter(self, operand: P | S) -> TypeIs[P]:
        """Whether an operand is a parameter."""
        return isinstance(operand, self.parameter_type)

    def parameter(self, operand: P | S) -> P:
        """Return an operand that must be a parameter.

        Raises
        ------
        UnsupportedError
            If it is a signal.
        """
        if not self.is_parameter(operand):
            raise UnsupportedError("0311", "a parameter of this node is computed from the network's input")
        return operand

    def signal(self, operand: P | S) -> S:
        """Return an operand as a signal; a parameter is lifted to one."""
        return self.lift(operand) if self.is_parameter(operand) else operand

    # ---- primitives

    def derive(self, f: NormScale, *params: P | S) -> P | S:
        assert self.node is not None
        return self.derive_parameter(f.checked(self.node), [self.parameter(p) for p in params])

    def linear(self, f: LinearMap, x: P | S, w: P | S | None = None) -> P | S:
        signal = self.signal(x)
        if w is not None:
            return self.apply_weights(f, signal, self.parameter(w))
        if not isinstance(f, SeparableMap):
            raise UnsupportedError("0331", f"there is no rule for a {type(f).__name__}")
        return self.combine(f, signal)

    def add(self, x: P | S, y: P | S, axis: int | None = None, *, alike: bool = False) -> P | S:
        if self.is_parameter(x):
            return self.add_parameters(x, y, axis) if self.is_parameter(y) else self.add_to_parameter(x, y, axis)
        return self.shift(x, y, axis) if self.is_parameter(y) else self.add_signals(x, y, axis)

    def scale(self, x: P | S, c: P | S | float, axis: int | None = None, *, reciprocal: bool = False) -> P | S:
        if isinstance(c, float | int):
            if reciprocal and c == 0:
                raise UnsupportedError("0314", "division by a constant that holds a zero")
            number = 1 / c if reciprocal else c
            return self.multiply_parameter(x, number) if self.is_parameter(x) else self.multiply_signal(x, number)
        factor = self.parameter(c)
        if self.is_parameter(x):
            return self.scale_parameter(x, factor, axis, reciprocal=reciprocal)
        return self.scale_signal(x, factor, axis, reciprocal=reciprocal)

    def gate(self, x: P | S, f: Activation, *params: P | S) -> P | S:
        return self.activate(self.signal(x), f, *map(self.parameter, params))

    def select(self, x: P | S, s: OrderStatistic) -> P | S:
        return self.pool(self.signal(x), s)

    def move(self, xs: Sequence[P | S], v: View) -> P | S:
        parameters = [x for x in xs if self.is_parameter(x)]
        if len(parameters) == len(xs):
            return self.move_parameters(parameters, v)
        return self.move_signals([self.signal(x) for x in xs], v)

    # ---- what becomes of parameters

    def derive_parameter(self, f: Callable[..., Any], params: Sequence[P]) -> P:
        """Compute a parameter elementwise, linear in the first of `params`: γ/√(var+ε)."""
        raise self.refusal("a derived parameter")

    def add_parameters(self, x: P, y: P, axis: int | None) -> P:
        """Add parameters with broadcasting; with `axis`, `y` is a vector along that axis of `x`."""
        raise self.refusal("a sum of parameters")

    def scale_parameter(self, x: P, c: P, axis: int | None, *, reciprocal: bool) -> P:
        """Multiply (or divide) a parameter by another, broadcast, or a vector along `axis`."""
        raise self.refusal("a product of parameters")

    def multiply_parameter(self, x: P, c: float) -> P:
        """Multiply a parameter by a number."""
        raise self.refusal("a parameter times a number")

    def move_parameters(self, xs: Sequence[P], v: View) -> P:
        """Rearrange parameters."""
        raise self.refusal("a rearrangement of parameters")

    def lift(self, p: P) -> S:
        """Read a parameter as a signal: a bias of the present node."""
        raise self.refusal("a parameter as a signal")

    # ---- what becomes of signals

    def apply_weights(self, f: LinearMap, x: S, w: P) -> S:
        """Apply a linear map with weights `w`."""
        raise self.refusal("a linear map")

    def combine(self, f: SeparableMap, x: S) -> S:
        """Apply a linear map with fixed coefficients: an average, a sum, an interpolation."""
        raise self.refusal("a linear map without weights")

    def add_signals(self, x: S, y: S, axis: int | None) -> S:
        """Add signals with broadcasting; with `axis`, `y` is a vector along that axis of `x`."""
        raise self.refusal("an addition")

    def shift(self, x: S, c: P, axis: int | None) -> S:
        """Add a parameter to a signal; with `axis`, a vector along that axis of `x`."""
        return self.add_signals(x, self.lift(c), axis)

    def add_to_parameter(self, c: P, x: S, axis: int | None) -> S:
        """Add a signal to a parameter; with `axis`, `x` is a vector along that axis of `c`."""
        return self.add_signals(self.lift(c), x, axis)

    def scale_signal(self, x: S, c: P, axis: int | None, *, reciprocal: bool) -> S:
        """Multiply (or divide) a signal by a parameter, broadcast, or a vector along `axis` of `x`."""
        raise self.refusal("a scaling")

    def multiply_signal(self, x: S, c: float) -> S:
        """Multiply a signal by a number."""
        raise self.refusal("a signal times a number")

    def activate(self, x: S, f: Activation, *slopes: P) -> S:
        """Apply an elementwise activation; one that has `slopes` is a PRelu."""
        raise self.refusal("an activation")

    def pool(self, x: S, s: OrderStatistic) -> S:
        """Pick order statistics."""
        raise self.refusal("an order statistic")

    def move_signals(self, xs: Sequence[S], v: View) -> S:
        """Rearrange signals."""
        raise self.refusal("a rearrangement")
