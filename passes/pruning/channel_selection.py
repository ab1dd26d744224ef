"""Selection of channels: the groups that cost least for what they take up, down to a target."""

from __future__ import annotations

from collections import defaultdict
from math import ceil
from typing import Literal

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.types import Array
from pathlift.passes.channels.footprint import Tally, flop_terms, weight_terms
from pathlift.passes.channels.groups import Groups

Target = Literal["weights", "flops"]


def select_channels(
    groups: Groups, scores: Array, sparsity: float, *, target: Target = "weights", least: float = 0.0
) -> Array:
    """Choose the groups of channels to remove, over the whole network.

    Groups are ranked by their score per weight that goes with them (per operation, if these are the target), both as
    in the whole network, ties by number; from the front of the ranking they go until the target is met.

    Parameters
    ----------
    groups
        Those of the graph.
    scores
        What each group costs, ``(count + 1,)``; the first is not looked at.
    sparsity
        The share of the weights of linear maps, or of the operations, to remove at least, in [0, 1).
    target
        What `sparsity` is a share of.
    least
        The share of its indices that every axis keeps; one index at least stays.

    Returns
    -------
    array
        A boolean per group, ``(count + 1,)``.

    Raises
    ------
    UsageError
        If an option is out of range, a score is NaN, or the target cannot be met; says how far it goes.
    """
    if not 0 <= sparsity < 1 or not 0 <= least <= 1:
        raise UsageError("1497", f"a sparsity of {sparsity:g} and a floor of {least:g} are not in [0, 1) and [0, 1]")
    if scores.shape != (groups.count + 1,) or np.isnan(scores[1:]).any():
        raise UsageError("1496", f"scores {list(scores.shape)} are not numbers for {groups.count} groups of channels")
    tally = Tally(weight_terms(groups) if target == "weights" else flop_terms(groups))
    whole, gone = tally.total, np.zeros(groups.count + 1, bool)
    goal = whole - sparsity * whole
    size = np.array([tally.without(g) for g in range(groups.count + 1)], np.float64)
    size[0] = 0.0
    ranked = np.flatnonzero(size > 0)
    ranked = ranked[np.argsort(scores[ranked] / size[ranked], kind="stable")]
    floor = _Floor(groups, least)
    for group in ranked.tolist():
        if tally.total <= goal:
            break
        if floor.spares(group):
            tally.remove(group)
            gone[group] = True
    if tally.total > goal:
        most = 1 - tally.total / whole if whole else 0.0
        message = f"removing channels takes away {most:.3g} of the {target} at most, not {sparsity:g}"
        raise UsageError("1495", message, hint="every axis keeps a channel, and what meets inputs and outputs stays")
    return gone


class _Floor:
    """How many indices of each axis may still go."""

    def __init__(self, groups: Groups, least: float) -> None:
        self.left: list[int] = []
        self.axes: dict[int, list[tuple[int, int]]] = defaultdict(list)
        distinct = {m.tobytes(): m for axes in groups.marks.values() for m in axes if m is not None}
        for i, marks in enumerate(distinct.values()):
            self.left.append(len(marks) - max(1, ceil(least * len(marks))))
            for group, count in zip(*(a.tolist() for a in np.unique(marks, return_counts=True)), strict=True):
                self.axes[group].append((i, count))

    def spares(self, group: int) -> bool:
        """Whether every axis keeps enough without a group; if so, it counts as gone."""
        if any(self.left[i] < count for i, count in self.axes[group]):
            return False
        for i, count in self.axes[group]:
            self.left[i] -= count
        return True
