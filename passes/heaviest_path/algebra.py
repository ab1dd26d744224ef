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
class Hop:
    """One way back: to an element of another value, over an edge or (``None``) as it is.

    Where a node rearranges what it computed, `viewed` is its name.
    """

    source: Neurons
    position: Position
    step: PathStep | None = None
    viewed: str = ""


@dataclass(frozen=True, eq=False)
class Neurons:
    """A signal: the largest product of a path to each element, and for every element that is not 0 the way back."""

    held: Field
    back: Callable[[Position], Hop | PathStart]


@dataclass(frozen=True, eq=False)
class Edges:
    """Parameters: their values, and for each element the name of the tensor and the element in it, if it is of one."""

    held: Weight
    element: Callable[[Position], tuple[str | None, Position]]

    def factor(self, at: Position) -> float:
        """The value of an element."""
        return float(self.held.values[at])


class HeaviestPathAlgebra(TwoSorted[Edges, Neurons]):
    """The path-norm algebra for q = ∞, with the way back.

    Parameters
    ----------
    inputs_only
        Leave out the paths that start at a bias.
    """

    name: ClassVar[str] = "heaviest-path"
    parameter_type: ClassVar[type] = Edges

    def __init__(self, inputs_only: bool = False) -> None:
        self.norms = PathNormAlgebra(inf, inputs_only=inputs_only)

    def enter(self, node: Node) -> None:
        super().enter(node)
        self.norms.enter(node)

    def _here(self) -> tuple[str, str]:
        assert self.node is not None
        return self.node.label, self.node.op

    def input(self, name: str, shape: Position) -> Neurons:
        """A graph input: every element of it starts a path."""
        ones = Field.ones(shape, self.norms.dtype, self.norms.device)
        return Neurons(ones, lambda at: PathStart(name, "Input", None, at, 1.0))

    # ---- parameters: what is computed elementwise goes by the name of the first

    def param(self, p: Param) -> Edges:
        assert self.node is not None
        name = self.node.names[0]
        return Edges(self.norms.param(p), lambda at: (name, at))

    def derive_parameter(self, f: Callable[..., Any], params: Sequence[Edges]) -> Edges:
        return Edges(self.norms.derive_parameter(f, [p.held for p in params]), params[0].element)

    def add_parameters(self, x: Edges, y: Edges, axis: int | None) -> Edges:
        return _computed(self.norms.add_parameters(x.held, y.held, axis), x)

    def scale_parameter(self, x: Edges, c: Edges, axis: int | None, *, reciprocal: bool) -> Edges:
        return _computed(self.norms.scale_parameter(x.held, c.held, axis, reciprocal=reciprocal), x)

    def multiply_parameter(self, x: Edges, c: float) -> Edges:
        return _computed(self.norms.multiply_parameter(x.held, c), x)

    def move_parameters(self, xs: Sequence[Edges], v: View) -> Edges:
        shapes = [tuple(x.held.values.shape) for x in xs]

        def element(at: Position) -> tuple[str | None, Position]:
            found = view_source(v, shapes, at)
            return (None, ()) if found is None else xs[found[0]].element(found[1])

        return Edges(self.norms.move_parameters([x.held for x in xs], v), element)

    def lift(self, p: Edges) -> Neurons:
        label, op = self._here()
        return Neurons(self.norms.lift(p.held), lambda at: PathStart(label, op, *p.element(at), p.factor(at)))

    # ---- signals

    def apply_weights(self, f: LinearMap, x: Neurons, w: Edges) -> Neurons:
        held, here, values = self.norms.apply_weights(f, x.held, w.held), self._here(), w.held.values.numpy()

        def back(at: Position) -> Hop:
            read, weights = linear_terms(f, x.held.shape, values.shape, at)
            term, _ = heaviest(x.held, read, values[weights])
            element = place(weights, term)
            step = PathStep(*here, *w.element(element), float(values[element]), at)
            return Hop(x, place(read, term), step)

        return Neurons(held, back)

    def combine(self, f: SeparableMap, x: Neurons) -> Neurons:
        return self._pooled(self.norms.combine(f, x.held), f, x)

    def add_signals(self, x: Neurons, y: Neurons, axis: int | None) -> Neurons:
        return _sum(self.norms.add_signals(x.held, y.held, axis), x, y, axis)

    def scale_signal(self, x: Neurons, c: Edges, axis: int | None, *, reciprocal: bool) -> Neurons:
        held = self.norms.scale_signal(x.held, c.held, axis, reciprocal=reciprocal)
        return self._scaled(held, x, c, axis, reciprocal)

    def multiply_signal(self, x: Neurons, c: float) -> Neurons:
        return self._scaled(self.norms.multiply_signal(x.held, c), x, self._number(c))

    def activate(self, x: Neurons, f: Activation, *slopes: Edges) -> Neurons:
        held = self.norms.activate(x.held, f, *(slope.held for slope in slopes))
        if slopes:
            (slope,) = slopes
            return self._scaled(held, x, Edges(slope.held.at_least(1.0), slope.element))
        if f.at_zero != 0:
            return _sum(held, x, self.lift(self._number(f.at_zero)))
        return self._scaled(held, x, self._number(f.lipschitz))

    def pool(self, x: Neurons, s: OrderStatistic) -> Neurons:
        return self._pooled(self.norms.pool(x.held, s), s, x)

    def move_signals(self, xs: Sequence[Neurons], v: View) -> Neurons:
        held, here = self.norms.move_signals([x.held for x in xs], v), self._here()
        shapes = [x.held.shape for x in xs]

        def back(at: Position) -> Hop | PathStart:
            if (found := view_source(v, shapes, at)) is not None:
                return Hop(xs[found[0]], found[1], viewed=here[0])
            assert isinstance(v, Pad)
            return PathStart(*here, None, (), v.value)

        return Neurons(held, back)

    def _number(self, value: float) -> Edges:
        return Edges(self.norms.number(value), lambda at: (None, ()))

    def _pooled(self, held: Field, f: SeparableMap | OrderStatistic, source: Neurons) -> Neurons:
        here = self._here()

        def back(at: Position) -> Hop:
            read, coefficients = separable_terms(f, source.held.shape, at)
            term, _ = heaviest(source.held, read, coefficients)
            value = float(coefficients[broadcast_source(coefficients.shape, term)])
            return Hop(source, place(read, term), PathStep(*here, None, (), value, at))

        return Neurons(held, back)

    def _scaled(
        self, held: Field, source: Neurons, edges: Edges, axis: int | None = None, reciprocal: bool = False
    ) -> Neurons:
        if held is source.held:  # by a factor of 1
            return source
        here = self._here()

        def back(at: Position) -> Hop:
            element = broadcast_source(tuple(edges.held.values.shape), at, axis)
            factor = edges.factor(element)
            step = PathStep(*here, *edges.element(element), 1.0 / factor if reciprocal else factor, at)
            return Hop(source, broadcast_source(source.held.shape, at), step)

        return Neurons(held, back)


def _sum(held: Field, a: Neurons, b: Neurons, axis: int | None = None) -> Neurons:
    """Neurons that add up two signals; with `axis`, the second is a vector along it."""

    def back(at: Position) -> Hop:
        hops = Hop(a, broadcast_source(a.held.shape, at)), Hop(b, broadcast_source(b.held.shape, at, axis))
        return max(hops, key=lambda hop: heaviest(hop.source.held, hop.position)[1])

    return Neurons(held, back)


def _computed(held: Weight, first: Edges) -> Edges:
    """Parameters computed from others, elementwise; they go by the name of the first."""
    shape = tuple(first.held.values.shape)
    return Edges(held, lambda at: first.element(broadcast_source(shape, at)))
