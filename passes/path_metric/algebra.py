"""The algebra of two networks at once: what they have in common, and by how much each may be off it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from pathlift.ir.algebras.numeric import as_tensor
from pathlift.ir.algebras.two_sorted import TwoSorted
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Node
from pathlift.ir.primitives.base import Activation, LinearMap, OrderStatistic, SeparableMap, View
from pathlift.ir.types import Array, Param, is_float
from pathlift.passes.fields.field import Field, plus
from pathlift.passes.fields.scaled import Scaled
from pathlift.passes.fields.weight import Weight
from pathlift.passes.path_metric.weights import PairWeight, paired
from pathlift.passes.path_norm.algebra import PathNormAlgebra, Pooling

Tensor = torch.Tensor
Excess = tuple[Field | None, Field | None]
Move = Callable[[PathNormAlgebra, Field], Field]
Errors = tuple[Array | None, Array | None]
"""Of a parameter, in both networks; ``None`` where it is exact."""


@dataclass(frozen=True, eq=False)
class PairField:
    """A signal of two networks, and of the one between them that has the parameters w_∧.

    Parameters
    ----------
    common
        c ≥ |z_∧|, elementwise: of the network between them.
    excess
        E ≥ |z − z_∧|, of the first and of the second; ``None`` where it is 0 throughout.
    """

    common: Field
    excess: Excess = (None, None)


class PathMetricAlgebra(TwoSorted[PairWeight, PairField]):
    """Magnitudes of a network between two, and the distances of both to it; all terms are non-negative.

    Per edge u → v, c_v is the sum of |w_∧|·c_u, and E_v that of |w|·E_u + |w − w_∧|·c_u (docs/theory).

    Parameters
    ----------
    second
        The second network's parameters, by the name that they have in the first; what is left out is the same in both.
    pooling
        How pools combine: ``sum`` as path-norms do, or ``max``.
    attribute
        Whether to keep a probe (a factor 1) per node, on what starts there.
    errors
        How far parameters may be off what is meant, by the same names.
    """

    name: ClassVar[str] = "path-metric"
    parameter_type: ClassVar[type] = PairWeight

    def __init__(
        self,
        second: Mapping[str, Param],
        pooling: Pooling = "sum",
        attribute: bool = False,
        errors: Mapping[str, Errors] | None = None,
    ) -> None:
        self.second, self.attribute, self.uncertain = second, attribute, errors or {}
        self.norms = PathNormAlgebra(1.0, pooling)
        self.errors = PathNormAlgebra(1.0, pooling, inputs_only=True)
        """Carries excesses on: nothing that a node adds is theirs."""
        self.exceeds = [False, False]
        """Whether a parameter of the first, or of the second, has a larger magnitude or another sign."""
        self.probes: dict[str, tuple[Node, Tensor]] = {}
        """By node, what scales all that starts there."""

    def enter(self, node: Node) -> None:
        super().enter(node)
        self.norms.enter(node)
        self.errors.enter(node)

    # ---- parameters

    def param(self, p: Param) -> PairWeight:
        assert self.node is not None
        q = self.second.get(self.node.names[0], p)
        errors = self.uncertain.get(self.node.names[0], (None, None))
        first = self._off(self.norms.param(p), errors[0])
        exact = errors[0] is None and errors[1] is None
        same = exact and (p is q or not is_float(p.dtype) or bool((p.numpy() == q.numpy()).all()))
        return PairWeight(first, first if same else self._off(self.norms.param(q), errors[1]))

    def _off(self, w: Weight, error: Array | None) -> Weight:
        return w if error is None else replace(w, error=as_tensor(error, torch.float64))

    def derive_parameter(self, f: Callable[..., Any], params: Sequence[PairWeight]) -> PairWeight:
        return paired(lambda *ws: self.norms.derive_parameter(f, ws), *params)

    def add_parameters(self, x: PairWeight, y: PairWeight, axis: int | None) -> PairWeight:
        return paired(lambda a, b: self.norms.add_parameters(a, b, axis), x, y)

    def scale_parameter(self, x: PairWeight, c: PairWeight, axis: int | None, *, reciprocal: bool) -> PairWeight:
        return paired(lambda a, b: self.norms.scale_parameter(a, b, axis, reciprocal=reciprocal), x, c)

    def multiply_parameter(self, x: PairWeight, c: float) -> PairWeight:
        return paired(lambda a: self.norms.multiply_parameter(a, c), x)

    def move_parameters(self, xs: Sequence[PairWeight], v: View) -> PairWeight:
        return paired(lambda *ws: self.norms.move_parameters(ws, v), *xs)

    def lift(self, p: PairWeight) -> PairField:
        started = [None if e is None else self._probed(self.norms.lift(e)) for e in self._excess(p)]
        return PairField(self.norms.lift(p.common), (started[0], started[1]))

    # ---- signals

    def apply_weights(self, f: LinearMap, x: PairField, w: PairWeight) -> PairField:
        return self._weighted(x, w, lambda algebra, y, edges: algebra.apply_weights(f, y, edges))

    def scale_signal(self, x: PairField, c: PairWeight, axis: int | None, *, reciprocal: bool) -> PairField:
        if reciprocal:
            c = paired(lambda a: self.norms.number(1.0).times(a, reciprocal=True), c)
        return self._weighted(x, c, lambda algebra, y, edges: algebra.scale_signal(y, edges, axis, reciprocal=False))

    def add_signals(self, x: PairField, y: PairField, axis: int | None) -> PairField:
        common = self.norms.add_signals(x.common, y.common, axis)
        return PairField(common, self._together([x, y], lambda xs: self.errors.add_signals(xs[0], xs[1], axis)))

    def combine(self, f: SeparableMap, x: PairField) -> PairField:
        return self._each(x, lambda algebra, y: algebra.combine(f, y))

    def multiply_signal(self, x: PairField, c: float) -> PairField:
        return self._each(x, lambda algebra, y: algebra.multiply_signal(y, c))

    def pool(self, x: PairField, s: OrderStatistic) -> PairField:
        return self._each(x, lambda algebra, y: algebra.pool(y, s))

    def move_signals(self, xs: Sequence[PairField], v: View) -> PairField:
        common = self.norms.move_signals([x.common for x in xs], v)
        return PairField(common, self._together(xs, lambda ys: self.errors.move_signals(ys, v)))

    def activate(self, x: PairField, f: Activation, *slopes: PairWeight) -> PairField:
        if not all(slope.same for slope in slopes):
            reason = "the slopes of a PRelu differ, and are no factors of paths"
            raise UnsupportedError("1389", reason, hint="a bound that is no path metric may take them in")
        y = self._each(x, lambda algebra, z: algebra.activate(z, f, *(slope.first for slope in slopes)))
        if f.name != "FakeQuantize":
            return y
        assert self.node is not None
        half = self.norms.lift(self.norms.number(float(self.node.attrs["scale"]) / 2))  # type: ignore[arg-type]  # an attribute has the type that its op gives it
        if x.excess == (None, None):  # the network between them rounds alike
            return replace(y, common=self._plus(y.common, half))
        first, second = (self._plus(_zeros(y.common) if e is None else e, self._probed(half)) for e in y.excess)
        return replace(y, excess=(first, second))

    # ---- what all of them are made of

    def _each(self, x: PairField, f: Move) -> PairField:
        first, second = (None if e is None else f(self.errors, e) for e in x.excess)
        return PairField(f(self.norms, x.common), (first, second))

    def _weighted(self, x: PairField, w: PairWeight, f: Callable[[PathNormAlgebra, Field, Weight], Field]) -> PairField:
        """Apply edges: what was off stays so, and what the edges differ by is added."""
        excess: list[Field | None] = []
        for carried, edges, beyond in zip(x.excess, (w.first, w.second), self._excess(w), strict=True):
            old = None if carried is None else f(self.errors, carried, edges)
            new = None if beyond is None else self._probed(f(self.norms, x.common, beyond))
            excess.append(old if new is None else new if old is None else self._plus(old, new))
        return PairField(f(self.norms, x.common, w.common), (excess[0], excess[1]))

    def _plus(self, x: Field, y: Field) -> Field:
        return plus(x, y, self.norms.semiring)

    def _excess(self, w: PairWeight) -> tuple[Weight | None, Weight | None]:
        first, second = w.excess
        self.exceeds = [self.exceeds[0] or first is not None, self.exceeds[1] or second is not None]
        return first, second

    def _together(self, xs: Sequence[PairField], f: Callable[[Sequence[Field]], Field]) -> Excess:
        """What becomes of the excesses where several signals meet; where one has none, it is zeros."""
        result: list[Field | None] = []
        for side in (0, 1):
            found = [x.excess[side] for x in xs]
            filled = [_zeros(x.common) if e is None else e for x, e in zip(xs, found, strict=True)]
            result.append(None if all(e is None for e in found) else f(filled))
        return result[0], result[1]

    def _probed(self, x: Field) -> Field:
        """What starts at the present node, through a factor 1."""
        if not self.attribute:
            return x
        assert self.node is not None
        one = torch.ones((), dtype=torch.float64, requires_grad=True)
        _, probe = self.probes.setdefault(self.node.names[0], (self.node, one))
        return Field(replace(x.value, m=x.value.m * probe), x.labels)


def _zeros(like: Field) -> Field:
    return Field(Scaled(torch.zeros_like(like.value.m)), like.labels)
