"""Samples that a caller gives, as inputs of two models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pathlift.ir.graph import Graph
from pathlift.ir.types import Dims, TensorType
from pathlift.models.data import batches, left_over, read_arrays, read_calibration
from pathlift.models.probes import Feeds


def samples(graph: Graph, at: Any) -> tuple[list[tuple[str, Feeds]], tuple[str, ...]]:
    """Read samples.

    Parameters
    ----------
    graph
        The model that takes them.
    at
        An ``.npz`` file, or arrays by input name. One input if the model takes it as it is, NaN and all; else samples,
        in batches of the size that the model fixes.

    Returns
    -------
    tuple
        Each input and what it is called, and what is left out.

    Raises
    ------
    UsageError
        If they are none of the model's.
    """
    arrays = {name: np.asarray(x) for name, x in read_arrays(at if isinstance(at, Mapping) else {"": at}).items()}
    if (whole := _whole(graph, arrays)) is not None:
        return [("given", whole)], ()
    checked = read_calibration(graph, arrays)
    return list(_numbered(graph, checked)), left_over(graph, checked)


def _whole(graph: Graph, arrays: Mapping[str, Any]) -> Feeds | None:
    """All arrays as one input; ``None`` if they are not what the model takes."""
    types = {graph[key].names[0]: graph[key].types[0] for key in graph.inputs}
    if set(types) != set(arrays):
        return None
    found = {}
    for name, type_ in types.items():
        array = arrays[name]
        if not isinstance(type_, TensorType) or type_.dtype is None:
            return None
        if array.dtype != type_.dtype and not (array.dtype.kind == type_.dtype.kind == "f"):
            texts = array.dtype.kind in "US" and type_.dtype.kind == "O"
            if not texts:
                return None
        if type_.shape is not None and not _fits(type_.shape, array.shape):
            return None
        found[name] = array.astype(type_.dtype, copy=False)
    return found


def _fits(expected: Dims, shape: tuple[int, ...]) -> bool:
    pairs = zip(expected, shape, strict=False)
    return len(expected) == len(shape) and all(not isinstance(e, int) or e == n for e, n in pairs)


def _numbered(graph: Graph, arrays: Mapping[str, Any]) -> Iterator[tuple[str, Feeds]]:
    start = 0
    for batch in batches(graph, arrays):
        size = len(next(iter(batch.values())))
        yield f"given {start}" + f" to {start + size - 1}" * (size > 1), batch
        start += size
