"""Parameters of a two-sorted algebra as weights: what nodes compute of them, with all that it is off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Generic, TypeVar

import torch

from pathlift.ir.algebras.two_sorted import TwoSorted
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.base import View
from pathlift.passes.fields.weight import TINY, Weight, moved_weights

S = TypeVar("S")


class WeightParameters(TwoSorted[Weight, S], Generic[S]):
    """The half of an algebra that is about parameters, where these are `Weight`; signals are a subclass's.

    Attributes
    ----------
    device
        Where numbers live.
    """

    parameter_type: ClassVar[type] = Weight
    device: torch.device

    def number(self, value: float) -> Weight:
        """A parameter that is one number."""
        return Weight(torch.tensor(value, dtype=torch.float64, device=self.device))

    def derive_parameter(self, f: Callable[..., Any], params: Sequence[Weight]) -> Weight:
        values = f(*(w.accurate() for w in params))
        if bool(((values.detach().abs() < TINY) & (params[0].values != 0)).any()):
            raise UnsupportedError("0312", "a parameter that this node computes from its weights underflows")
        return Weight(values, roundings=8 + sum(w.roundings for w in params))

    def add_parameters(self, x: Weight, y: Weight, axis: int | None) -> Weight:
        return x.plus(y, axis)

    def scale_parameter(self, x: Weight, c: Weight, axis: int | None, *, reciprocal: bool) -> Weight:
        return x.times(c, axis, reciprocal=reciprocal)

    def multiply_parameter(self, x: Weight, c: float) -> Weight:
        if abs(c) == 1.0:
            return x if c == 1.0 else replace(x, values=-x.checked())
        return x.times(self.number(c))

    def move_parameters(self, xs: Sequence[Weight], v: View) -> Weight:
        return moved_weights(v, xs)
