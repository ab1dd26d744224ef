"""Equivalence of two graphs up to a group of symmetries.

Both are brought to one form and matched node by node. Then an element of the group is sought that turns the weights of
one graph into those of the other: a permutation by comparing canonical forms, a rescaling by comparing weights. How it
is found does not matter: the answer is yes only if all weights agree after it, signs included.
"""

from __future__ import annotations

from dataclasses import dataclass

from pathlift.ir.graph import Graph
from pathlift.passes.base import Transform
from pathlift.passes.equivalence.decision import Decision
from pathlift.passes.equivalence.matching import interface_difference, orders, structural_difference
from pathlift.passes.equivalence.outcome import Equivalence
from pathlift.passes.equivalence.skeleton import matched
from pathlift.passes.equivalence.value_numbering import value_numbering
from pathlift.passes.layers.comparison_form import ComparisonForm, comparison_form
from pathlift.passes.rewrites.constant_folding import ConstantFolding
from pathlift.passes.rewrites.fold_batchnorm import FoldBatchnorm

REWRITES: tuple[tuple[Transform, ...], ...] = ((), (ConstantFolding(), FoldBatchnorm()))
"""What may make two graphs alike, tried in this order: nothing; computing constants and folding batch norms."""
ORDERS = 16
"""In how many ways the operands of sums are matched where several of them look alike."""


@dataclass(frozen=True)
class Modulo:
    """Compares graphs up to symmetries.

    Parameters
    ----------
    rescaling
        Whether neurons may be rescaled by positive factors.
    permutation
        Whether the channels of a layer may be in another order.
    tolerance
        The largest relative difference of two weights that counts as none.
    """

    rescaling: bool
    permutation: bool
    tolerance: float

    def compare(self, a: Graph, b: Graph) -> Equivalence:
        """Compare two graphs.

        Raises
        ------
        InvalidModelError
            If a weight is NaN; or infinite, where a canonical form is needed.
        """
        difference = interface_difference(a, b)
        if difference is not None:
            return Equivalence("different", difference)
        first: Equivalence | None = None
        for rewrites in REWRITES:
            found = self._standard(comparison_form(a, rewrites), comparison_form(b, rewrites))
            if found.verdict == "equivalent":
                return found
            if first is None or first.is_structural:
                first = found
        assert first is not None
        return first

    def _standard(self, a: ComparisonForm, b: ComparisonForm) -> Equivalence:
        known: dict[tuple[object, ...], int] = {}
        ours, theirs = value_numbering(a.graph, known), value_numbering(b.graph, known)
        difference = structural_difference(ours, theirs)
        if difference is not None:
            return Equivalence("different", difference)
        first: Equivalence | None = None
        for i, order in enumerate(orders(ours, theirs)):
            if i == ORDERS:
                return Equivalence("inconclusive", reason="the operands of sums can be matched in too many ways")
            decision = Decision(matched(ours, theirs, order), a.sizes, b.sizes, self.tolerance)
            found = decision.decide(rescaling=self.rescaling, permutation=self.permutation)
            if found.verdict == "equivalent":
                return found
            first = first or found
        assert first is not None
        return first
