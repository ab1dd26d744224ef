"""The path-norm of a torch module as a differentiable regularizer."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pathlift.frontend.bind import bind
from pathlift.ir.errors import RuntimeFailureError, UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.passes.fields.rounding import rounding_mode
from pathlift.passes.fields.scaled import Scaled, log2_of
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.rewrites.strip_head import StripHead
from pathlift.passes.sizes import check_sizes, resolve_inputs

_COMPILED: dict[int, dict[str, PathNormLoss]] = {}
"""By identity of the module (modules may define equality), until it dies; then by example and options."""


class PathNormLoss:
    """A module's path-norm, compiled once; calling it evaluates the norm of the weights as they are then.

    Parameters
    ----------
    module
        The network.
    example_input
        A tensor, or the shapes or tensors of the arguments of ``forward``; only shapes matter, and the first axis is
        the batch.
    q
        Exponent in (0, ∞].
    pooling, inputs_only, dtype
        As for `pathlift.norm`. In float32, the products of the backward pass have the precision set for the process.
    log
        Return the natural logarithm of the norm, which exists where the norm itself is too large for a float64.

    Raises
    ------
    PathliftError
        If the module cannot be exported, or path-norms do not cover it; names the node.

    Examples
    --------
    >>> import torch, pathlift
    >>> module = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    >>> regularizer = pathlift.PathNormLoss(module, torch.zeros(1, 8), q=1)
    >>> (1e-3 * regularizer()).backward()
    """

    def __init__(
        self,
        module: nn.Module,
        example_input: Tensor | Sequence[Any],
        q: float = 1.0,
        *,
        pooling: Literal["sum", "max"] = "sum",
        inputs_only: bool = False,
        dtype: Literal["float64", "float32"] = "float64",
        log: bool = False,
    ) -> None:
        if q == 0:
            raise UsageError("0428", "the number of paths (q = 0) has no gradient", hint="q > 0")
        self._options = PathNorm((float(q),), pooling, inputs_only, dtype)
        self._options.check()
        self._log = log
        example = [example_input] if isinstance(example_input, Tensor) else example_input
        self._bound = bind(module, example)
        self._graph = StripHead().run(self._bound.graph).graph
        self._inputs = resolve_inputs(self._graph, {})
        check_sizes(self._graph, self._inputs, MEMORY_LIMIT)

    def __call__(self) -> Tensor:
        """Return the norm, a float64 scalar on the module's device, through which gradients reach its parameters.

        Raises
        ------
        UsageError
            If the module is no longer the one that was compiled.
        InvalidModelError
            If a weight is NaN or infinite.
        RuntimeFailureError
            If the norm is too large for a float64 (and not its logarithm is asked for), or has no logarithm.
        """
        live = self._bound.live()
        device = next(iter(live.values())).device if live else torch.device("cpu")
        options = dataclasses.replace(self._options, device=str(device))
        with rounding_mode(up=False), options.arithmetic(gradients=torch.is_grad_enabled()):
            evaluation = options.evaluation(options.q[0], parameters=live)
            evaluation.run(self._graph, self._inputs)
            total, root = evaluation.total(), evaluation.semiring.root
            return _log_norm(total, root) if self._log else _norm(total, root)


def _log_norm(total: Scaled, root: float) -> Tensor:
    if total.m.item() == 0:
        raise RuntimeFailureError("0912", "no path has a non-zero weight: the norm has no logarithm")
    return (total.m.log2() + int(total.e)) * (root * 0.6931471805599453)


def _norm(total: Scaled, root: float) -> Tensor:
    mantissa, e = total.m, int(total.e)
    log2_norm = log2_of(mantissa.item(), e) * root
    if log2_norm >= 1023.999:
        figure = f"10^{log2_norm * 0.30103:.1f}"
        raise RuntimeFailureError("0913", f"the norm is {figure}, too large for a float64", hint="log=True")
    if mantissa.item() == 0:
        return mantissa * 0.0  # a root has no derivative there
    return mantissa**root * 2.0 ** (e * root) if abs(e * root) < 1000 else torch.exp2((mantissa.log2() + e) * root)


def path_norm_loss(
    module: nn.Module, example_input: Tensor | Sequence[Any], q: float = 1.0, *, log: bool = False, **options: Any
) -> Tensor:
    """Return ‖Φ(θ)‖_q of a module, differentiable in its parameters: a regularizer that sees no rescaling.

    The module is compiled at the first call, and again where its tensors no longer fit; other changes (a layer
    exchanged for one of the same shapes) need a `PathNormLoss` of one's own.

    Parameters
    ----------
    module
        The network; batch norms count with their running statistics, whatever its mode.
    example_input
        A tensor, or the shapes or tensors of the arguments of ``forward``; only shapes matter.
    q
        Exponent in (0, ∞].
    log
        Return the natural logarithm of the norm, which exists where the norm itself is too large for a float64.
    **options
        Of `PathNormLoss`.

    Returns
    -------
    Tensor
        A float64 scalar on the module's device.

    References
    ----------
    Gonon, Brisebarre, Riccietti, Gribonval, "A path-norm toolkit for modern networks", arXiv 2310.01225.
    """
    if id(module) not in _COMPILED:
        _COMPILED[id(module)] = {}
        weakref.finalize(module, _COMPILED.pop, id(module), None)
    compiled = _COMPILED[id(module)]
    key = repr((_shapes(example_input), q, log, sorted(options.items())))
    if key in compiled:
        try:
            return compiled[key]()
        except UsageError:
            del compiled[key]
    loss = PathNormLoss(module, example_input, q, log=log, **options)
    loss._bound = loss._bound.released()  # or the cache would keep the module alive
    compiled[key] = loss
    return loss()


def _shapes(example: Any) -> Any:
    if hasattr(example, "shape"):
        return (tuple(example.shape), str(getattr(example, "dtype", "")))
    return list(map(_shapes, example)) if isinstance(example, list | tuple) else example
