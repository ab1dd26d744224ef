"""Sketches for those who use them: of the right network, of all the data, by key of the layer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from pathlift.ir.errors import UsageError, about
from pathlift.ir.graph import Graph
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.models.sketches.file import read_sketch_file
from pathlift.models.sketches.make import given_twice
from pathlift.passes.sketches.layer import LayerSketch
from pathlift.passes.sketches.layers import linear_layers
from pathlift.passes.sketches.sketch import Sketch, merged


@dataclass(frozen=True, eq=False)
class GraphSketch:
    """A sketch, and what of a graph it is of.

    Parameters
    ----------
    sketch
        As it was written.
    layers
        By key of the graph's nodes.
    """

    sketch: Sketch
    layers: dict[str, LayerSketch]


def read_sketch(
    path: str | os.PathLike[str], graph: Graph, partial: bool = False, *, memory_limit: int = MEMORY_LIMIT
) -> GraphSketch:
    """Read a sketch of a graph's layers.

    Parameters
    ----------
    path
        A file that `calibrate` wrote.
    graph
        Whose layers it must be of: nodes of the same names, with the same weights, element by element.
    partial
        Take one that was interrupted, too.
    memory_limit
        Bytes that no array may pass.

    Raises
    ------
    UsageError
        If there is no such file, it is of another network, or it is not complete.
    InvalidModelError
        If it is no sketch.
    """
    with about(path):
        sketch = read_sketch_file(path, memory_limit=memory_limit)
        shown = repr(os.fspath(path))
        _check_complete(sketch, path, partial)
        keys = dict[str, list[str]]()
        own = linear_layers(graph)
        for at, known in own.items():
            keys.setdefault(known.node, []).append(at)
        found: dict[str, LayerSketch] = {}
        for layer in sketch.layers:
            name = layer.layer.node
            key = next((k for k in keys.get(name, ()) if own[k] == layer.layer and k not in found), None)
            if key is None:
                why = f"has other weights in {name!r}" if name in keys else f"has no linear layer {name!r}"
                hint = "a sketch of a file before `opt` does not fit the file after; calibrate that one"
                raise UsageError("1506", f"the sketch {shown} is of another network: this one {why}", hint=hint)
            found[key] = layer
    return GraphSketch(sketch, found)


def _check_complete(sketch: Sketch, path: str | os.PathLike[str], partial: bool) -> None:
    if not sketch.complete and not partial:
        message = f"the sketch {os.fspath(path)!r} is not complete: it is of {sketch.samples} samples"
        raise UsageError("1507", message, hint="--partial takes it as it is; or calibrate again")


def merge_files(
    paths: Sequence[str | os.PathLike[str]], *, partial: bool = False, memory_limit: int = MEMORY_LIMIT
) -> Sketch:
    """Read sketches, and add them; parameters are those of `read_sketch`.

    Raises
    ------
    UsageError
        If they are not complete, are of other models, layers or random vectors, or a shard is in two of them.
    InvalidModelError
        If one is no sketch.
    """
    found = [read_sketch_file(path, memory_limit=memory_limit) for path in paths]
    for i, sketch in enumerate(found):
        _check_complete(sketch, paths[i], partial)
        for j in range(i):
            if (shard := sketch.twice(found[j])) is not None:
                other = next(s for s in found[j].shards if s.digest == shard.digest)
                raise given_twice(shard, other)
        if why := found[0].differs(sketch):
            message = f"{os.fspath(paths[0])!r} and {os.fspath(paths[i])!r} do not add up: {why}"
            raise UsageError("1504", message, hint="sketches of one model, made with the same options")
    return merged(found)
