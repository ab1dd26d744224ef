"""Selection of channels: the groups that cost least for what they take up, down to a target."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from math import ceil, gcd, inf, lcm
from typing import Literal

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.types import Array
from pathlift.passes.channels.footprint import Tally, flop_terms, weight_terms
from pathlift.passes.channels.groups import Groups

Target = Literal["weights", "flops"]


def select_channels(
    groups: Groups,
    scores: Array,
    sparsity: float,
    *,
    target: Target = "weights",
    least: float = 0.0,
    multiple: int = 1,
) -> Array:
    """Choose the groups of channels to remove, over the whole network.

    Groups are ranked by their score per weight that goes with them (per operation, if these are the target), both as
    in the whole network, ties by number; from the front of the ranking they go until the target is met.

    Parameters
    ----------
    groups
        Those of the graph.
    scores
        What each group costs, ``(count + 1,)``; the first is not looked at. A group of infinite cost stays.
    sparsity
        The share of the weights of linear maps, or of the operations, to remove at least, in [0, 1).
    target
        What `sparsity` is a share of.
    least
        The share of its indices that every axis keeps; one index at least stays.
    multiple
        Groups that lie along the same axes go so many at a time, those of the lowest scores first, that of each axis of
        weights a multiple of it stays: kernels compute blocks of channels, 8 or 16 on CPUs.

    Returns
    -------
    array
        A boolean per group, ``(count + 1,)``.

    Raises
    ------
    UsageError
        If an option is out of range, a score is NaN, or the target cannot be met; says how far it goes.
    """
    if not 0 <= sparsity < 1 or not 0 <= least <= 1 or multiple < 1:
        options = f"a sparsity of {sparsity:g}, a floor of {least:g} and multiples of {multiple}"
        raise UsageError("1497", f"{options} are not in [0, 1), in [0, 1] and at least 1")
    if scores.shape != (groups.count + 1,) or np.isnan(scores[1:]).any():
        raise UsageError("1496", f"scores {list(scores.shape)} are not numbers for {groups.count} groups of channels")
    tally = Tally(weight_terms(groups) if target == "weights" else flop_terms(groups))
    whole, gone = tally.total, np.zeros(groups.count + 1, bool)
    goal = whole - sparsity * whole
    size = np.array([tally.without(g) for g in range(groups.count + 1)], np.float64)
    size[0] = 0.0
    floor = _Floor(groups, least)
    packs = floor.packs([g for g in range(1, groups.count + 1) if size[g] > 0 and scores[g] < inf], scores, multiple)
    for pack in sorted(packs, key=lambda p: (scores[p].sum() / size[p].sum(), p[0])):
        if tally.total <= goal:
            break
        if floor.spares(pack):
            for group in pack:
                tally.remove(group)
            gone[pack] = True
    if tally.total > goal:
        most = 1 - tally.total / whole if whole else 0.0
        message = f"removing channels takes away {most:.3g} of the {target} at most, not {sparsity:g}"
        raise UsageError("1495", message, hint="every axis keeps a channel, and what meets inputs and outputs stays")
    return gone


class _Floor:
    """How many indices of each axis may still go."""

    def __init__(self, groups: Groups, least: float) -> None:
        self.left: list[int] = []
        self.extents: list[int] = []
        self.axes: dict[int, list[tuple[int, int]]] = defaultdict(list)
        distinct = {m.tobytes(): m for axes in groups.marks.values() for m in axes if m is not None}
        weighed = {
            m.tobytes() for v, axes in groups.marks.items() if v.node in groups.linear for m in axes if m is not None
        }
        self.weighed = [key in weighed for key in distinct]
        for i, marks in enumerate(distinct.values()):
            self.extents.append(len(marks))
            self.left.append(len(marks) - max(1, ceil(least * len(marks))))
            for group, count in zip(*(a.tolist() for a in np.unique(marks, return_counts=True)), strict=True):
                self.axes[group].append((i, count))

    def packs(self, groups: Sequence[int], scores: Array, multiple: int) -> list[list[int]]:
        """Put groups that lie along the same axes into packs, the lowest scores first, so that multiples are left."""
        alike: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
        for group in groups:
            alike[tuple(self.axes[group])].append(group)
        stays = list(self.extents)  # of each axis, what no group of these can take
        for i, count in (pair for group in groups for pair in self.axes[group]):
            stays[i] -= count
        packs = []
        for axes, members in alike.items():
            members.sort(key=lambda g: (scores[g], g))
            weighed = [(stays[i], count) for i, count in axes if self.weighed[i]]
            each = lcm(*(multiple // gcd(multiple, count) for _, count in weighed))
            left = (all((n + c * (len(members) - k)) % multiple == 0 for n, c in weighed) for k in range(each))
            first = next((k for k, fits in enumerate(left) if fits), len(members) % each)
            for i, _ in axes:
                stays[i] = 0  # made up for
            cuts = [0, *range(first or each, len(members) + 1, each)]
            packs += [members[i:j] for i, j in pairwise(cuts)]
        return packs

    def spares(self, pack: Sequence[int]) -> bool:
        """Whether every axis keeps enough without these groups; if so, they count as gone."""
        lost: dict[int, int] = defaultdict(int)
        for i, count in (pair for group in pack for pair in self.axes[group]):
            lost[i] += count
        if any(self.left[i] < count for i, count in lost.items()):
            return False
        for i, count in lost.items():
            self.left[i] -= count
        return True
