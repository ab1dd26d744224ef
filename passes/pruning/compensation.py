"""Compensation: the weights that stay, refitted to what layers computed before others went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pathlift.ir.errors import WitnessError
from pathlift.ir.graph import Graph, Node, Value
from pathlift.ir.types import Array, Param
from pathlift.passes.base import Rewritten, Witness
from pathlift.passes.layers.weights import rounded
from pathlift.passes.pruning.inputs import groups_of, watch
from pathlift.passes.pruning.layout import Layout
from pathlift.passes.pruning.prunable import Prunable

Tensor = torch.Tensor
MOST_INPUTS = 8192
"""Of an output, beyond which second moments take too much memory."""
_STEPS, _TOLERANCE = 500, 1e-10


@dataclass(frozen=True)
class LayerError:
    """What a layer's outputs are off by, relative, in the 2-norm over the data: before and after the refit.

    Parameters
    ----------
    parameter
        Its name.
    before, after
        ``None`` where the layer stays as it was pruned.
    reason
        Why.
    """

    parameter: str
    before: float | None = None
    after: float | None = None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Compensated(Witness):
    """Which layers were refitted: nothing but their weights is new, and zeros are zero.

    Parameters
    ----------
    holders
        The names of parameters, by the keys of all nodes that hold them.
    layers
        By parameter.
    """

    holders: Mapping[str, str]
    layers: Mapping[str, LayerError]

    def check(self, before: Graph, after: Graph) -> None:
        for key in before.order:
            a, b = before[key].value, after[key].value
            if a is b or a is None or b is None:
                continue
            layer = self.layers.get(self.holders.get(key, ""))
            if layer is None or layer.reason or bool((b.numpy()[a.numpy() == 0] != 0).any()):
                raise WitnessError("0818", f"a refit changed zeros, or another parameter: {before[key].label!r}")

    def describe(self) -> str:
        return f"{sum(not layer.reason for layer in self.layers.values())} layers refitted"


def compensated(
    dense: Graph, pruned: Graph, found: Sequence[Prunable], batches: Sequence[Mapping[str, Array]]
) -> Rewritten:
    """Choose the weights that stay such that ‖(W − W')X‖ is least, for what layers of the dense network read.

    Zeros of the pruned network stay zeros. Per layer, conjugate gradients on W'H for all outputs at once, with the
    second moments H of X; they start at the pruned weights, and the error only ever falls.

    Parameters
    ----------
    dense, pruned
        Graphs of the same nodes.
    found
        Prunable parameters of the dense one.
    batches
        Inputs by name.

    Raises
    ------
    InvalidModelError
        If a layer reads something that is not finite; names it.
    """
    reasons = {p.name: _refusal(dense, p) for p in found}
    eligible = [p for p in found if not reasons[p.name]]
    moments: dict[str, Tensor] = {}
    nodes: dict[str, tuple[Node, Layout]] = {}

    def add(p: Prunable, node: Node, layout: Layout, x: Tensor) -> None:
        moments[p.name] = moments.get(p.name, 0.0) + x.mT @ x
        nodes[p.name] = node, layout

    watch(dense, eligible, batches, add)
    builder = pruned.edit()
    layers = {p.name: LayerError(p.name, reason=reasons[p.name]) for p in found}
    for p in eligible:
        old = pruned[p.keys[0]].value
        assert old is not None
        layers[p.name], new = _refitted(p, old, moments[p.name], *nodes[p.name])
        for key in p.keys if new is not None else ():
            builder.replace_node(Value(key), value=new)
    return Rewritten(builder.finish(), Compensated({key: p.name for p in found for key in p.keys}, layers))


def _refusal(graph: Graph, p: Prunable) -> str:
    """Why a layer is not refitted; empty if it is."""
    _, taps, inputs = p.layout.extents
    if p.is_bias:
        return "it is a bias"
    if len(p.readers) > 1:
        return "several layers read it"
    if graph[p.readers[0]].op == "ConvTranspose":
        return "it is a transposed convolution"
    if taps * inputs > MOST_INPUTS:
        return f"its outputs have {taps * inputs} inputs each, more than {MOST_INPUTS}"
    return ""


def _refitted(p: Prunable, old: Param, moments: Tensor, node: Node, layout: Layout) -> tuple[LayerError, Param | None]:
    """Refit one layer; no parameter if nothing is better than what there is."""
    groups = groups_of(node, layout, p.param.shape)
    order = np.argsort(groups, kind="stable")
    count, (rows, taps, inputs) = len(moments), layout.extents

    def grouped(values: Array) -> Tensor:
        matrix = layout.matrices(values.astype(np.float64))[order]
        return torch.from_numpy(np.ascontiguousarray(matrix)).reshape(count, rows // count, taps * inputs)

    before, after = grouped(p.param.numpy()), grouped(old.numpy())
    size = _error(before, torch.zeros_like(before), moments)
    start = _error(before, after, moments)
    step = _least(before - after, after != 0, moments)
    matrix = np.empty((rows, taps, inputs))
    matrix[order] = (after + step).reshape(rows, taps, inputs).numpy()
    stored = rounded(layout.weights(matrix, p.param.shape), p.param.dtype)
    if stored is None:
        return LayerError(p.name, reason="its new weights do not fit their type"), None
    stored[old.numpy() == 0] = 0
    end = _error(before, grouped(stored), moments)
    if not end < start:
        return LayerError(p.name, _ratio(start, size), _ratio(start, size)), None
    return LayerError(p.name, _ratio(start, size), _ratio(end, size)), Param.of(stored)


def _error(a: Tensor, b: Tensor, moments: Tensor) -> float:
    """‖(A − B)X‖² over all groups."""
    return max(0.0, float(((a - b) @ moments * (a - b)).sum()))


def _ratio(rest: float, whole: float) -> float:
    return float((rest / whole) ** 0.5) if whole else 0.0


def _least(gap: Tensor, free: Tensor, moments: Tensor) -> Tensor:
    """The step s, zero where it is not free, of least ‖(gap − s)X‖²: a system M∘(sH) = M∘(gap·H) per row."""
    scale = moments.diagonal(dim1=1, dim2=2)[:, None].clamp_min(torch.finfo(torch.float64).tiny)
    step, rest = torch.zeros_like(gap), gap @ moments * free
    look = rest / scale
    turn, first = look.clone(), (rest * look).sum(-1, keepdim=True)
    energy = first.clone()
    for _ in range(_STEPS):
        going = energy > _TOLERANCE**2 * first
        if not bool(going.any()):
            break
        image = turn @ moments * free
        bend = (turn * image).sum(-1, keepdim=True)
        length = torch.where(going & (bend > 0), energy / bend, 0.0)
        step, rest = step + length * turn, rest - length * image
        look = rest / scale
        now = (rest * look).sum(-1, keepdim=True)
        turn = look + torch.where(energy > 0, now / energy, 0.0) * turn
        energy = torch.where(bend > 0, now, 0.0)
    return step
