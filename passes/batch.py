"""Whether axis 0 of a graph with fixed extents is a batch: samples that have nothing to do with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from pathlift.ir.graph import Graph
from pathlift.ir.interpret import run
from pathlift.passes.fields.bracket import bracket
from pathlift.passes.fields.field import Field
from pathlift.passes.path_norm_algebra import Operand, PathNormAlgebra
from pathlift.passes.sizes import Extents


def batch_extent(graph: Graph, inputs: Mapping[str, Extents], outputs: Sequence[Field]) -> int:
    """Return the common extent of axis 0 if it is a batch, else 1.

    It is one if all inputs and outputs have it, all rows of an output have the same norms, and no path leads from the
    first sample to a row of another, nor from another to the first row.

    Parameters
    ----------
    graph
        A graph that path-norms cover.
    inputs
        Shapes, by name.
    outputs
        What the graph makes of ones.
    """
    extents = {y.shape[0] if y.rank else 1 for y in outputs}
    extents |= {shape[0] if len(shape) > 1 else 1 for shape in inputs.values()}
    if len(extents) != 1 or extents == {1} or not inputs:
        return 1
    (extent,) = extents
    if not all(map(_rows_agree, outputs)):
        return 1
    first, others = (_reached(graph, inputs, extent, sample) for sample in (True, False))
    return extent if not any(m[1:].any() for m in first) and not any(m[:1].any() for m in others) else 1


def _rows_agree(y: Field) -> bool:
    logs = y.log2()
    tolerance = 1e-9 if y.value.m.dtype == torch.float64 else 1e-4  # one product may round its rows differently
    return torch.allclose(logs, logs[:1], rtol=tolerance, atol=tolerance)


def _reached(graph: Graph, inputs: Mapping[str, Extents], extent: int, first: bool) -> list[torch.Tensor]:
    """Return outputs that are positive where a path arrives from the first sample, or from the other ones."""
    rows = np.arange(extent) < 1
    positions = np.where(rows if first else ~rows, 0, -1)
    algebra = PathNormAlgebra(1.0, "sum", inputs_only=True)
    with bracket(up=True), torch.no_grad():
        feeds: dict[str, Operand] = {
            name: Field.ones((1, *shape[1:]), algebra.dtype, algebra.device).taken(0, positions)
            for name, shape in inputs.items()
        }
        return [algebra.signal(y).expanded().value.m for y in run(graph, algebra, feeds).values()]
