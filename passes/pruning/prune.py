"""The pass `prune`: weights that are worth least are set to zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.passes.base import Effect, Rewritten, Transform
from pathlift.passes.pruning.criteria import DEFAULT_SCOPES, Calibration, Question, Scored, scored
from pathlift.passes.pruning.masks import Masks, Pruned, check_masks, layers_of, put_on
from pathlift.passes.pruning.prunable import Prunable, Prunables, prunables
from pathlift.passes.pruning.selection import select
from pathlift.passes.pruning.structure import Patterned, read_structure

ProgressCallback = Callable[[str, int, int], object]
"""Told what goes on, its number, and how many there are."""
UNSCORED = "no part of the network that has a path-norm uses its weights"
UNSKETCHED = "the sketch is not of all layers that read its weights"


@dataclass(frozen=True)
class Prune(Transform):
    """Set the weights to zero that are worth least.

    Parameters
    ----------
    sparsity
        The share of weights that are zero afterwards. In [0, 1); a pattern has its own.
    criterion
        path, magnitude, synflow, random, wanda or taylor. ``path``, the share of the path-norm through a weight, is the
        same for all rescaled copies of a network; the last two need data, and are not for pipelines.
    scope
        global, layer or row: what is compared with each other. By default all weights, but rows for wanda.
    pattern
        N:M, which keeps N of every M consecutive inputs of an output, or ks:K, which keeps one weight of K, in
        the Kronecker-sparse support that is worth most. 2:4 is what sparse tensor cores take.
    block
        BxC, which lets whole blocks go. Of outputs × inputs.
    schedule
        Sparsities on the way there, scored anew after each. Rising, as [0.5,0.7].
    include
        Layers, or their weights. Globs, separated by ``;`` or commas.
    exclude
        Layers, or weights, that stay as they are.
    biases
        Prune biases, too.
    seed
        Of random scores.
    shape
        Fill in symbolic dimensions. The batch needs none.
    """

    name: ClassVar[str] = "prune"
    effect: ClassVar[Effect] = Effect.LOWERS

    sparsity: float = 0.5
    criterion: str = "path"
    scope: str = ""
    pattern: str = ""
    block: str = ""
    schedule: tuple[float, ...] = ()
    include: str = "*"
    exclude: str = ""
    biases: bool = False
    seed: int = 0
    shape: tuple[tuple[str, int], ...] = ()

    @property
    def levels(self) -> tuple[float, ...]:
        """The sparsities after each round; a schedule may name the last one, too."""
        return self.schedule if self.schedule[-1:] == (self.sparsity,) else (*self.schedule, self.sparsity)

    def run(self, graph: Graph) -> Rewritten:
        """Prune without data; see `prune`."""
        return self.prune(graph)

    def prune(
        self, graph: Graph, data: Calibration | None = None, progress: ProgressCallback | None = None
    ) -> Rewritten:
        """Score, select, and set to zero, as often as scheduled.

        Parameters
        ----------
        graph
            Any graph.
        data
            What ``wanda`` and ``taylor`` score on.
        progress
            Called before each round.

        Raises
        ------
        UsageError
            If an option is out of range, or nothing is left to prune.
        InvalidModelError
            If a weight, or what a layer reads of the data, is NaN or infinite.
        UnsupportedError
            If no part of the network has a path-norm, for a criterion that is made of it.
        """
        self.check()
        structure = read_structure(self.pattern, self.block)
        allowed = self.prunables(graph).checked()
        kept, masks = dict(allowed.kept), dict[str, Array]()
        if data is not None and self.criterion == "taylor":
            data = data.labelled(graph)  # the decisions of the network as it was
        found, after, remarks = allowed.found, graph, tuple[str, ...]()
        for i, sparsity in enumerate(self.levels):
            if progress is not None:
                progress("scores", i, len(self.levels))
            scores, told = self._scored(after, found, data)
            why = UNSCORED if data is None or data.norms is None else UNSKETCHED
            refused = {p.name: structure.refusal(p) or ("" if p.name in scores else why) for p in found}
            kept |= {p.node: refused[p.name] for p in found if refused[p.name]}
            found = Prunables(tuple(p for p in found if not refused[p.name]), kept).checked().found
            scope = self.scope or DEFAULT_SCOPES.get(self.criterion, "global")
            masks = select(found, scores, sparsity, scope, structure)
            after = put_on(after, found, masks)
            now = {p.name: p for p in self.prunables(after).found}
            found = tuple(now[p.name] for p in found)
            remarks = told
        return self._rewritten(graph, masks, kept, remarks)

    def prunables(self, graph: Graph) -> Prunables:
        """Return what the options allow to prune."""
        return prunables(graph, self.include, self.exclude, biases=self.biases)

    def apply(self, graph: Graph, masks: Masks) -> Rewritten:
        """Put given masks on; those of parameters, by name, that are left out keep all.

        Raises
        ------
        UsageError
            If one does not fit.
        """
        found = self.prunables(graph).checked()
        check_masks(found.found, masks)
        whole = {p.name: np.ones(p.param.shape, bool) for p in found.found}
        return self._rewritten(graph, {**whole, **masks}, found.kept, ())

    def check(self) -> None:
        """Check the options.

        Raises
        ------
        UsageError
            If one is out of range.
        """
        if not 0 <= self.sparsity < 1:
            raise UsageError("1409", f"a sparsity of {self.sparsity} is not in [0, 1)", hint="0.8 leaves a fifth")
        if not all(0 <= a < b for a, b in pairwise(self.levels)):
            told = ", ".join(map(str, self.levels))
            raise UsageError("1409", f"the sparsities {told} do not rise from 0 on", hint="0.5, 0.7, and at last 0.8")
        if self.seed < 0:
            raise UsageError("1409", f"the seed is {self.seed}", hint="a number from 0 on")
        if isinstance(read_structure(self.pattern, self.block), Patterned) and (self.scope or self.schedule):
            raise UsageError("1404", "a pattern has its own scope, and one round", hint="leave out scope and schedule")

    def _scored(self, graph: Graph, found: tuple[Prunable, ...], data: Calibration | None) -> Scored:
        return scored(self.criterion, Question(graph, found, self.seed, self.shape, data))

    def _rewritten(self, graph: Graph, masks: Masks, kept: dict[str, str], remarks: tuple[str, ...]) -> Rewritten:
        found = tuple(p for p in self.prunables(graph).found if p.name in masks)
        holders = {key: p.name for p in found for key in p.keys}
        witness = Pruned(masks, holders, layers_of(found, masks), kept, remarks)
        return Rewritten(put_on(graph, found, masks), witness)
