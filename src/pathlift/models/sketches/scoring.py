"""Data that weights are scored on, of a sketch."""

from __future__ import annotations

import os

from pathlift.ir.graph import Graph
from pathlift.models.sketches.fitting import incomplete
from pathlift.models.sketches.reading import read_sketch
from pathlift.passes.pruning.criteria import Calibration
from pathlift.passes.pruning.prunable import prunables
from pathlift.passes.sketches.scoring import scoring


def scoring_data(
    graph: Graph, path: str | os.PathLike[str], partial: bool, memory_limit: int
) -> tuple[Calibration, tuple[str, ...]]:
    """Return what criteria read of a sketch, and what is to be said of it.

    Parameters
    ----------
    graph
        The network.
    path
        Of the sketch.
    partial
        Take a sketch that was interrupted, too.
    memory_limit
        Bytes that no array may pass.

    Raises
    ------
    UsageError
        If the sketch is of another network, or not complete.
    InvalidModelError
        If it is none.
    """
    sketch = read_sketch(path, graph, partial, memory_limit=memory_limit)
    found = scoring(graph, prunables(graph, biases=True).found, sketch.layers, sketch.sketch.samples)
    told = incomplete(sketch.sketch.complete, sketch.sketch.samples)
    return Calibration((), norms=found.norms, costs=found.costs), told
