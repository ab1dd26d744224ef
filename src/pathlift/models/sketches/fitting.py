"""Second moments that layers are fitted by, of a sketch."""

from __future__ import annotations

import os

from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.models.sketches.reading import read_sketch
from pathlift.passes.layers.dense import dense_layers


def fitting_moments(
    graph: Graph, path: str | os.PathLike[str], names: str, partial: bool, memory_limit: int
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Return E[x·xᵀ] of what dense layers read, by key, and what is to be said of it.

    Parameters
    ----------
    graph
        The network.
    path
        Of the sketch.
    names
        Globs of layers.
    partial
        Take a sketch that was interrupted, too.
    memory_limit
        Bytes that no array may pass.

    Raises
    ------
    UsageError
        If the sketch is of another network, of other layers, or not complete.
    InvalidModelError
        If it is none.
    """
    sketch = read_sketch(path, graph, partial, memory_limit=memory_limit)
    moments, approximate = dict[str, Array](), list[str]()
    for layer in dense_layers(graph, names)[0]:
        found = sketch.layers.get(layer.key)
        if found is None:
            message = f"the sketch {os.fspath(path)!r} is not of layer {layer.label!r}"
            raise UsageError("1511", message, hint="--layers; or calibrate that layer, too")
        (moments[layer.key],) = found.moments()
        if found.second.kind != "exact":
            approximate.append(layer.label)
    told = (f"second moments of {', '.join(approximate)} are approximate",) if approximate else ()
    return moments, (*told, *incomplete(sketch.sketch.complete, sketch.sketch.samples))


def incomplete(complete: bool, samples: int) -> tuple[str, ...]:
    """Say that a sketch was interrupted, if it was."""
    return () if complete else (f"the sketch is not complete: it is of {samples} samples",)
