"""The path-norm algebra: what each primitive means when every path is counted once, with |weights|^q."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from pathlift.passes.scaled import Scaled, Tensor, power

MINUS_INFINITY = 1e30
"""Constants this large stand for an infinity (the lowest float32 before a max-pool), not for a bias."""
Pooling = Literal["sum", "max"]


@dataclass(frozen=True)
class Weight:
    """A parameter as it is, in float64. Powers are taken where it is used: tied uses are edges of their own."""

    values: Tensor
    roundings: int = 0
    finite: bool = False
    integer: str = ""
    """Name of a tensor that is no number: its values stand in for a shape, and may be moved but not used."""


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

    def derive(self, f: Callable[..., tuple[Any, ...]], *params: Operand) -> tuple[Operand, ...]:
        return tuple(Weight(v, roundings=8) for v in f(*(self._raw(p) for p in params)))

    def _raw(self, operand: Operand) -> Tensor:
        if isinstance(operand, Scaled):
            raise UnsupportedError("0311", "a parameter of this node is computed from the network's input")
        if operand.integer:
            raise UnsupportedError("0310", f"arithmetic with tensor {operand.integer!r}, which is not of floats")
        if not operand.finite and not bool(operand.values.isfinite().all()):
            raise UnsupportedError("0312", "a parameter that this node computes from its weights is not finite")
        return operand.values

    def _power(self, operand: Operand) -> Scaled:
        scaled = power(self._raw(operand), self.q, self.dtype)
        assert isinstance(operand, Weight)
        return Scaled(scaled.m, scaled.e, scaled.roundings + operand.roundings)

    def signal(self, operand: Operand) -> Scaled:
        """Read an operand as neurons: a parameter there is a bias, where paths start."""
        if isinstance(operand, Scaled):
            return operand
        return self._power(Weight(torch.zeros_like(self._raw(operand))) if self.inputs_only else operand)

    # ---- primitives

    def linear(self, f: LinearMap, x: Operand, w: Operand | None = None) -> Operand:
        signal = self.signal(x)
        if w is not None:
            y = apply_linear(f, signal, self._raw(w), self.q)
            assert isinstance(w, Weight)
            return self._probed(Scaled(y.m, y.e, y.roundings + w.roundings))
        return self._fixed(f, signal)

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
            total = self._raw(x) + along(self._raw(y), axis, x.values.ndim)
            return Weight(total, max(x.roundings, y.roundings) + 1)
        a, b = self.signal(x), self.signal(y)
        if axis is not None:
            b = Scaled(along(b.m, axis, a.rank), along(b.e, axis, a.rank), b.roundings)
        return a + b

    def scale(self, x: Operand, c: Operand | float, axis: int | None = None, *, reciprocal: bool = False) -> Operand:
        if isinstance(c, float):
            c = Weight(torch.tensor(c, dtype=torch.float64))
            if isinstance(x, Weight):
                return Weight(self._raw(x) * c.values, x.roundings + 1)
            if abs(float(c.values)) == 1.0:
                return x
        factor = self._raw(c)
        if reciprocal:
            if bool((factor == 0).any()):
                raise UnsupportedError("0314", "division by a constant that holds a zero")
            factor = 1.0 / factor
        if isinstance(x, Weight):
            return Weight(self._raw(x) * along(factor, axis, x.values.ndim), x.roundings + 2)
        edges = self._power(Weight(along(factor, axis, x.rank), 1))
        return self._probed(x.times(edges))

    def gate(self, x: Operand, f: Activation, *params: Operand) -> Operand:
        signal = self.signal(x)
        if params:  # PRelu: per slope α, an edge of max(1, |α|)
            (slope,) = params
            edges = self._power(Weight(self._raw(slope).abs().clamp(min=1.0)))
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
            weights = [x for x in xs if isinstance(x, Weight)]
            integer = next((w.integer for w in weights if w.integer), "")
            return Weight(v(*(w.values for w in weights)), max(w.roundings for w in weights), integer=integer)
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
