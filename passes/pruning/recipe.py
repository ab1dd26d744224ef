"""A recipe: everything that is done to a network that is pruned, one step after another, each checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pathlift.ir.graph import Graph
from pathlift.passes.pruning.channels import Channels, Chosen
from pathlift.passes.pruning.compensation import Compensated, compensated
from pathlift.passes.pruning.criteria import Calibration
from pathlift.passes.pruning.dead_channels import DeadChannels
from pathlift.passes.pruning.masks import Masks, Pruned
from pathlift.passes.pruning.prune import Prune


@dataclass(frozen=True, eq=False)
class Outcome:
    """A network that was pruned.

    Parameters
    ----------
    masked
        With zeros; of the same nodes and shapes as before.
    graph
        Without the channels that carry nothing: it computes the same.
    pruned
        What was set to zero.
    refit
        How layers were refitted, if they were.
    """

    masked: Graph
    graph: Graph
    pruned: Pruned
    refit: Compensated | None = None


@dataclass(frozen=True)
class Recipe:
    """What is done.

    Parameters
    ----------
    method
        Which weights go.
    channels
        Let whole channels go, and how.
    compensate
        Refit the weights that stay, if there is data.
    keep_dead
        Leave channels that carry nothing, as is always done where zeros have a structure.
    """

    method: Prune
    channels: Channels | None = None
    compensate: bool = False
    keep_dead: bool = False

    def run(
        self,
        before: Graph,
        data: Calibration | None = None,
        masks: Masks | None = None,
        progress: Callable[[str, int, int], object] | None = None,
    ) -> Outcome:
        """Prune, refit and shrink.

        Parameters
        ----------
        before
            The network.
        data
            To score on, and to refit to.
        masks
            What stays, instead of scores.
        progress
            Called before each round.

        Raises
        ------
        PathliftError
            If an option is wrong, or nothing can be pruned.
        """
        chosen: Chosen | None = None
        if masks is not None:
            rewritten = self.method.apply(before, masks)
        elif self.channels is not None:
            chosen = self.channels.prune(before, self.method, data)
            rewritten = chosen.masked
        else:
            rewritten = self.method.prune(before, data, progress)
        masked, pruned = rewritten.graph, rewritten.witness
        assert isinstance(pruned, Pruned)
        pruned.check(before, masked)
        refit: Compensated | None = None
        if self.compensate and data is not None:
            again = compensated(before, masked, self.method.prunables(before).found, data.batches)
            again.witness.check(masked, again.graph)
            assert isinstance(again.witness, Compensated)
            masked, refit = again.graph, again.witness
        structured = self.method.pattern or self.method.block  # which places that move would no longer have
        if chosen is None and (self.keep_dead or structured):
            return Outcome(masked, masked, pruned, refit)
        smaller = DeadChannels().run(masked) if chosen is None else chosen.shrunk(masked)
        if smaller.graph is not masked:
            smaller.witness.check(masked, smaller.graph)
        return Outcome(masked, smaller.graph, pruned, refit)
