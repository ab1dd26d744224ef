"""`KSLinear` with its fit: a dense PyTorch layer approximated by a Kronecker-sparse one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from pathlift.ir.kronecker import oriented, pattern_of
from pathlift.ir.types import Array
from pathlift.runtime.nn import KSLinear as _KSLinear
from pathlift.runtime.nn import Patterns, patterns_of

if TYPE_CHECKING:
    from pathlift.passes.kronecker.fitting.fit import Solver


class KSLinear(_KSLinear):  # noqa: D101 (its docstring is inherited)
    __doc__ = _KSLinear.__doc__
    __module__ = "pathlift.nn"  # pickles name a class by where it is imported from

    @classmethod
    def from_linear(
        cls,
        linear: torch.nn.Linear,
        patterns: Patterns,
        *,
        solver: Solver = "auto",
        covariance: torch.Tensor | None = None,
        steps: int | None = None,
        seed: int = 0,
    ) -> Self:
        """Approximate a dense layer.

        Parameters
        ----------
        linear
            The layer; it is left alone.
        patterns
            Of the factors, as they multiply or as they are applied.
        solver
            ``hsvd``, ``als``, ``adam``, ``muon`` or ``auto``.
        covariance
            E[x·xᵀ] of the layer's inputs, ``(in, in)``: outputs are then approximated instead of weights.
        steps, seed
            Of an iterative solver.

        Returns
        -------
        KSLinear
            On the layer's device and of its element type, with its bias.

        Raises
        ------
        UsageError
            If the patterns do not fit the layer.
        InvalidModelError
            If its weights are not finite.
        """
        from pathlift.passes.kronecker.fitting.fit import fit

        weight = linear.weight.detach()
        ps = oriented(patterns_of(patterns), *weight.shape)
        moments = None if covariance is None else covariance.detach().double().cpu().numpy()
        found = fit(
            weight.double().cpu().numpy(), ps, solver=solver, covariance=moments, steps=steps, seed=seed, name="linear"
        )
        return cls.from_factors(found.factors, linear)

    @classmethod
    def from_factors(cls, factors: Sequence[Array], linear: torch.nn.Linear) -> Self:
        """Put given factors into a dense layer's place.

        Parameters
        ----------
        factors
            As they multiply, each ``(a, d, b, c)``, of any real type.
        linear
            The layer, of their product's shape; it is left alone.

        Returns
        -------
        KSLinear
            On the layer's device and of its element type, with its bias.
        """
        weight = linear.weight
        layer = cls([pattern_of(k) for k in factors], linear.bias is not None, device=weight.device, dtype=weight.dtype)
        with torch.no_grad():
            for factor, values in zip(layer.factors, factors, strict=True):
                factor.copy_(torch.from_numpy(values.astype(np.float64)))  # torch reads no bfloat16 of NumPy's
            if layer.bias is not None:
                layer.bias.copy_(linear.bias)
        return layer
