"""The path-norm algebra: what each primitive means when every path is counted once, with |weights|^q."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch

from pathlift.ir.primitives.base import Activation, LinearMap, View
from pathlift.ir.primitives.views import Pad
from pathlift.ir.types import Param, not_finite
from pathlift.passes.fields.algebra import FieldAlgebra
from pathlift.passes.fields.field import Field, plus, times
from pathlift.passes.fields.linear import apply_linear
from pathlift.passes.fields.scaled import Scaled
from pathlift.passes.fields.semiring import Maxima, semiring
from pathlift.passes.fields.weight import Weight
from pathlift.passes.path_norm.rules import check_activation, check_padding

Pooling = Literal["sum", "max"]
Tensor = torch.Tensor


class PathNormAlgebra(FieldAlgebra):
    """Sum over paths of the q-th power of the product of their weights; for q = ∞, the largest product.

    Parameters
    ----------
    q
        In [0, ∞].
    pooling
        ``sum`` for the path-norm; ``max`` reads pools as maxima, which bounds magnitudes and Lipschitz constants.
    inputs_only
        Leave out the paths that start at a bias.
    dtype, device
        Of mantissas, float32 or float64, and where they live.
    attribute
        Whether to keep a probe (factors 1) per node with weights, for the shares of the norm that pass there.
    parameters
        Tensors that take the place of the graph's own parameters, by name: for gradients.
    """

    name: ClassVar[str] = "path-norm"

    def __init__(
        self,
        q: float,
        pooling: Pooling = "sum",
        inputs_only: bool = False,
        dtype: torch.dtype = torch.float64,
        attribute: bool = False,
        device: torch.device | None = None,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(semiring(q), dtype, device)
        self.q, self.pooling, self.inputs_only, self.attribute = q, pooling, inputs_only, attribute
        self.pools = Maxima() if pooling == "max" else self.semiring
        self.parameters = parameters or {}
        self.probes: dict[str, Tensor] = {}
        """By node; of the shape ``(1, group, out, 1)`` for linear maps, and of the factor for scalings."""
        self.bounded: dict[str, list[str]] = {}
        """Labels of activations that are no part of the theorem and were read as bounds, by op."""

    def param(self, p: Param) -> Weight:
        assert self.node is not None
        name = self.node.names[0]
        if name not in self.parameters:
            return super().param(p)
        live = self.parameters[name]
        if not bool(live.isfinite().all()):
            raise not_finite(name, live.detach().cpu().numpy())
        return Weight(live, finite=True)

    def lift(self, p: Weight) -> Field:
        return super().lift(Weight(torch.zeros_like(p.checked())) if self.inputs_only else p)

    def apply_weights(self, f: LinearMap, x: Field, w: Weight) -> Field:
        if not self.attribute:
            return super().apply_weights(f, x, w)
        return apply_linear(f, x, self.edges(w), self.semiring, lambda y: y * self._probe(1, *y.shape[1:3], 1))

    def factor(self, c: Weight) -> Scaled:
        edges = super().factor(c)
        return replace(edges, m=edges.m * self._probe(*edges.m.shape)) if self.attribute else edges

    def activate(self, x: Field, f: Activation, *slopes: Weight) -> Field:
        if slopes:  # PRelu: per slope α, an edge of max(1, |α|)
            (slope,) = slopes
            return times(x, Field.plain(self.edges(slope.at_least(1.0))))
        if not check_activation(f):
            assert self.node is not None
            self.bounded.setdefault(f.name, []).append(self.node.label)
        if f.homogeneous and f.lipschitz != 1.0:
            x = times(x, Field.plain(self.edges(self.number(f.lipschitz))))
        if f.at_zero != 0:
            x = plus(x, self.lift(self.number(f.at_zero)), self.semiring)
        return x

    def move_signals(self, xs: Sequence[Field], v: View) -> Field:
        if isinstance(v, Pad):
            check_padding(v)
        return super().move_signals(xs, v)

    def _probe(self, *shape: int) -> Tensor:
        """Factors 1, through which the node's share of the norm is found."""
        assert self.node is not None
        ones = torch.ones(shape, dtype=self.dtype, device=self.device, requires_grad=True)
        return self.probes.setdefault(self.node.names[0], ones)

    def caveats(self) -> list[str]:
        """What a reader of the norm must know about activations that were read as bounds."""
        lines = []
        for op, labels in self.bounded.items():
            where = f"{labels[0]!r}" + (f" and {len(labels) - 1} more" if len(labels) > 1 else "")
            if op == "FakeQuantize":
                lines.append(f"activation quantizers ({where}) are read as the identity: their rounding is not covered")
            else:
                lines.append(f"{op} ({where}) is read as a ReLU: an upper bound for Lipschitz purposes, not ‖Φ‖")
        return lines
