"""The Traits algebra: properties of a node that its op's program alone proves, whatever the operands are.

Passes ask for a property (elementwise, a view, commutative …) and list no ops that have it: an op whose program is made
of primitives known here has its traits at once. What has no rule has no trait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import ClassVar

from pathlift.ir.algebras.interpret import evaluate
from pathlift.ir.algebras.protocol import Algebra
from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph, Node
from pathlift.ir.ops import OPS
from pathlift.ir.primitives import views as V
from pathlift.ir.primitives.base import Activation, Nonlinear, OrderStatistic, View
from pathlift.ir.primitives.reshapes import Reinterpretation
from pathlift.ir.primitives.selections import Extremum
from pathlift.ir.types import DTYPES, ValueType, is_float


class Elements(IntEnum):
    """Where the elements of a result come from; each member says more than the one before it."""

    COMPUTED = 0
    """From anywhere."""
    PICKED = 1
    """Each is, as a real number, an element of an operand; which one, only shapes decide."""
    PERMUTED = 2
    """Those of the only operand, each once, in its own number format."""
    ROW_MAJOR = 3
    """In its row-major order, too."""
    UNCHANGED = 4
    """In its shape, too."""


@dataclass(frozen=True)
class Traits:
    """Properties of a node as a function of its operands; what is not claimed is just not known.

    Parameters
    ----------
    elementwise
        There is one operand, and one function is applied to each of its elements: neither an element's position nor a
        parameter has a say.
    elements
        Where the elements of the results come from.
    in_order
        There is one operand and one result, and where they have one shape, they are the same real numbers.
    coefficients
        One per operand: the result is the sum of these multiples, with broadcasting. Empty if it is no such sum.
    commutative
        There are several operands, and any two may change places.
    """

    elementwise: bool = False
    elements: Elements = Elements.COMPUTED
    in_order: bool = False
    coefficients: tuple[float, ...] = ()
    commutative: bool = False

    @property
    def permutes(self) -> bool:
        """Whether the result has the elements of the only operand, each once."""
        return self.elements >= Elements.PERMUTED

    @property
    def transparent(self) -> bool:
        """Whether the result is the operand, number format apart."""
        return self.elementwise and self.elements >= Elements.PICKED


def traits(graph: Graph | Builder, key: str) -> Traits:
    """Return the traits of a node; an input or a parameter has none.

    Parameters
    ----------
    graph
        Says which inputs the node has.
    key
        The node.
    """
    node: Node = graph.nx.nodes[key]["node"]
    if node.op not in OPS:
        return Traits()
    algebra = _Traits(sorted(slot for _, _, slot in graph.nx.in_edges(key, keys=True)))
    try:
        results = evaluate(algebra, node, algebra.inputs)
    except UnsupportedError:
        return Traits()
    if len(results) > 1:
        return Traits(elements=min(Elements.PICKED, *(result.elements for result in results)))
    alike = len(results[0].coefficients) > 1 == len(set(results[0].coefficients))
    return replace(results[0], commutative=results[0].commutative or alike)


@dataclass(frozen=True)
class _Stacked(Traits):
    """Values joined along a new first axis, from which an extremum picks."""

    parts: tuple[Traits, ...] = ()


class _Traits(Algebra[Traits]):
    """Values are known by their traits as functions of the operands in these slots."""

    name: ClassVar[str] = "traits"

    def __init__(self, slots: Sequence[int]) -> None:
        alone = len(slots) == 1
        elements = Elements.UNCHANGED if alone else Elements.PICKED
        operands = {s: Traits(alone, elements, alone, tuple(float(s == other) for other in slots)) for s in slots}
        self.operands = list(operands.values())
        self.inputs = tuple(operands.get(slot) for slot in range(max(slots, default=-1) + 1))

    def add(self, x: Traits, y: Traits, axis: int | None = None, *, alike: bool = False) -> Traits:
        if axis is not None:
            return Traits()
        sums = tuple(a + b for a, b in zip(x.coefficients, y.coefficients, strict=False))
        return Traits(elementwise=x.elementwise and y.elementwise, coefficients=sums)

    def scale(self, x: Traits, c: Traits | float, axis: int | None = None, *, reciprocal: bool = False) -> Traits:
        if isinstance(c, Traits) or reciprocal:
            raise self.refusal("a scaling by a parameter")
        return Traits(elementwise=x.elementwise, coefficients=tuple(a * c for a in x.coefficients))

    def gate(self, x: Traits, f: Activation, *params: Traits) -> Traits:
        return Traits(elementwise=x.elementwise and not params)

    def select(self, x: Traits, s: OrderStatistic) -> Traits:
        if not isinstance(x, _Stacked) or not isinstance(s, Extremum) or s.axes != (0,) or s.keepdims:
            raise self.refusal("an order statistic")
        return x.parts[0] if len(x.parts) == 1 else Traits(commutative=self._are_operands(x.parts))

    def move(self, xs: Sequence[Traits], v: View) -> Traits:
        if isinstance(v, V.Stack):
            return _Stacked(parts=tuple(xs))
        if len(xs) > 1:
            return Traits(elements=min(_moved(v)[0], *(x.elements for x in xs)))
        (x,) = xs
        elements, in_order = (Elements.UNCHANGED, True) if isinstance(v, V.Concat) else _moved(v)
        if elements == Elements.UNCHANGED:
            return x
        return Traits(
            elementwise=x.elementwise and isinstance(v, V.Cast) and in_order,
            elements=min(elements, x.elements),
            in_order=in_order and x.transparent,
        )

    def apply(self, f: Nonlinear, xs: Sequence[Traits | None], types: Sequence[ValueType]) -> tuple[Traits, ...]:
        if not f.commutative:
            return super().apply(f, xs, types)
        return (Traits(commutative=self._are_operands([x for x in xs if x is not None])),)

    def _are_operands(self, xs: Sequence[Traits]) -> bool:
        """Whether these are all operands, each once and as it is."""
        return sorted(x.coefficients for x in xs) == sorted(x.coefficients for x in self.operands)


def _moved(v: View) -> tuple[Elements, bool]:
    """Where the elements of a view come from, and whether it does nothing where the shape stays."""
    match v:
        case V.Transpose(perm):
            return (Elements.PERMUTED, False) if perm != tuple(sorted(perm)) else (Elements.UNCHANGED, True)
        case V.Squeeze() | V.Unsqueeze() | Reinterpretation():
            return Elements.ROW_MAJOR, True
        case V.Cast(to):
            return (Elements.PICKED, True) if is_float(DTYPES[to]) else (Elements.COMPUTED, False)
        case V.Pad(pads):
            if max(pads, default=0) > 0:
                return Elements.COMPUTED, False
            return (Elements.PICKED if any(pads) else Elements.UNCHANGED), True
        case V.Slice(steps=steps):
            return Elements.PICKED, min(steps, default=1) > 0
        case V.Expand() | V.Tile():
            return Elements.PICKED, True
        case V.Take() | V.Concat():
            return Elements.PICKED, False
    return Elements.COMPUTED, False
