"""Execution with Gaussian noise on all parameters."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.types import Param, is_float, not_finite


class Noisy(Numeric):
    """Execute with weights of N(w, σ²I): one draw, the same whenever a parameter is read.

    Parameters
    ----------
    sigma
        σ.
    seed
        Of the draw.
    """

    name: ClassVar[str] = "execution with noise"

    def __init__(self, sigma: float, seed: tuple[int, ...]) -> None:
        super().__init__()
        self.sigma, self._rng = sigma, np.random.default_rng(seed)
        self._drawn: dict[int, tuple[Param, torch.Tensor]] = {}

    def param(self, p: Param) -> torch.Tensor:
        if not is_float(p.dtype):
            return super().param(p)
        if id(p) not in self._drawn:  # parameters that share a `Param` are tied, and are one
            if p.non_finite:
                assert self.node is not None
                raise not_finite(self.node.names[0], p.numpy())
            noise = torch.from_numpy(np.asarray(self._rng.normal(0.0, self.sigma, p.shape)))
            self._drawn[id(p)] = p, super().param(p) + noise
        return self._drawn[id(p)][1]
