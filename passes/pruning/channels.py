"""Channels as what is pruned: groups chosen by a criterion, masked, and then gone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import NamedTuple

import numpy as np

from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.passes.base import Rewritten
from pathlift.passes.channels.groups import Groups, channel_groups
from pathlift.passes.pruning.channel_scores import path_costs, summed_scores
from pathlift.passes.pruning.channel_selection import Target, select_channels
from pathlift.passes.pruning.criteria import Calibration, Question, scored
from pathlift.passes.pruning.masks import Pruned
from pathlift.passes.pruning.prunable import Prunable
from pathlift.passes.pruning.prune import Prune
from pathlift.passes.pruning.shrinking import shrunk


@dataclass(frozen=True)
class Channels:
    """How channels are chosen.

    Parameters
    ----------
    target
        What the sparsity is a share of: weights or flops.
    multiple
        Of which a layer's channels stay a multiple.
    least
        The share of its channels that a layer keeps; one stays in any case.
    fast
        Take sums over weights for what a group costs in paths.
    """

    target: str = "weights"
    multiple: int = 1
    least: float = 0.0
    fast: bool = False

    def check(self, method: Prune) -> None:
        """Check these options, and that no others contradict them.

        Raises
        ------
        UsageError
            If one is wrong.
        """
        if self.target not in ("weights", "flops"):
            raise UsageError("1404", f"{self.target!r} is no target", hint="weights or flops")
        for name in ("scope", "pattern", "block", "biases"):
            if getattr(method, name):
                raise UsageError("1404", f"channels go as a whole, which has no --{name}", hint="one or the other")
        if method.schedule:
            raise UsageError("1404", "channels go in one round", hint="leave out --schedule")

    def prune(self, graph: Graph, method: Prune, data: Calibration | None = None) -> Chosen:
        """Choose channels, and set to zero what writes and reads them.

        Parameters
        ----------
        graph
            Any graph; what a node without a rule reads or computes stays.
        method
            The criterion, the sparsity, and which layers: the others' tensors stay as they are.
        data
            What ``wanda`` and ``taylor`` score on.

        Raises
        ------
        UsageError
            If an option is wrong, nothing can be pruned, or the target cannot be met.
        InvalidModelError
            If a weight, or what a layer reads of the data, is NaN or infinite.
        UnsupportedError
            If no part of the network has a path-norm, for a criterion that is made of it; or operations, if these are
            the target, cannot be counted.
        """
        self.check(method)
        method.check()
        found = method.prunables(graph).checked().found
        groups = channel_groups(graph)
        costs, remarks = self._costs(groups, found, method, data)
        target: Target = "flops" if self.target == "flops" else "weights"
        gone = select_channels(groups, costs, method.sparsity, target=target, multiple=self.multiple, least=self.least)
        masks = groups.masks(gone)
        masked = method.apply(graph, {p.name: masks.get(p.name, np.ones(p.param.shape, bool)) for p in found})
        assert isinstance(masked.witness, Pruned)
        return Chosen(Rewritten(masked.graph, replace(masked.witness, remarks=remarks)), groups, gone)

    def _costs(
        self, groups: Groups, found: tuple[Prunable, ...], method: Prune, data: Calibration | None
    ) -> tuple[Array, tuple[str, ...]]:
        """What groups cost; those with weights that are not scored must stay."""
        told = tuple[str, ...]()
        if method.criterion == "path":
            try:
                costs = path_costs(groups, fast=self.fast, shape=dict(method.shape))
                return _staying(groups, found, costs), told
            except UnsupportedError as refusal:
                told = (f"what channels cost is the sum of their weights' shares: {refusal.message}",)
        question = Question(groups.graph, found, method.seed, method.shape, data)
        scores, remarks = scored(method.criterion, question)
        costs = summed_scores(groups, scores)
        return _staying(groups, tuple(p for p in found if p.name in scores), costs), (*told, *remarks)


class Chosen(NamedTuple):
    """The network with zeros, and which of its channels can go.

    Parameters
    ----------
    masked
        With the witness of `Prune`.
    groups
        Those of the graph before.
    gone
        A boolean per group.
    """

    masked: Rewritten
    groups: Groups
    gone: Array

    def shrunk(self, masked: Graph) -> Rewritten:
        """Remove them from a graph with these zeros: it computes the same."""
        return shrunk(replace(self.groups, graph=masked), self.gone, "places with fewer channels")


def _staying(groups: Groups, found: tuple[Prunable, ...], costs: Array) -> Array:
    """Costs, infinite where a group has weights that are none of those found."""
    allowed = {key for p in found for key in p.keys}
    costs = costs.copy()
    for value, axes in groups.marks.items():
        if value.node in groups.linear and value.node not in allowed:
            for marks in axes:
                if marks is not None:
                    costs[marks] = inf
    return costs
