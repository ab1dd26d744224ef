"""Non-negative fields through the primitives: the half that analyses over a semiring have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pathlift.ir.algebras.numeric import along, as_tensor
from pathlift.ir.primitives.base import LinearMap, OrderStatistic, SeparableMap, View
from pathlift.ir.primitives.views import Pad
from pathlift.ir.types import Param, is_float, not_finite
from pathlift.passes.fields import moves
from pathlift.passes.fields.combine import apply_pools, apply_separable
from pathlift.passes.fields.field import Field, plus, times
from pathlift.passes.fields.linear import apply_linear
from pathlift.passes.fields.power import Scratch
from pathlift.passes.fields.scaled import Scaled
from pathlift.passes.fields.semiring import Semiring
from pathlift.passes.fields.weight import Weight
from pathlift.passes.fields.weight_parameters import WeightParameters


class FieldAlgebra(WeightParameters[Field]):
    """Weights become non-negative edges, which multiply; what meets is combined in a semiring.

    Analyses differ in what activations do (`activate`, which a subclass must give), and may differ in what the elements
    of a parameter become (`edges`; `factor` where they scale, `lift` where they are added) and in what a pool combines
    to (`pools`).

    Parameters
    ----------
    semiring
        What becomes of values that meet, and what parameters are raised to.
    dtype, device
        Of mantissas, float32 or float64, and where they live.
    """

    def __init__(
        self, semiring: Semiring, dtype: torch.dtype = torch.float64, device: torch.device | None = None
    ) -> None:
        self.semiring = semiring
        self.pools = semiring
        """What becomes of the values of a pool."""
        self.dtype, self.device = dtype, device or torch.device("cpu")
        self._scratch = Scratch()

    def edges(self, p: Weight, scratch: Scratch | None = None) -> Scaled:
        """What the elements of a parameter become; the result may live in `scratch`."""
        return p.power(self.semiring.power, self.dtype, scratch)

    def factor(self, c: Weight) -> Scaled:
        """What a scaling multiplies by."""
        return self.edges(c)

    # ---- parameters

    def param(self, p: Param) -> Weight:
        assert self.node is not None
        name = self.node.names[0]
        if not is_float(p.dtype):  # whoever uses it is refused: often for a reason of its own, which says more
            return Weight(torch.zeros((), dtype=torch.float64).expand(p.shape), integer=name)
        if p.non_finite:
            raise not_finite(name, p.numpy())
        return Weight(as_tensor(p.numpy(), device=self.device), finite=True)

    def lift(self, p: Weight) -> Field:
        return Field.plain(self.edges(p))

    # ---- signals

    def apply_weights(self, f: LinearMap, x: Field, w: Weight) -> Field:
        return apply_linear(f, x, self.edges(w, self._scratch), self.semiring)

    def combine(self, f: SeparableMap, x: Field) -> Field:
        return apply_separable(f, x, self.semiring)

    def add_signals(self, x: Field, y: Field, axis: int | None) -> Field:
        return plus(x, y if axis is None else _along(y.expanded().value, axis, x.rank), self.semiring)

    def scale_signal(self, x: Field, c: Weight, axis: int | None, *, reciprocal: bool) -> Field:
        factor = self.factor(self.number(1.0).times(c, reciprocal=True) if reciprocal else c)
        return times(x, Field.plain(factor) if axis is None else _along(factor, axis, x.rank))

    def multiply_signal(self, x: Field, c: float) -> Field:
        return x if abs(c) == 1.0 else times(x, Field.plain(self.factor(self.number(c))))

    def pool(self, x: Field, s: OrderStatistic) -> Field:
        return apply_pools(s, x, self.pools)

    def move_signals(self, xs: Sequence[Field], v: View) -> Field:
        moved = moves.move(v, xs)
        return plus(moved, self._border(v, xs[0].shape), self.semiring) if isinstance(v, Pad) and v.value else moved

    def _border(self, v: Pad, shape: tuple[int, ...]) -> Field:
        """The padding's constant, lifted, and zero inside: along each axis there are two classes."""
        pads = list(zip(v.pads[: len(shape)], v.pads[len(shape) :], strict=True))
        corner = torch.full([2 if max(p) > 0 else 1 for p in pads], v.value, dtype=torch.float64, device=self.device)
        corner[(0,) * len(shape)] = 0
        border = self.lift(Weight(corner))
        for axis, (n, (begin, end)) in enumerate(zip(shape, pads, strict=True)):
            inside = np.zeros(n + min(begin, 0) + min(end, 0), np.int64)
            border = border.taken(axis, np.pad(inside, (max(begin, 0), max(end, 0)), constant_values=1))
        return border


def _along(vector: Scaled, axis: int, rank: int) -> Field:
    """View a vector so that it broadcasts along `axis` of a tensor of this rank."""
    return Field.plain(vector.moved(lambda t: along(t, axis, rank)))
