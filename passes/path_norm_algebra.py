"""The path-norm algebra: what each primitive means when every path is counted once, with |weights|^q."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, ClassVar, Literal

import torch

from pathlift.ir.algebra import Algebra
from pathlift.ir.errors import InvalidModelError, UnsupportedError
from pathlift.ir.numeric import along, as_tensor
from pathlift.ir.primitives import Activation, LinearMap, OrderStatistic, View
from pathlift.ir.types import Param, is_float
from pathlift.ir.views import Pad
from pathlift.passes import scaled_moves
from pathlift.passes.alignment import apply_linear
from pathlift.passes.path_norm_rules import check_activation
from pathlift.passes.scaled import Scaled, Tensor
from pathlift.passes.weight import Weight, moved_weights

MINUS_INFINITY = 1e30
"""Constants this large stand for an infinity (the lowest float32 before a max-pool), not for a bias."""
Pooling = Literal["sum", "max"]


Operand = Scaled | Weight


class PathNormAlgebra(Algebra[Operand]):
    """Sum over paths of the q-th power of the product of their weights.

    Parameters
    ----------
    q
        In (0, ∞).
    pooling
        ``sum`` for the path-norm; ``max`` reads pools as maxima, which bounds magnitudes and Lipschitz constants.
    inputs_only
        Leave out the paths that start at a bias.
    dtype
        Of mantissas, float32 or float64.
    attribute
        Whether to keep a probe (a factor 1) per node with weights, for the share of the norm that passes there.
    """

    name: ClassVar[str] = "path-norm"

    def __init__(
        self, q: float, pooling: Pooling, inputs_only: bool, dtype: torch.dtype = torch.float64, attribute: bool = False
    ) -> None:
        self.q, self.pooling, self.inputs_only, self.dtype, self.attribute = q, pooling, inputs_only, dtype, attribute
        self.probes: dict[str, Tensor] = {}
        self.bounded: dict[str, list[str]] = {}
        """Labels of activations that are no part of the theorem and were read as bounds, by op."""

    # ---- parameters

    def param(self, p: Param) -> Operand:
        assert self.node is not None
        if not is_float(p.dtype):  # whoever uses it is refused: often for a reason of its own, which says more
            return Weight(torch.zeros((), dtype=torch.float64).expand(p.shape), integer=self.node.names[0])
        if p.non_finite:
            name = self.node.names[0]
            raise InvalidModelError("0180", f"tensor {name!r}: {p.non_finite} of {p.size} values are NaN or infinite")
        return Weight(as_tensor(p.numpy(), torch.float64), finite=True)

    def derive(self, f: Callable[..., Any], *params: Operand) -> Operand:
        return Weight(f(*(self._weight(p).checked() for p in params)), roundings=8)

    def _weight(self, operand: Operand) -> Weight:
        if isinstance(operand, Scaled):
            raise UnsupportedError("0311", "a parameter of this node is computed from the network's input")
        return operand

    def _power(self, operand: Operand) -> Scaled:
        return self._weight(operand).power(self.q, self.dtype)

    def signal(self, operand: Operand) -> Scaled:
        """Read an operand as neurons: a parameter there is a bias, where paths start."""
        if isinstance(operand, Scaled):
            return operand
        return self._power(Weight(torch.zeros_like(operand.checked())) if self.inputs_only else operand)

    # ---- primitives

    def linear(self, f: LinearMap, x: Operand, w: Operand | None = None) -> Operand:
        signal = self.signal(x)
        if w is None:
            return self._fixed(f, signal)
        values, roundings = self._weight(w).bounded(self.q, self.dtype)
        y = apply_linear(f, signal, values, self.q)
        return self._probed(Scaled(y.m, y.e, y.roundings + roundings))

    def _fixed(self, f: LinearMap, x: Scaled) -> Scaled:
        """A map without parameters (average pool, mean, resize): its coefficients are edges too."""
        axes = f.mixed_axes(x.rank)
        x = x.aligned(axes)
        # In float64 also for float32 mantissas: 1/512² to the power 8 is no float32.
        y = f(x.m.double(), q=self.q)
        if self.q > 8 and bool((f(torch.ones_like(x.m, dtype=torch.float64), q=self.q) < 2.0**-60).any()):
            raise UnsupportedError("0317", f"the coefficients of this map vanish at q = {self.q:g}", hint="a smaller q")
        e = x.e if y.ndim == x.rank else x.e.squeeze(axes)
        coefficients = (ceil(self.q) + 8) * max(1, len(axes))
        scaled = Scaled(y, e, x.roundings + _additions(x, y, axes) + coefficients).normalized()
        return Scaled(scaled.m.to(self.dtype), scaled.e, scaled.roundings + 1).normalized()

    def add(self, x: Operand, y: Operand, axis: int | None = None) -> Operand:
        if isinstance(x, Weight) and isinstance(y, Weight):
            return x.plus(y, axis)
        a, b = self.signal(x), self.signal(y)
        if axis is not None:
            b = Scaled(along(b.m, axis, a.rank), along(b.e, axis, a.rank), b.roundings)
        return a + b

    def scale(self, x: Operand, c: Operand | float, axis: int | None = None, *, reciprocal: bool = False) -> Operand:
        if isinstance(c, float):
            if isinstance(x, Scaled) and abs(c) == 1.0:
                return x
            c = Weight(torch.tensor(c, dtype=torch.float64))
        if isinstance(x, Weight):
            return x.times(self._weight(c), axis, reciprocal=reciprocal)
        one = Weight(torch.ones([1] * x.rank, dtype=torch.float64))
        return self._probed(x.times(self._power(one.times(self._weight(c), axis, reciprocal=reciprocal))))

    def gate(self, x: Operand, f: Activation, *params: Operand) -> Operand:
        signal = self.signal(x)
        if params:  # PRelu: per slope α, an edge of max(1, |α|)
            (slope,) = params
            edges = self._power(Weight(self._weight(slope).checked().abs().clamp(min=1.0)))
            return signal.times(edges)
        if not check_activation(f):
            assert self.node is not None
            self.bounded.setdefault(f.name, []).append(self.node.label)
        if f.homogeneous and f.lipschitz != 1.0:
            signal = signal.times(self._power(Weight(torch.tensor(f.lipschitz, dtype=torch.float64))))
        if f.at_zero != 0:
            signal = signal + self.signal(Weight(torch.tensor(f.at_zero, dtype=torch.float64)))
        return signal

    def select(self, x: Operand, s: OrderStatistic) -> Operand:
        signal = self.signal(x)
        axes = s.mixed_axes(signal.rank)
        signal = signal.aligned(axes)
        y = s.pool_sum(signal.m) if self.pooling == "sum" else s.pool_max(signal.m)
        e = signal.e if y.ndim == signal.rank else signal.e.squeeze(axes)
        return Scaled(y, e, signal.roundings + _additions(signal, y, axes)).normalized()

    def move(self, xs: Sequence[Operand], v: View) -> Operand:
        if all(isinstance(x, Weight) for x in xs):
            return moved_weights(v, [x for x in xs if isinstance(x, Weight)])
        moved = scaled_moves.move(v, [self.signal(x) for x in xs])
        if isinstance(v, Pad) and v.value != 0:
            if not abs(v.value) < MINUS_INFINITY:
                raise UnsupportedError(
                    "0316", f"padding with {v.value:g}", hint="padding before a max-pool belongs into the pool"
                )
            border = Pad(v.pads, 1.0)(torch.zeros_like(self.signal(xs[0]).m, dtype=torch.float64))
            moved = moved + self.signal(Weight(border * v.value))
        return moved

    def _probed(self, y: Scaled) -> Scaled:
        """Multiply by the node's probe, through which its share is found."""
        if not self.attribute:
            return y
        assert self.node is not None
        probe = self.probes.setdefault(self.node.names[0], torch.ones((), dtype=self.dtype, requires_grad=True))
        return Scaled(y.m * probe, y.e, y.roundings)

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


def _additions(x: Scaled, y: Tensor, axes: Sequence[int]) -> int:
    """The most additions a term meets when `x` is reduced to `y` over windows (axis by axis), or over whole axes."""
    return max(x.m.numel() // max(1, y.numel()), sum(x.m.shape[a] for a in axes))
