"""Whether axis 0 of a graph with fixed extents is a batch: samples that have nothing to do with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from pathlift.ir.graph import Graph
from pathlift.ir.interpret import run
from pathlift.passes.path_norm_algebra import PathNormAlgebra
from pathlift.passes.scaled import Scaled, underflow
from pathlift.passes.sizes import Extents


def batch_extent(graph: Graph, inputs: Mapping[str, Extents], outputs: Sequence[Scaled]) -> int:
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
    extents = {y.m.shape[0] if y.rank else 1 for y in outputs}
    extents |= {shape[0] if len(shape) > 1 else 1 for shape in inputs.values()}
    if len(extents) != 1 or extents == {1} or not inputs:
        return 1
    (extent,) = extents
    if not all(torch.allclose(logs := y.log2().detach(), logs[:1], rtol=1e-9, atol=1e-9) for y in outputs):
        return 1
    first, others = (_reached(graph, inputs, extent, sample) for sample in (True, False))
    return extent if not any(m[1:].any() for m in first) and not any(m[:1].any() for m in others) else 1


def _reached(graph: Graph, inputs: Mapping[str, Extents], extent: int, first: bool) -> list[torch.Tensor]:
    """Return outputs that are positive where a path arrives from the first sample, or from the other ones."""
    rows = torch.arange(extent) < 1
    feeds = {}
    for name, shape in inputs.items():
        ones = Scaled.ones(shape, torch.float64)
        fed = (rows if first else ~rows).double().reshape(-1, *[1] * (len(shape) - 1))
        feeds[name] = Scaled(ones.m * fed, ones.e)
    algebra = PathNormAlgebra(1.0, "sum", inputs_only=True)
    with underflow(up=True), torch.no_grad():
        return [algebra.signal(y).m for y in run(graph, algebra, feeds).values()]
