"""The algebra of the heaviest path: every value knows, element by element, where its largest term comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

import torch

from pathlift.ir.algebras.protocol import Algebra
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


Operand = Neurons | Edges


class HeaviestPathAlgebra(Algebra[Operand]):
    """The path-norm algebra for q = ∞, with the way back.

    Parameters
    ----------
    inputs_only
        Leave out the paths that start at a bias.
    """

    name: ClassVar[str] = "heaviest-path"

    def __init__(self, inputs_only: bool = False) -> None:
        self.norms = PathNormAlgebra(inf, inputs_only=inputs_only)

    def enter(self, node: Node) -> None:
        super().enter(node)
        self.norms.enter(node)

    # ---- operands

    def input(self, name: str, shape: Position) -> Neurons:
        """A graph input: every element of it starts a path."""
        ones = Field.ones(shape, self.norms.dtype, self.norms.device)
        return Neurons(ones, lambda at: PathStart(name, "Input", None, at, 1.0))

    def param(self, p: Param) -> Operand:
        assert self.node is not None
        name = self.node.names[0]
        return Edges(_weight(self.norms.param(p)), lambda at: (name, at))

    def derive(self, f: Callable[..., Any], *params: Operand) -> Operand:
        return Edges(_weight(self.norms.derive(f, *(p.held for p in params))), _edges(params[0]).element)

    def signal(self, operand: Operand) -> Neurons:
        """Read an operand as neurons: a parameter there is a bias of the present node, where paths start."""
        if isinstance(operand, Neurons):
            return operand
        label, op = self._here()
        return Neurons(
            self.norms.signal(operand.held),
            lambda at: PathStart(label, op, *operand.element(at), operand.factor(at)),
        )

    def _here(self) -> tuple[str, str]:
        assert self.node is not None
        return self.node.label, self.node.op

    # ---- primitives

    def linear(self, f: LinearMap, x: Operand, w: Operand | None = None) -> Operand:
        source, here = self.signal(x), self._here()
        if w is None:
            assert isinstance(f, SeparableMap)
            return self._pooled(_field(self.norms.linear(f, source.held)), f, source)
        held = _field(self.norms.linear(f, source.held, w.held))
        edges, values = _edges(w), _edges(w).held.values.numpy()

        def back(at: Position) -> Hop:
            read, weights = linear_terms(f, source.held.shape, values.shape, at)
            term, _ = heaviest(source.held, read, values[weights])
            element = place(weights, term)
            step = PathStep(*here, *edges.element(element), float(values[element]), at)
            return Hop(source, place(read, term), step)

        return Neurons(held, back)

    def add(self, x: Operand, y: Operand, axis: int | None = None) -> Operand:
        if isinstance(x, Edges) and isinstance(y, Edges):
            return _computed(self.norms.add(x.held, y.held, axis), x)
        a, b = self.signal(x), self.signal(y)
        return _sum(_field(self.norms.add(a.held, b.held, axis)), a, b, axis)

    def scale(self, x: Operand, c: Operand | float, axis: int | None = None, *, reciprocal: bool = False) -> Operand:
        edges = _constant(c) if isinstance(c, float) else c
        held = self.norms.scale(x.held, c if isinstance(c, float) else c.held, axis, reciprocal=reciprocal)
        if isinstance(x, Edges):
            return _computed(held, x)
        return self._scaled(_field(held), x, _edges(edges), axis, reciprocal)

    def gate(self, x: Operand, f: Activation, *params: Operand) -> Operand:
        source = self.signal(x)
        held = _field(self.norms.gate(source.held, f, *(p.held for p in params)))
        if params:
            (slope,) = map(_edges, params)
            gain = Weight(slope.held.wide().abs().clamp(min=1.0), finite=True)
            return self._scaled(held, source, Edges(gain, slope.element))
        if f.at_zero != 0:
            return _sum(held, source, self.signal(_constant(f.at_zero)))
        return self._scaled(held, source, _constant(f.lipschitz))

    def select(self, x: Operand, s: OrderStatistic) -> Operand:
        source = self.signal(x)
        return self._pooled(_field(self.norms.select(source.held, s)), s, source)

    def move(self, xs: Sequence[Operand], v: View) -> Operand:
        edges = [x for x in xs if isinstance(x, Edges)]
        if len(edges) == len(xs):
            return _moved_edges(_weight(self.norms.move([x.held for x in xs], v)), v, edges)
        sources, here = [self.signal(x) for x in xs], self._here()
        held = _field(self.norms.move([x.held for x in sources], v))
        shapes = [x.held.shape for x in sources]

        def back(at: Position) -> Hop | PathStart:
            if (found := view_source(v, shapes, at)) is not None:
                return Hop(sources[found[0]], found[1], viewed=here[0])
            assert isinstance(v, Pad)
            return PathStart(*here, None, (), v.value)

        return Neurons(held, back)

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


def _constant(value: float) -> Edges:
    return Edges(Weight(torch.tensor(value, dtype=torch.float64), finite=True), lambda at: (None, ()))


def _computed(held: Field | Weight, first: Edges) -> Edges:
    """Parameters computed from others, elementwise; they go by the name of the first."""
    shape = tuple(first.held.values.shape)
    return Edges(_weight(held), lambda at: first.element(broadcast_source(shape, at)))


def _moved_edges(held: Weight, v: View, edges: Sequence[Edges]) -> Edges:
    shapes = [tuple(x.held.values.shape) for x in edges]

    def element(at: Position) -> tuple[str | None, Position]:
        found = view_source(v, shapes, at)
        return (None, ()) if found is None else edges[found[0]].element(found[1])

    return Edges(held, element)


def _field(held: Field | Weight) -> Field:
    assert isinstance(held, Field)
    return held


def _weight(held: Field | Weight) -> Weight:
    assert isinstance(held, Weight)
    return held


def _edges(operand: Operand) -> Edges:
    assert isinstance(operand, Edges)
    return operand
