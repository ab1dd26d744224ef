"""Second moments of what dense layers read: one pass over data, batch by batch, of which nothing is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pathlift.ir.errors import InvalidModelError
from pathlift.ir.foreign import running
from pathlift.ir.graph import Graph, Node
from pathlift.ir.types import Array
from pathlift.passes.layers.dense import DenseLayer


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
    sums: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}

    def observe(key: str, node: Node, inputs: tuple[torch.Tensor | None, ...], _: tuple[torch.Tensor, ...]) -> None:
        x = inputs[0] if key in axes else None
        if x is None:
            return
        rows = x.movedim(axes[key], -1).reshape(-1, x.shape[axes[key]]).double()
        if not bool(torch.isfinite(rows).all()):
            raise InvalidModelError("0181", f"node {node.label!r} ({node.op}): what it reads is not finite")
        sums[key] = rows.mT @ rows + sums.get(key, 0.0)
        counts[key] = counts.get(key, 0) + len(rows)

    algebra = Numeric(getattr(torch, dtype))
    with running(), torch.inference_mode():
        for batch in batches:
            run(graph, algebra, {name: algebra.tensor(np.asarray(x)) for name, x in batch.items()}, observe=observe)
    return {key: (total / max(1, counts[key])).numpy() for key, total in sums.items()}
