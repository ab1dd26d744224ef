"""PyTorch modules: `KSLinear`, a Kronecker-sparse layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch

from pathlift.ir.kronecker import oriented
from pathlift.runtime.nn import KSLinear as _KSLinear
from pathlift.runtime.nn import Patterns, patterns_of

if TYPE_CHECKING:
    from pathlift.passes.kronecker.fitting.fit import Solver

__all__ = ["KSLinear"]


class KSLinear(_KSLinear):  # noqa: D101 (its docstring is inherited)
    __doc__ = _KSLinear.__doc__

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
        layer = cls(ps, linear.bias is not None, device=weight.device, dtype=weight.dtype)
        with torch.no_grad():
            for factor, values in zip(layer.factors, found.factors, strict=True):
                factor.copy_(torch.from_numpy(values))
            if layer.bias is not None:
                layer.bias.copy_(linear.bias)
        return layer
