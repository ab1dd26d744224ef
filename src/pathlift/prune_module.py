"""Pruning of torch modules: masks that stay while a module is trained, as torch.nn.utils.prune has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from pathlift.frontend.bind import bind
from pathlift.ir.graph import Graph
from pathlift.passes.pruning.criteria import Calibration
from pathlift.passes.pruning.masks import LayerSparsity, Pruned
from pathlift.passes.pruning.prune import Prune

COMPUTED = "the module computes it, and holds no such parameter"


@dataclass(frozen=True)
class ModulePruning:
    """What became of a module's parameters.

    Parameters
    ----------
    layers
        How many weights of each may go, and are zero.
    kept
        Why others stay as they are, by layer.
    """

    layers: tuple[LayerSparsity, ...]
    kept: Mapping[str, str]

    @property
    def sparsity(self) -> float:
        """The share of zeros."""
        return sum(x.zeroed for x in self.layers) / max(1, sum(x.total for x in self.layers))


def prune_module(
    module: nn.Module,
    example_input: Tensor | Sequence[Any],
    sparsity: float = 0.5,
    *,
    calib: Iterable[Tensor | Sequence[Tensor]] | None = None,
    **options: Any,
) -> ModulePruning:
    """Mask the weights of a module that are worth least, in place; training it keeps them zero.

    A parameter becomes ``weight_orig`` and a buffer ``weight_mask`` (`torch.nn.utils.prune`), whose product ``weight``
    is; ``torch.nn.utils.prune.remove(layer, "weight")`` makes it one again. What was masked before stays masked, so
    that a schedule is several calls with growing sparsity. Parameters remain the same objects, which optimizers hold.

    Parameters
    ----------
    module
        The network.
    example_input
        A tensor, or the shapes or tensors of the arguments of ``forward``.
    sparsity
        The share of weights that are zero afterwards, in [0, 1).
    calib
        Batches of inputs, for ``wanda`` and ``taylor``.
    **options
        Of `pathlift.passes.pruning.prune.Prune`: criterion, scope, pattern, block, schedule, include, exclude, biases,
        seed.

    Raises
    ------
    PathliftError
        If the module cannot be exported, an option is wrong, or nothing can be pruned; the module is then as it was.

    Examples
    --------
    >>> import torch, pathlift
    >>> module = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    >>> pathlift.prune_module(module, torch.zeros(1, 8), 0.5, criterion="path").sparsity
    0.5
    """
    method = Prune(sparsity=sparsity, **options)
    method.check()
    old = _unmasked(module)
    try:
        example = [example_input] if isinstance(example_input, Tensor) else example_input
        bound = bind(module, example)
        data = None if calib is None else _calibration(bound.graph, calib)
        witness = method.prune(bound.graph, data).witness
        assert isinstance(witness, Pruned)
        new, layers, kept = dict[int, Tensor](), list[LayerSparsity](), dict(witness.kept)
        own = dict(module.named_parameters(remove_duplicate=False))
        for layer in witness.layers:
            source = bound.sources.get(layer.parameter)
            parameter = None if source is None else own.get(source.name)
            if parameter is None:
                kept[layer.node] = COMPUTED
                continue
            new[id(parameter)] = torch.from_numpy(witness.masks[layer.parameter]).reshape(parameter.shape)
            layers.append(layer)
    except BaseException:
        _mask(module, old)
        raise
    _mask(module, {i: _both(old.get(i), new.get(i)) for i in {**old, **new}})
    return ModulePruning(tuple(layers), kept)


class _Masked(NamedTuple):
    """A mask, and what the parameter holds, also behind it."""

    mask: Tensor
    values: Tensor | None = None


def _unmasked(module: nn.Module) -> dict[int, _Masked]:
    """Put masks into the weights, and return them by the identity of their parameters."""
    masks = {}
    for layer in module.modules():
        for name in [n.removesuffix("_orig") for n in layer._parameters if n.endswith("_orig")]:
            mask = getattr(layer, f"{name}_mask", None)
            if mask is not None:
                values = getattr(layer, f"{name}_orig").detach().clone()
                torch_prune.remove(layer, name)  # type: ignore[no-untyped-call]  # torch has no types
                masks[id(getattr(layer, name))] = _Masked(mask.bool(), values)
    return masks


def _mask(module: nn.Module, masks: Mapping[int, _Masked]) -> None:
    """Put masks on parameters, wherever layers hold them: one may be in several."""
    for layer in module.modules():
        for name, parameter in list(layer._parameters.items()):
            found = masks.get(id(parameter))
            if parameter is not None and found is not None:
                # Torch has no types.
                torch_prune.custom_from_mask(layer, name, found.mask.to(parameter.device))  # type: ignore[no-untyped-call]
                if found.values is not None:
                    with torch.no_grad():
                        parameter.copy_(found.values)


def _both(old: _Masked | None, new: Tensor | None) -> _Masked:
    if old is None:
        assert new is not None
        return _Masked(new)
    return old if new is None else _Masked(old.mask & new.to(old.mask.device), old.values)


def _calibration(graph: Graph, calib: Iterable[Tensor | Sequence[Tensor]]) -> Calibration:
    names = [graph[key].names[0] for key in graph.inputs]
    rows = [[batch] if isinstance(batch, Tensor) else list(batch) for batch in calib]
    return Calibration([{name: x.detach().cpu().numpy() for name, x in zip(names, row, strict=True)} for row in rows])
