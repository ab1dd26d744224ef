"""The path-norm algebra: what each primitive means when every path is counted once, with |weights|^q."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from pathlift.ir.algebras.numeric import along, as_tensor
from pathlift.ir.algebras.protocol import Algebra
from pathlift.ir.errors import InvalidModelError, UnsupportedError
from pathlift.ir.primitives.base import Activation, LinearMap, OrderStatistic, SeparableMap, View
from pathlift.ir.primitives.views import Pad
from pathlift.ir.types import Param, is_float
from pathlift.passes.fields import moves
from pathlift.passes.fields.combine import apply_pools, apply_separable
from pathlift.passes.fields.field import Field, plus, times
from pathlift.passes.fields.linear import apply_linear
from pathlift.passes.fields.power import Scratch
from pathlift.passes.fields.scaled import Scaled
from pathlift.passes.fields.semiring import Maxima, semiring
from pathlift.passes.fields.weight import TINY, Weight, moved_weights
from pathlift.passes.path_norm.rules import check_activation, check_padding

Pooling = Literal["sum", "max"]
Tensor = torch.Tensor
Operand = Field | Weight


class PathNormAlgebra(Algebra[Operand]):
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
        self.semiring = semiring(q)
        self.pools = Maxima() if pooling == "max" else self.semiring
        self.inputs_only, self.dtype, self.attribute = inputs_only, dtype, attribute
        self.device = device or torch.device("cpu")
        self.parameters = parameters or {}
        self.probes: dict[str, Tensor] = {}
        """By node; of the shape ``(1, group, out, 1)`` for linear maps, and of the factor for scalings."""
        self.bounded: dict[str, list[str]] = {}
        """Labels of activations that are no part of the theorem and were read as bounds, by op."""
        self._scratch = Scratch()

    # ---- parameters

    def param(self, p: Param) -> Operand:
        assert self.node is not None
        name = self.node.names[0]
        if name in self.parameters:
            live = self.parameters[name]
            if not bool(live.isfinite().all()):
                raise InvalidModelError("0180", f"tensor {name!r} holds values that are NaN or infinite")
            return Weight(live, finite=True)
        if not is_float(p.dtype):  # whoever uses it is refused: often for a reason of its own, which says more
            return Weight(torch.zeros((), dtype=torch.float64).expand(p.shape), integer=name)
        if p.non_finite:
            raise InvalidModelError("0180", f"tensor {name!r}: {p.non_finite} of {p.size} values are NaN or infinite")
        return Weight(as_tensor(p.numpy(), device=self.device), finite=True)

    def derive(self, f: Callable[..., Any], *params: Operand) -> Operand:
        weights = [self._weight(p) for p in params]
        values = f(*(w.accurate() for w in weights))
        if bool(((values.detach().abs() < TINY) & (weights[0].values != 0)).any()):
            raise UnsupportedError("0312", "a parameter that this node computes from its weights underflows")
        return Weight(values, roundings=8 + sum(w.roundings for w in weights))

    def _weight(self, operand: Operand) -> Weight:
        if isinstance(operand, Field):
            raise UnsupportedError("0311", "a parameter of this node is computed from the network's input")
        return operand

    def _edges(self, operand: Operand, scratch: Scratch | None = None) -> Scaled:
        return self._weight(operand).power(self.semiring.power, self.dtype, scratch)

    def _constant(self, value: float) -> Weight:
        return Weight(torch.tensor(value, dtype=torch.float64, device=self.device))

    def signal(self, operand: Operand) -> Field:
        """Read an operand as neurons: a parameter there is a bias, where paths start."""
        if isinstance(operand, Field):
            return operand
        return Field.plain(self._edges(Weight(torch.zeros_like(operand.checked())) if self.inputs_only else operand))

    # ---- primitives

    def linear(self, f: LinearMap, x: Operand, w: Operand | None = None) -> Operand:
        signal = self.signal(x)
        if w is not None:
            probe = (lambda y: y * self._probe(1, *y.shape[1:3], 1)) if self.attribute else None
            return apply_linear(f, signal, self._edges(w, self._scratch), self.semiring, probe)
        assert isinstance(f, SeparableMap)
        return apply_separable(f, signal, self.semiring)

    def add(self, x: Operand, y: Operand, axis: int | None = None) -> Operand:
        if isinstance(x, Weight) and isinstance(y, Weight):
            return x.plus(y, axis)
        a, b = self.signal(x), self.signal(y)
        if axis is not None:
            b = Field.plain(_along(b.value, axis, a.rank))
        return plus(a, b, self.semiring)

    def scale(self, x: Operand, c: Operand | float, axis: int | None = None, *, reciprocal: bool = False) -> Operand:
        if isinstance(c, float):
            if abs(c) == 1.0:
                return x if isinstance(x, Field) or c == 1.0 else replace(x, values=-x.checked())
            c = self._constant(c)
        if isinstance(x, Weight):
            return x.times(self._weight(c), axis, reciprocal=reciprocal)
        factor = self._weight(c)
        if reciprocal:
            factor = self._constant(1.0).times(factor, reciprocal=True)
        edges = self._edges(factor)
        if self.attribute:
            edges = replace(edges, m=edges.m * self._probe(*edges.m.shape))
        return times(x, Field.plain(edges if axis is None else _along(edges, axis, x.rank)))

    def gate(self, x: Operand, f: Activation, *params: Operand) -> Operand:
        signal = self.signal(x)
        if params:  # PRelu: per slope α, an edge of max(1, |α|)
            (slope,) = params
            return times(signal, Field.plain(self._edges(self._weight(slope).at_least(1.0))))
        if not check_activation(f):
            assert self.node is not None
            self.bounded.setdefault(f.name, []).append(self.node.label)
        if f.homogeneous and f.lipschitz != 1.0:
            signal = times(signal, Field.plain(self._edges(self._constant(f.lipschitz))))
        if f.at_zero != 0:
            signal = plus(signal, self.signal(self._constant(f.at_zero)), self.semiring)
        return signal

    def select(self, x: Operand, s: OrderStatistic) -> Operand:
        return apply_pools(s, self.signal(x), self.pools)

    def move(self, xs: Sequence[Operand], v: View) -> Operand:
        if all(isinstance(x, Weight) for x in xs):
            return moved_weights(v, [x for x in xs if isinstance(x, Weight)])
        moved = moves.move(v, [self.signal(x) for x in xs])
        if isinstance(v, Pad) and v.value != 0:
            check_padding(v)
            moved = plus(moved, self._border(v, self.signal(xs[0]).shape), self.semiring)
        return moved

    def _border(self, v: Pad, shape: tuple[int, ...]) -> Field:
        """The padding's constant, where paths start, and zero inside: along each axis there are two classes."""
        pads = list(zip(v.pads[: len(shape)], v.pads[len(shape) :], strict=True))
        corner = torch.full([2 if max(p) > 0 else 1 for p in pads], v.value, dtype=torch.float64, device=self.device)
        corner[(0,) * len(shape)] = 0
        border = self.signal(Weight(corner))
        for axis, (n, (begin, end)) in enumerate(zip(shape, pads, strict=True)):
            inside = np.zeros(n + min(begin, 0) + min(end, 0), np.int64)
            border = border.taken(axis, np.pad(inside, (max(begin, 0), max(end, 0)), constant_values=1))
        return border

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


def _along(vector: Scaled, axis: int, rank: int) -> Scaled:
    """View a vector so that it broadcasts along `axis` of a tensor of this rank."""
    return vector.moved(lambda t: along(t, axis, rank))
