"""Channels of a value once views have moved them: their numbers are sent through the views."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pathlift.ir.algebras.interpret import evaluate
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.errors import PathliftError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array, TensorType

Tensor = torch.Tensor

_UNKNOWN = (2, 3)
"""What unknown extents are tried as; what is true of one only is not true of the graph."""


def channels_at(graph: Graph, value: Value, axis: int, views: Sequence[str], to: int) -> Array | None:
    """Return the channel that each index along an axis holds.

    Parameters
    ----------
    graph
        The graph.
    value, axis
        Where the channels are.
    views
        Nodes, each of which reads the one before it, the first `value`.
    to
        The axis of the last one's result.

    Returns
    -------
    array or None
        ``(extent of to,)``; ``None`` if an index holds several channels.
    """
    if not views:
        return _unmoved(graph, value, axis, to)
    results = []
    for numbers in _moved(graph, value, axis, views):
        rows = numbers.movedim(to, 0).flatten(1) if numbers.ndim > 1 else numbers[:, None]
        if not rows.numel() or bool((rows != rows[:, :1]).any()):
            return None
        results.append(rows[:, 0])
    return _agreed(results)


def indices_of(graph: Graph, value: Value, axis: int, views: Sequence[str], to: int) -> Array | None:
    """Return the index along an axis that holds each channel, ``(channels,)``; ``None`` if several do.

    The parameters are those of `channels_at`.
    """
    if not views:
        return _unmoved(graph, value, axis, to)
    results = []
    for numbers in _moved(graph, value, axis, views):
        count = int(numbers.max()) + 1 if numbers.numel() else 0
        index = _numbered(tuple(numbers.shape), to)
        where = torch.zeros(count, dtype=torch.int64).scatter(0, numbers.flatten(), index.flatten())
        if not count or bool((where[numbers] != index).any()):
            return None
        results.append(where)
    return _agreed(results)


def _unmoved(graph: Graph, value: Value, axis: int, to: int) -> Array | None:
    type_ = graph.type_of(value)
    count = type_.shape[axis] if isinstance(type_, TensorType) and type_.shape is not None else None
    return np.arange(count) if isinstance(count, int) and axis == to else None


def _agreed(results: Sequence[Tensor]) -> Array | None:
    if len(results) < len(_UNKNOWN) or not torch.equal(*results):
        return None
    array: Array = results[0].numpy()
    return array


def _moved(graph: Graph, value: Value, axis: int, views: Sequence[str]) -> list[Tensor]:
    """The numbers of a value's channels behind the views, for all unknown extents that the views accept."""
    type_ = graph.type_of(value)
    if not isinstance(type_, TensorType) or type_.shape is None or not isinstance(type_.shape[axis], int):
        return []
    results = []
    for unknown in _UNKNOWN:
        numbers = _numbered(tuple(d if isinstance(d, int) else unknown for d in type_.shape), axis)
        try:
            for view in views:
                (numbers,) = evaluate(Numeric(), graph[view], (numbers,))
        except (PathliftError, RuntimeError):  # the views need extents that are not known
            return []
        results.append(numbers)
    return results


def _numbered(shape: tuple[int, ...], axis: int) -> Tensor:
    return torch.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))]).expand(shape)
