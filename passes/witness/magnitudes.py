"""Magnitudes: the Numeric algebra on absolute values, in which nothing cancels."""

from __future__ import annotations

import torch

from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.primitives.base import Activation
from pathlift.ir.primitives.derived import NormScale
from pathlift.ir.types import Param

Tensor = torch.Tensor


class Magnitudes(Numeric):
    """Run on absolute values, this bounds the terms of every sum: what rounding is relative to."""

    def param(self, p: Param) -> Tensor:
        x = super().param(p)
        return x.abs() if x.is_floating_point() else x

    def derive(self, f: NormScale, *params: Tensor) -> Tensor:
        return super().derive(f, *params).abs()

    def scale(self, x: Tensor, c: Tensor | float, axis: int | None = None, *, reciprocal: bool = False) -> Tensor:
        return super().scale(x, c.abs() if isinstance(c, Tensor) else abs(c), axis, reciprocal=reciprocal)

    def gate(self, x: Tensor, f: Activation, *params: Tensor) -> Tensor:
        return torch.maximum(x, super().gate(x, f, *params).abs())
