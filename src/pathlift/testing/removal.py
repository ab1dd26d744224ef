"""Removal of channels, tried: random choices of groups, and networks with masks in place of removal."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array, Param
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
