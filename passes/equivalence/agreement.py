"""Agreement of the weights of two networks on the same graph: element by element, signs included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathlift.ir.rows import blocks
from pathlift.ir.types import Array
from pathlift.passes.equivalence.matched_graph import MatchedGraph


@dataclass(frozen=True)
class Agreement:
    """How far the weights of two networks agree.

    Parameters
    ----------
    largest
        The largest difference of two elements, relative to their size.
    first
        The first parameter with elements that differ by more than the tolerance, and the worst of these; ``None`` if
        there is none.
    """

    largest: float
    first: tuple[str, tuple[int, ...]] | None


def agreement(a: MatchedGraph, b: MatchedGraph, tolerance: float) -> Agreement:
    """Compare the parameters of two networks, in the order of their use.

    Parameters
    ----------
    a, b
        The networks.
    tolerance
        The largest difference of two elements that counts as none, relative to the larger size.
    """
    largest, first = 0.0, None
    real = set(a.real)
    for key in a.graph.order:
        if a.graph[key].value is None:
            continue
        if key in real:
            worst, where = _worst(a, b, key)
        else:
            equal = np.asarray(a.values(key) == b.values(key))
            worst, where = (0.0, 0) if equal.all() else (np.inf, int(np.argmin(equal)))
        largest = max(largest, worst)
        if worst > tolerance and first is None:
            first = key, tuple(int(i) for i in np.unravel_index(where, a.param(key).shape))
    return Agreement(largest, first)


def _worst(a: MatchedGraph, b: MatchedGraph, key: str) -> tuple[float, int]:
    """The largest relative difference of two elements, and where it is."""
    ours, theirs = a.param(key), b.param(key)
    worst, where, start = 0.0, 0, 0
    for rows in blocks(ours.shape):
        difference = _relative(ours.rows(rows), theirs.rows(rows), a.size(key, rows), b.size(key, rows)).reshape(-1)
        if difference.size and (largest := difference[at := int(np.argmax(difference))]) > worst:
            worst, where = float(largest), start + at
        start += difference.size
    return worst, where


def _relative(a: Array, b: Array, size_a: Array, size_b: Array) -> Array:
    """Differences relative to sizes, which are at least the values' own; what is NaN in both networks is the same."""
    with np.errstate(all="ignore"):
        size = np.fmax(np.fmax(size_a, size_b), np.fmax(np.abs(a), np.abs(b)))
        relative = np.abs(a - b) / size
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0.0, np.where(np.isnan(relative), np.inf, relative))
