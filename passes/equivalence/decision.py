"""The decision about two graphs that differ in nothing but parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from pathlift.ir.types import Array, Param
from pathlift.passes.equivalence.agreement import agreement
from pathlift.passes.equivalence.canonical import canonical
from pathlift.passes.equivalence.colours import Refinement
from pathlift.passes.equivalence.correspondence import (
    Correspondence,
    Undecided,
    Unmatched,
    correspondences,
    permuted,
    within,
)
from pathlift.passes.equivalence.factors import fitted
from pathlift.passes.equivalence.matched_graph import MatchedGraph, untied
from pathlift.passes.equivalence.outcome import Difference, Element, Equivalence, Permutation
from pathlift.passes.equivalence.relevance import keeping, without_dead, without_irrelevant
from pathlift.passes.equivalence.skeleton import MatchedPair
from pathlift.passes.equivalence.walk import neurons_of

_OF_BATCH_NORM = {1: "scale γ/√(var+ε), γ being", 2: "shift β − mean·γ/√(var+ε), β being"}


class Decision:
    """Decides whether two graphs have the same weights up to symmetries.

    Parameters
    ----------
    pair
        The graphs.
    sizes_a, sizes_b
        By key of a parameter in the graphs before they were matched: what rounding errors are relative to.
    tolerance
        The largest relative difference of two weights that counts as none.
    """

    def __init__(
        self, pair: MatchedPair, sizes_a: Mapping[str, Param], sizes_b: Mapping[str, Param], tolerance: float
    ) -> None:
        self.tolerance = tolerance
        # Weights that only one of the files ties are compared use by use, and no tie limits how either is rescaled.
        self.first = MatchedGraph(untied(pair.first), {key: sizes_a[x] for key, (x, _) in pair.sources.items()})
        self.second = MatchedGraph(untied(pair.second), {key: sizes_b[y] for key, (_, y) in pair.sources.items()})
        sides = [without_dead(side) for side in (self.first, self.second)]  # before there are neurons: both are many
        self.network = neurons_of(pair.first)
        self.a, self.b = (without_irrelevant(side, self.network) for side in sides)

    def decide(self, *, rescaling: bool, permutation: bool) -> Equivalence:
        """Compare up to a rescaling, a permutation, both, or nothing."""
        if not permutation:
            del self.network  # it may be as large as the weights
            return self._verified(self.a, self.b, self.second, rescaling)
        forms = [canonical(side) if rescaling else side for side in (self.a, self.b)]
        first: Equivalence | None = None
        try:
            refinement = partial(Refinement, self.network, forms[0], forms[1], self.tolerance)
            for found in correspondences(refinement):
                result = self._permuted(found, rescaling)
                if result is not None and result.verdict == "different" and not found.forced.all():
                    certain = self._without_choices(found, rescaling)
                    result, first = (certain, first) if certain.verdict == "different" else (None, first or result)
                if result is not None:
                    return result
        except Unmatched as lost:
            return Equivalence("different", self._lost(lost.neuron))
        except Undecided:
            return Equivalence("inconclusive", reason="neurons that look alike can be matched in too many ways")
        nothing = Difference("parameter", "no order of the channels makes all weights agree")
        return first or Equivalence("different", nothing)

    def _permuted(self, found: Correspondence, rescaling: bool) -> Equivalence | None:
        """Compare all weights after a permutation; ``None`` if neurons are not computed alike after it."""
        b, second = (permuted(side, self.network, found.image) for side in (self.b, self.second))
        if b is None or second is None:
            return None
        result = self._verified(self.a, b, second, rescaling)
        return replace(result, permutation=Permutation(self.network, found.image))

    def _without_choices(self, found: Correspondence, rescaling: bool) -> Equivalence:
        """Compare the weights between neurons that no permutation could send elsewhere."""
        b, second = (permuted(side, self.network, found.image) for side in (self.b, self.second))
        assert b is not None
        assert second is not None
        kept = {w.key: keeping(within(w, found.forced), w.neutral) for w in self.network.weights}
        return self._verified(self.a.changed(kept), b.changed(kept), second, rescaling)

    def _verified(self, a: MatchedGraph, b: MatchedGraph, second: MatchedGraph, rescaling: bool) -> Equivalence:
        """Compare all weights, after the rescaling that fits best; `second` has those of the second file."""
        fit = fitted(a, b) if rescaling else None
        scaled = a if fit is None else fit.applied(a)
        found = agreement(scaled, b, self.tolerance)
        if found.first is None:
            return Equivalence("equivalent", largest=found.largest, rescaling=fit)
        key, index = found.first
        values = tuple(_element(side.values(key), index) for side in (self.first, second, scaled))
        difference = self._difference(key, index, values, rescaling)
        return Equivalence("different", difference, largest=found.largest, rescaling=fit)

    def _difference(self, key: str, index: tuple[int, ...], values: tuple[Element, ...], rescaling: bool) -> Difference:
        graph = self.first.graph
        ((user, slot, _), *_) = graph.users(key) or [(key, 0, 0)]
        node, name = graph[user], graph[key].label
        prefix = _OF_BATCH_NORM.get(slot, "") if node.op == "BatchNormalization" else ""
        what = " ".join(filter(None, [prefix, repr(name), f"at {list(index)}" if index else ""]))
        ours, theirs, scaled = map(_figure, values)
        expected = f", where rescaling makes it {scaled}" if rescaling else ""
        message = f"node {node.label!r} ({node.op}): {what} is {ours} in the first, {theirs} in the second{expected}"
        return Difference("parameter", message, node.label, name, index, (values[0], values[1]))

    def _lost(self, neuron: int) -> Difference:
        label = self.network.label(neuron)
        channel = int(neuron - np.argmax(self.network.origin == self.network.origin[neuron]))
        message = f"node {label!r}: channel {channel} has no counterpart in the second"
        keys = [w.key for w in self.network.weights if (w.times == neuron).any()]
        name = self.first.graph[keys[0]].label if keys else None
        return Difference("parameter", message, node=label, parameter=name, index=(channel,))


def _element(values: Array, index: tuple[int, ...]) -> Element:
    element: Element = np.asarray(values[index]).item()
    return element


def _figure(value: Element) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)
