"""The algebra of the heaviest path: every value knows, element by element, where its largest term comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

from pathlift.ir.algebras.two_sorted import TwoSorted
from pathlift.ir.graph import Node
from pathlift.ir.primitives.base import Activation, LinearMap, OrderStatistic, SeparableMap, View
from pathlift.ir.primitives.views import Pad
from pathlift.ir.types import Param
from pathlift.passes.fields.field import Field
from pathlift.passes.fields.weight import Weight
from pathlift.passes.heaviest_path.result import PathStart, PathStep, Position
from pathlift.passes.heaviest_path.terms import (
    broadcast_source,
    heaviest,
    linear_terms,
    place,
    separable_terms,
    view_source,
)
from pathlift.passes.path_norm.algebra import PathNormAlgebra


@dataclass(frozen=True)
class Backpointer:
    """A backpointer: to an element of another value, over an edge or (``None``) as it is.

    Where a node rearranges what it computed, `viewed` is its name.
    """

    source: TracedField
    position: Position
    step: PathStep | None = None
    viewed: str = ""


@dataclass(frozen=True, eq=False)
class TracedField:
    """A signal: the largest product of a path to each element, and for every element that is not 0 the way back."""

    operand: Field
    back: Callable[[Position], Backpointer | PathStart]


@dataclass(frozen=True, eq=False)
class TracedWeight:
    """Parameters: their values, and for each element the name of the tensor and the element in it, if it is of one."""

    operand: Weight
    element: Callable[[Position], tuple[str | None, Position]]

    def factor(self, at: Position) -> float:
        """The value of an element."""
        return float(self.operand.values[at])


class HeaviestPathAlgebra(TwoSorted[TracedWeight, TracedField]):
    """The path-norm algebra for q = ∞, with the way back.

    Parameters
    ----------
    inputs_only
        Leave out the paths that start at a bias.
    """

    name: ClassVar[str] = "heaviest-path"
    parameter_type: ClassVar[type] = TracedWeight

    def __init__(self, inputs_only: bool = False) -> None:
        self.norms = PathNormAlgebra(inf, inputs_only=inputs_only)

    def enter(self, node: Node) -> None:
        super().enter(node)
        self.norms.enter(node)

    def _here(self) -> tuple[str, str]:
        assert self.node is not None
        return self.node.label, self.node.op

    def input(self, name: str, shape: Position) -> TracedField:
        """A graph input: every element of it starts a path."""
        ones = Field.ones(shape, self.norms.dtype, self.norms.device)
        return TracedField(ones, lambda at: PathStart(name, "Input", None, at, 1.0))

    # ---- parameters: what is computed elementwise goes by the name of the first

    def param(self, p: Param) -> TracedWeight:
        assert self.node is not None
        name = self.node.names[0]
        return TracedWeight(self.norms.param(p), lambda at: (name, at))

    def derive_parameter(self, f: Callable[..., Any], params: Sequence[TracedWeight]) -> TracedWeight:
        return TracedWeight(self.norms.derive_parameter(f, [p.operand for p in params]), params[0].element)

    def add_parameters(self, x: TracedWeight, y: TracedWeight, axis: int | None) -> TracedWeight:
        return _computed(self.norms.add_parameters(x.operand, y.operand, axis), x)

    def scale_parameter(self, x: TracedWeight, c: TracedWeight, axis: int | None, *, reciprocal: bool) -> TracedWeight:
        return _computed(self.norms.scale_parameter(x.operand, c.operand, axis, reciprocal=reciprocal), x)

    def multiply_parameter(self, x: TracedWeight, c: float) -> TracedWeight:
        return _computed(self.norms.multiply_parameter(x.operand, c), x)

    def move_parameters(self, xs: Sequence[TracedWeight], v: View) -> TracedWeight:
        shapes = [tuple(x.operand.values.shape) for x in xs]

        def element(at: Position) -> tuple[str | None, Position]:
            found = view_source(v, shapes, at)
            return (None, ()) if found is None else xs[found[0]].element(found[1])

        return TracedWeight(self.norms.move_parameters([x.operand for x in xs], v), element)

    def lift(self, p: TracedWeight) -> TracedField:
        label, op = self._here()
        return TracedField(self.norms.lift(p.operand), lambda at: PathStart(label, op, *p.element(at), p.factor(at)))

    # ---- signals

    def apply_weights(self, f: LinearMap, x: TracedField, w: TracedWeight) -> TracedField:
        result, here, values = self.norms.apply_weights(f, x.operand, w.operand), self._here(), w.operand.values.numpy()

        def back(at: Position) -> Backpointer:
            read, weights = linear_terms(f, x.operand.shape, values.shape, at)
            term, _ = heaviest(x.operand, read, values[weights])
            element = place(weights, term)
            step = PathStep(*here, *w.element(element), float(values[element]), at)
            return Backpointer(x, place(read, term), step)

        return TracedField(result, back)

    def combine(self, f: SeparableMap, x: TracedField) -> TracedField:
        return self._pooled(self.norms.combine(f, x.operand), f, x)

    def add_signals(self, x: TracedField, y: TracedField, axis: int | None) -> TracedField:
        return _sum(self.norms.add_signals(x.operand, y.operand, axis), x, y, axis)

    def scale_signal(self, x: TracedField, c: TracedWeight, axis: int | None, *, reciprocal: bool) -> TracedField:
        result = self.norms.scale_signal(x.operand, c.operand, axis, reciprocal=reciprocal)
        return self._scaled(result, x, c, axis, reciprocal)

    def multiply_signal(self, x: TracedField, c: float) -> TracedField:
        return self._scaled(self.norms.multiply_signal(x.operand, c), x, self._number(c))

    def activate(self, x: TracedField, f: Activation, *slopes: TracedWeight) -> TracedField:
        result = self.norms.activate(x.operand, f, *(slope.operand for slope in slopes))
        if slopes:
            (slope,) = slopes
            return self._scaled(result, x, TracedWeight(slope.operand.at_least(1.0), slope.element))
        if f.at_zero != 0:
            return _sum(result, x, self.lift(self._number(f.at_zero)))
        return self._scaled(result, x, self._number(f.lipschitz))

    def pool(self, x: TracedField, s: OrderStatistic) -> TracedField:
        return self._pooled(self.norms.pool(x.operand, s), s, x)

    def move_signals(self, xs: Sequence[TracedField], v: View) -> TracedField:
        result, here = self.norms.move_signals([x.operand for x in xs], v), self._here()
        shapes = [x.operand.shape for x in xs]

        def back(at: Position) -> Backpointer | PathStart:
            if (found := view_source(v, shapes, at)) is not None:
                return Backpointer(xs[found[0]], found[1], viewed=here[0])
            assert isinstance(v, Pad)
            return PathStart(*here, None, (), v.value)

        return TracedField(result, back)

    def _number(self, value: float) -> TracedWeight:
        return TracedWeight(self.norms.number(value), lambda at: (None, ()))

    def _pooled(self, result: Field, f: SeparableMap | OrderStatistic, source: TracedField) -> TracedField:
        here = self._here()

        def back(at: Position) -> Backpointer:
            read, coefficients = separable_terms(f, source.operand.shape, at)
            term, _ = heaviest(source.operand, read, coefficients)
            value = float(coefficients[broadcast_source(coefficients.shape, term)])
            return Backpointer(source, place(read, term), PathStep(*here, None, (), value, at))

        return TracedField(result, back)

    def _scaled(
        self, result: Field, source: TracedField, edges: TracedWeight, axis: int | None = None, reciprocal: bool = False
    ) -> TracedField:
        if result is source.operand:  # by a factor of 1
            return source
        here = self._here()

        def back(at: Position) -> Backpointer:
            element = broadcast_source(tuple(edges.operand.values.shape), at, axis)
            factor = edges.factor(element)
            step = PathStep(*here, *edges.element(element), 1.0 / factor if reciprocal else factor, at)
            return Backpointer(source, broadcast_source(source.operand.shape, at), step)

        return TracedField(result, back)


def _sum(result: Field, a: TracedField, b: TracedField, axis: int | None = None) -> TracedField:
    """Neurons that add up two signals; with `axis`, the second is a vector along it."""

    def back(at: Position) -> Backpointer:
        hops = (
            Backpointer(a, broadcast_source(a.operand.shape, at)),
            Backpointer(b, broadcast_source(b.operand.shape, at, axis)),
        )
        return max(hops, key=lambda hop: heaviest(hop.source.operand, hop.position)[1])

    return TracedField(result, back)


def _computed(result: Weight, first: TracedWeight) -> TracedWeight:
    """Parameters computed from others, elementwise; they go by the name of the first."""
    shape = tuple(first.operand.values.shape)
    return TracedWeight(result, lambda at: first.element(broadcast_source(shape, at)))
