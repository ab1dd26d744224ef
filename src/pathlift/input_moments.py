"""Second moments of what the linear layers of a PyTorch module read, in one pass over data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pathlift.ir.errors import UsageError
from pathlift.ir.foreign import foreign
from pathlift.ir.types import Array
from pathlift.passes.sketches.moments import Moments


def input_moments(module: nn.Module, layers: Mapping[str, nn.Linear], data: Any) -> dict[str, Array]:
    """Compute E[x·xᵀ] of the inputs x of layers, over all samples and positions.

    Parameters
    ----------
    module
        Runs in evaluation mode and without gradients; afterwards it is as it was.
    layers
        Of the module, by name.
    data
        A tensor, which is one batch; or batches, each of which is the argument of ``forward``, a tuple or list of its
        arguments, or a mapping of those by name. A mapping alone is one batch.

    Returns
    -------
    dict
        ``(in, in)``, float64, symmetric, by name; layers that the data never reaches are left out.

    Raises
    ------
    UsageError
        If there is no batch, one is of another kind, or the module fails on it.
    InvalidModelError
        If an activation is not finite; names the layer.
    """
    moments, count = Moments(), 0
    with ExitStack() as stack:
        stack.enter_context(_evaluating(module))
        for name, layer in layers.items():
            stack.enter_context(layer.register_forward_pre_hook(_observer(moments, name), with_kwargs=True))
        for count, batch in enumerate(_batches(data), 1):
            args, kwargs = _arguments(batch)
            with foreign("run the module", _failure(count), programs=True):
                module(*args, **kwargs)
    if not count:
        raise UsageError("1453", "the calibration data holds no batch", hint="an iterator is empty once it was read")
    return moments.means()


def _observer(moments: Moments, name: str) -> Any:
    def observe(layer: nn.Linear, args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor]) -> None:
        x = args[0] if args else kwargs["input"]
        if x.numel() and x.shape[-1] == layer.in_features:  # else the layer is about to say what is wrong
            moments.add(name, x, f"layer {name!r}")

    return observe


def _failure(number: int) -> Any:
    def failure(said: str) -> UsageError:
        return UsageError("1454", f"the module fails on batch {number} of the calibration data: {said}")

    return failure


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Run in evaluation mode, without gradients, and layer by layer: fused kernels call no layer."""
    modes = [(part, part.training) for part in module.modules()]
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        module.eval()
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for part, mode in modes:
            part.training = mode


def _batches(data: Any) -> Iterable[Any]:
    is_batch = isinstance(data, Tensor | Mapping) or not isinstance(data, Iterable)
    return [data] if is_batch else data


def _arguments(batch: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    if isinstance(batch, Mapping):
        return (), batch
    if isinstance(batch, tuple | list):
        return tuple(batch), {}
    if not isinstance(batch, Tensor):
        message = f"the calibration data holds a {type(batch).__name__}"
        raise UsageError("1455", message, hint="a batch is a tensor, a tuple, or a dict of arguments")
    return (batch,), {}
