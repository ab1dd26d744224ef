"""Batches of graphs with fixed extents: whether the samples along axis 0 have nothing to do with each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from pathlift.ir.algebras.interpret import run
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.passes.fields.arithmetic import exact_arithmetic
from pathlift.passes.fields.field import Field
from pathlift.passes.fields.rounding import rounding_mode
from pathlift.passes.path_norm.algebra import PathNormAlgebra
from pathlift.passes.sizes import Extents

_GENERIC = 0.6180339887
"""An exponent for which rows with equal norms have, but for coincidence, equal paths."""


def batch_extent(graph: Graph, inputs: Mapping[str, Extents]) -> int:
    """Return the common extent of axis 0 if it is a batch, else 1.

    It is one if all inputs and outputs have it, all rows of an output have the same norms, and no path leads from the
    first sample to a row of another, nor from another to the first row.

    Parameters
    ----------
    graph
        A graph that path-norms cover.
    inputs
        Shapes, by name.
    """
    extents = {shape[0] if len(shape) > 1 else 1 for shape in inputs.values()}
    if len(extents) != 1 or extents == {1}:
        return 1
    (extent,) = extents
    all_rows = np.zeros(extent, np.int64)
    outputs = _outputs(graph, inputs, all_rows)
    if any(y.rank == 0 or y.shape[0] != extent for y in outputs) or not all(map(_rows_agree, outputs)):
        return 1
    first = np.where(np.arange(extent) < 1, 0, -1)
    from_first, from_others = (_outputs(graph, inputs, rows, inputs_only=True) for rows in (first, -1 - first))
    reached = any(y.expanded().value.m[1:].any() for y in from_first)
    return 1 if reached or any(y.expanded().value.m[:1].any() for y in from_others) else extent


def batch_note(batch: int, inputs: Mapping[str, Extents]) -> str:
    """Say how first axes were read; empty if there is nothing to say."""
    if batch > 1:
        return f"axis 0 of extent {batch} is read as a batch: the norm is of one sample"
    whole = [f"{name!r} ({shape[0]})" for name, shape in inputs.items() if len(shape) > 1 and shape[0] > 1]
    return f"axis 0 of {', '.join(whole)} is no batch to the end: all of it counts as one sample" if whole else ""


def _outputs(graph: Graph, inputs: Mapping[str, Extents], rows: Array, *, inputs_only: bool = False) -> list[Field]:
    """Evaluate on inputs whose rows are one (0) or zero (−1)."""
    algebra = PathNormAlgebra(_GENERIC, inputs_only=inputs_only)
    with rounding_mode(up=True), exact_arithmetic(algebra.device, algebra.dtype):
        feeds = {
            name: Field.ones((1, *shape[1:]), algebra.dtype, algebra.device).taken(0, rows)
            for name, shape in inputs.items()
        }
        return [algebra.signal(y) for y in run(graph, algebra, feeds).values()]


def _rows_agree(y: Field) -> bool:
    logs = y.log2()
    # One matrix product may round its rows differently.
    largest = float(torch.where(logs > -torch.inf, logs.abs(), 0.0).amax()) if logs.numel() else 0.0
    tolerance = 2.0**-50 * (y.value.roundings + 8 + largest)
    return torch.allclose(logs, logs[:1], rtol=0, atol=tolerance)
