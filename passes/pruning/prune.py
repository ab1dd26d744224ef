"""The pass `prune`: weights that are worth least are set to zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
from pathlift.passes.pruning.structure import Sparse, read_structure

ProgressCallback = Callable[[str, int, int], object]
"""Told what goes on, its number, and how many there are."""
UNSCORED = "no part of the network that has a path-norm uses its weights"


@dataclass(frozen=True)
class Prune(Transform):
    """Set the weights to zero that are worth least.

    Parameters
    ----------
    sparsity
        The share of weights that are zero afterwards. In [0, 1); N:M has its own.
    criterion
        path, magnitude, synflow, random, wanda or taylor. ``path``, the share of the path-norm through a weight, is the
        same for all rescaled copies of a network; the last two need data, and are not for pipelines.
    scope
        global, layer or row: what is compared with each other. By default all weights, but rows for wanda.
    pattern
        N:M, which keeps N of every M consecutive inputs of an output. 2:4 is what sparse tensor cores take.
    block
        BxC, which lets whole blocks go. Of outputs × inputs.
    schedule
        In so many rounds, scored anew after each. What stays shrinks by the same factor in every round.
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
    schedule: int = 1
    include: str = "*"
    exclude: str = ""
    biases: bool = False
    seed: int = 0
    shape: tuple[tuple[str, int], ...] = ()

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
        for i in range(self.schedule):
            if progress is not None:
                progress("scores", i, self.schedule)
            scores, told = self._scored(after, found, data)
            refused = {p.name: structure.refusal(p) or ("" if p.name in scores else UNSCORED) for p in found}
            kept |= {p.node: refused[p.name] for p in found if refused[p.name]}
            found = Prunables(tuple(p for p in found if not refused[p.name]), kept).checked().found
            density = (1 - self.sparsity) ** ((i + 1) / self.schedule)
            sparsity = self.sparsity if i + 1 == self.schedule else 1 - density
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
        if self.schedule < 1 or self.seed < 0:
            raise UsageError("1409", f"{self.schedule} rounds with seed {self.seed}: at least one, and none below 0")
        if isinstance(read_structure(self.pattern, self.block), Sparse) and (self.scope or self.schedule > 1):
            raise UsageError("1404", "N:M has its own scope, and one round", hint="leave out scope and schedule")

    def _scored(self, graph: Graph, found: tuple[Prunable, ...], data: Calibration | None) -> Scored:
        return scored(self.criterion, Question(graph, found, self.seed, self.shape, data))

    def _rewritten(self, graph: Graph, masks: Masks, kept: dict[str, str], remarks: tuple[str, ...]) -> Rewritten:
        found = tuple(p for p in self.prunables(graph).found if p.name in masks)
        holders = {key: p.name for p in found for key in p.keys}
        witness = Pruned(masks, holders, layers_of(found, masks), kept, remarks)
        return Rewritten(put_on(graph, found, masks), witness)
