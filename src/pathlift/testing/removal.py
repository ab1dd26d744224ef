"""Removal of channels, tried: random choices of groups, and networks with masks or zeros in place of removal."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array, Param, is_float
from pathlift.passes.channels.groups import Groups


def random_choice(groups: Groups, rng: np.random.Generator, share: float = 0.4) -> Array:
    """Choose groups to remove, about this share of them, so that every axis keeps an index.

    Parameters
    ----------
    groups
        Those of a graph.
    rng
        What decides.
    share
        Of the groups.

    Returns
    -------
    array
        A boolean per group, ``(count + 1,)``.
    """
    gone = rng.random(groups.count + 1) < share
    gone[0] = False
    for axes in groups.marks.values():
        for marks in axes:
            if marks is not None and gone[marks].all():
                gone[marks[0]] = False
    return gone


def masked(graph: Graph, masks: Mapping[str, Array]) -> Graph:
    """Return the graph with weights set to zero where a mask, by the parameter's name, is false."""
    builder = graph.edit()
    for key in graph.params:
        param = graph[key].value
        mask = masks.get(graph[key].names[0])
        if param is not None and mask is not None:
            values = np.where(mask, param.numpy(), np.zeros((), param.dtype))
            builder.replace_node(Value(key), value=Param.of(values))
    return builder.finish()


def with_zero_slices(graph: Graph, rng: np.random.Generator) -> Graph:
    """Return the graph with about half of the indices of many axes of parameters set to zero."""
    builder = graph.edit()
    for key in graph.params:
        param = graph[key].value
        if param is not None and is_float(param.dtype) and param.shape:
            values = param.numpy().copy()
            for axis in range(values.ndim):
                if rng.random() < 0.6:
                    np.moveaxis(values, axis, 0)[rng.random(values.shape[axis]) < 0.5] = 0
            builder.replace_node(Value(key), value=Param.of(values))
    return builder.finish()
