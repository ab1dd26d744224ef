"""Linear layers of a PyTorch module, replaced by Kronecker-sparse ones that are fitted to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from pathlift.input_moments import input_moments
from pathlift.ir.kronecker import Pattern
from pathlift.ir.types import Array
from pathlift.ks_linear import KSLinear
from pathlift.linears import Linear, check_named, linears
from pathlift.passes.kronecker.fitting.layer import Fitter, LayerFit
from pathlift.runtime.nn import Patterns, patterns_of
from pathlift.runtime.ports import as_numpy

if TYPE_CHECKING:
    from pathlift.passes.kronecker.fitting.fit import Solver

_UNREACHED = "the calibration data never reaches it"
_UNNAMED = "no patterns are given for it"


@dataclass(frozen=True)
class Replacement:
    """What became of one linear layer.

    Parameters
    ----------
    name
        The layer's, and the first of several.
    patterns
        Of the factors, as they multiply from left to right. Those of the best fit that was tried, if any, where the
        layer was left dense.
    error
        ‖W − K₁⋯K_L‖_F / ‖W‖_F, of the factors as they are stored; ``None`` if nothing was tried.
    output_error
        √(E‖(W − K₁⋯K_L)·x‖² / E‖W·x‖²) over the calibration data; ``None`` without any.
    before, after
        Parameters, with those of the bias.
    reason
        Why the layer was left dense; empty if it was replaced.
    """

    name: str
    patterns: tuple[Pattern, ...]
    error: float | None
    output_error: float | None
    before: int
    after: int
    reason: str = ""


def replace_linears(
    module: nn.Module,
    layers: str | Sequence[str] = "*",
    *,
    patterns: Patterns | Mapping[str, Patterns] = "auto",
    calib: Any = None,
    budget: str = "",
    solver: Solver = "auto",
    steps: int | None = None,
    seed: int = 0,
    samples: int = 1568,
    device: str = "cpu",
) -> list[Replacement]:
    """Replace linear layers of a module, in place, by Kronecker-sparse ones that are fitted to them.

    All layers are fitted before the first is replaced: on an error the module is as it was. Create optimizers
    afterwards, since parameters are new ones.

    A layer stays dense, and the report says why, where another one could not stand for it: where it is parametrized,
    not initialized, has hooks, or a class with a ``forward`` of its own; where its parameters are tied to others of the
    module; and in ``nn.MultiheadAttention``, which reads weights without calling the layer. So do layers which given
    patterns do not fit, for which ``auto`` finds nothing within the budget that is predicted to be clearly faster, or
    which the calibration data never reaches. A layer that is shared stays shared.

    Parameters
    ----------
    module
        Whatever holds ``nn.Linear`` layers.
    layers
        Globs of names, as in ``module.named_modules()``, separated by commas or in a sequence. Other modules that they
        match are left alone.
    patterns
        ``"auto"``, which chooses as `pathlift.ks_fit` does; patterns as for `KSLinear.from_linear`; or a mapping from
        globs to either, of which the first counts that matches.
    calib
        Data to fit outputs on instead of weights: a tensor, which is one batch, or batches, each the argument of
        ``forward``, a tuple of its arguments, or a dict of them by name, where the module is. They are read once, and
        the module runs on them in evaluation mode. Per layer a matrix (in, in) in float64 is kept. Give
        several times more rows than a layer has inputs: directions that they do not take are given up.
    budget
        ``flops=R`` of a dense layer's multiplications, ``error=R`` of its outputs where there is data, else of its
        weights, or both. ``auto`` has ``flops=0.5,error=0.2`` by default, given patterns have no limit.
    solver
        ``hsvd``, ``als``, ``adam``, ``muon`` or ``auto``.
    steps, seed
        Of an iterative solver.
    samples, device
        What ``auto`` predicts times for: rows, which are batch times positions; and cpu, h100 or a100, wherever the
        module is.

    Returns
    -------
    list of Replacement
        One for each linear layer that was named, in the module's order. Each new layer has the device, element type,
        mode and ``requires_grad`` of the one before; that of the weights is that of all factors.

    Raises
    ------
    UsageError
        If a glob names no linear layer, patterns fit none of the layers they are for, or an option is wrong; if there
        is no calibration data, or the module fails on it.
    InvalidModelError
        If a weight, or what a layer reads of the data, is not finite; names the layer.

    Examples
    --------
    >>> import torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(384, 384), torch.nn.ReLU(), torch.nn.Linear(384, 10))
    >>> report = replace_linears(module, "0", patterns="(1,192,48,2)(2,48,192,1)")
    >>> [(layer.name, layer.before, layer.after) for layer in report]
    [('0', 147840, 37248)]
    """
    found = linears(module, layers)
    fitter = partial(Fitter.of, budget=budget, solver=solver, steps=steps, seed=seed, samples=samples, device=device)
    rules = patterns if isinstance(patterns, Mapping) else {"*": patterns}
    fitters = {glob: fitter(None if p == "auto" else patterns_of(p)) for glob, p in rules.items()}
    plan = _plan(found, rules)
    moments = None
    if calib is not None:
        moments = input_moments(module, {linear.names[0]: linear.layer for linear in plan}, calib)
    fits = _fits(plan, fitters, moments)
    new = {linear: _stand_in(linear.layer, f.factors) for linear, f in fits.items() if not f.reason}
    report = [
        _report(linear, fits.get(linear), new.get(linear), _UNREACHED if linear in plan else _UNNAMED)
        for linear in found
    ]
    for linear, layer in new.items():
        for name in linear.names:
            parent, _, own = name.rpartition(".")
            module.get_submodule(parent).register_module(own, layer)
    return report


def _plan(found: Sequence[Linear], globs: Iterable[str]) -> dict[Linear, str]:
    """Say which glob counts for each layer that can be replaced."""
    plan: dict[Linear, str] = {}
    for glob in globs:
        check_named(found, glob)
        for linear in found:
            if not linear.reason and linear.is_called(glob):
                plan.setdefault(linear, glob)
    return plan


def _fits(
    plan: Mapping[Linear, str], fitters: Mapping[str, Fitter], moments: Mapping[str, Array] | None
) -> dict[Linear, LayerFit]:
    """Fit each layer, but for those that none of the data reaches."""
    fits: dict[Linear, LayerFit] = {}
    for linear, glob in plan.items():
        name = linear.names[0]
        if moments is None or name in moments:
            weight, covariance = as_numpy(linear.layer.weight), None if moments is None else moments[name]
            fits[linear] = fitters[glob].fitted(
                weight.astype(np.float64), weight.dtype, node=name, tensor=f"{name}.weight", covariance=covariance
            )
    for glob, fitter in fitters.items():
        fitter.check([found for linear, found in fits.items() if plan[linear] == glob])
    return fits


def _stand_in(linear: nn.Linear, factors: Sequence[Array]) -> KSLinear:
    layer = KSLinear.from_factors(factors, linear).train(linear.training)
    for factor in layer.factors:
        factor.requires_grad_(linear.weight.requires_grad)
    if layer.bias is not None:
        layer.bias.requires_grad_(linear.bias.requires_grad)
    return layer


def _report(linear: Linear, found: LayerFit | None, new: KSLinear | None, otherwise: str) -> Replacement:
    name, before = linear.names[0], _count(linear.layer)
    if found is None:
        return Replacement(name, (), None, None, before, before, linear.reason or otherwise)
    after = before if new is None else _count(new)
    return Replacement(name, found.patterns, found.error, found.weighted_error, before, after, found.reason)


def _count(layer: nn.Module) -> int:
    return sum(p.numel() for p in layer.parameters())
