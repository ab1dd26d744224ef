"""Pairs of networks that differ in their parameters alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array, Param, is_float

_CHANGES: Mapping[str, Callable[[np.random.Generator, Array], Array]] = {
    "prune": lambda rng, w: w * rng.integers(0, 2, w.shape),
    "shrink": lambda rng, w: w * (rng.integers(0, 5, w.shape) / 4),
    "round": lambda rng, w: np.rint(w * 2) / 2,
    "scale": lambda rng, w: w * (1 + rng.integers(-2, 3, w.shape) / 8),
    "flip": lambda rng, w: w * rng.choice([-1, 1], w.shape),
    "noise": lambda rng, w: w + rng.integers(-2, 3, w.shape) / 8,
}
CHANGES = tuple(_CHANGES)
"""What `perturbed` may do."""


def with_parameters(graph: Graph, values: Mapping[str, Any]) -> Graph:
    """Return the graph with other values of some parameters, by key; they keep their types."""
    b = graph.edit()
    for key, new in values.items():
        old = graph[key].value
        assert old is not None
        b.replace_node(Value(key), value=Param.of(np.broadcast_to(np.asarray(new), old.shape).astype(old.dtype)))
    return b.finish()


def perturbed(graph: Graph, change: str, rng: np.random.Generator, *, share: float = 0.7) -> Graph:
    """Return the graph with some of its parameters changed, tied ones alike.

    Parameters
    ----------
    graph
        Any graph. Variances and divisors keep their signs, slopes of a PRelu their values.
    change
        One of `CHANGES`. ``prune`` and ``shrink`` raise no magnitude and change no sign.
    rng
        Decides which, and how.
    share
        How many parameters change, about.
    """
    changed = {}
    for key in graph.params:
        param = graph[key].value
        assert param is not None
        uses = {(graph[user].op, slot) for user, slot, _ in graph.users(key)}
        if not is_float(param.dtype) or rng.random() > share or any(op == "PRelu" and slot == 1 for op, slot in uses):
            continue
        positive = any(op == "Div" or (op == "BatchNormalization" and slot == 4) for op, slot in uses)
        changed[key] = _CHANGES["scale" if positive else change](rng, param.numpy().astype(np.float64))
    return with_parameters(graph, changed)
