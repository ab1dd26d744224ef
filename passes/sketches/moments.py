"""Second moments of what dense layers read: one pass over data, batch by batch, of which nothing is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pathlift.ir.errors import InvalidModelError
from pathlift.ir.foreign import running
from pathlift.ir.graph import Graph, Node
from pathlift.ir.types import Array
from pathlift.passes.layers.dense import DenseLayer
from pathlift.passes.sketches.second_moments import gram

if TYPE_CHECKING:
    import torch


class Moments:
    """E[x·xᵀ] by key, of rows x that come a batch at a time: sums in float64, of which nothing else is kept."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, key: str, x: torch.Tensor, about: str) -> None:
        """Add rows.

        Parameters
        ----------
        key
            Whose they are.
        x
            ``(…, size)``; rows lie along the last axis.
        about
            What errors call their reader.

        Raises
        ------
        InvalidModelError
            If an element is not finite.
        """
        rows = x.reshape(-1, x.shape[-1]).double()
        if not bool(rows.isfinite().all()):
            raise InvalidModelError("0181", f"{about}: what it reads is not finite")
        self._sums[key] = _product(rows) + self._sums.get(key, 0.0)
        self._counts[key] = self._counts.get(key, 0) + len(rows)

    def means(self) -> dict[str, Array]:
        """Return ``(size, size)``, float64, symmetric, for each key; 0 where there were no rows."""
        return {key: (total / max(1, self._counts[key])).cpu().numpy() for key, total in self._sums.items()}


def _product(rows: torch.Tensor) -> torch.Tensor:
    """Σ x·xᵀ: on a CPU, NumPy computes one triangle of it."""
    if rows.device.type != "cpu":
        return rows.mT @ rows
    import torch

    return torch.from_numpy(gram(rows.detach().numpy()))


def second_moments(
    graph: Graph, layers: Sequence[DenseLayer], batches: Iterable[Mapping[str, Array]], *, dtype: str = "float32"
) -> dict[str, Array]:
    """Compute E[x·xᵀ] of the inputs x of layers, over all samples and positions.

    Parameters
    ----------
    graph
        What executes the batches; opaque nodes are ONNX Runtime's to execute.
    layers
        Of the graph.
    batches
        Inputs by name.
    dtype
        To execute in. Moments are summed in float64.

    Returns
    -------
    dict
        ``(in, in)``, float64, symmetric, by key of the layer.

    Raises
    ------
    InvalidModelError
        If an activation is not finite; names the layer.
    ExecutionError
        If the graph fails on them.
    UsageError
        If an input is missing.
    """
    import torch

    from pathlift.ir.algebras.interpret import run
    from pathlift.ir.algebras.numeric import Numeric

    axes = {layer.key: layer.axis for layer in layers}
    moments = Moments()

    def observe(key: str, node: Node, inputs: tuple[torch.Tensor | None, ...], _: tuple[torch.Tensor, ...]) -> None:
        x = inputs[0] if key in axes else None
        if x is not None:
            moments.add(key, x.movedim(axes[key], -1), f"node {node.label!r} ({node.op})")

    algebra = Numeric(getattr(torch, dtype))
    with running(), torch.inference_mode():
        for batch in batches:
            run(graph, algebra, {name: algebra.tensor(np.asarray(x)) for name, x in batch.items()}, observe=observe)
    return moments.means()
