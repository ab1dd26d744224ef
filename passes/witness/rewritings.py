"""The witness that all local rewrites share: where a graph was rewritten, and what each place is computed from.

A rewrite changes how some values are computed. Each of them is a `Site`: its output, and the values its computation
starts from. The check goes back from the outputs through both graphs at once: whatever is no site must be the same
node, and at a site both computations are evaluated on random values, so that it knows nothing of the rewrite's algebra.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pathlift.ir.errors import WitnessError
from pathlift.ir.graph import Graph
from pathlift.passes.base import Witness
from pathlift.passes.witness.correspondence import check_correspondence
from pathlift.passes.witness.site import Site

_TOLD = 3


@dataclass(frozen=True)
class RewriteWitness(Witness):
    """Where a rewrite took place.

    Parameters
    ----------
    kind
        What was done, in the plural: ``"batch norms folded"``.
    sites
        The places.
    skipped
        Why places that looked alike were left: one sentence each, naming the node.
    copies
        Pairs of names of values of the graph before: the first was left out, since it equals the second.
    """

    kind: str
    sites: tuple[Site, ...]
    skipped: tuple[str, ...] = field(default=())
    copies: tuple[tuple[str, str], ...] = field(default=())

    def check(self, before: Graph, after: Graph) -> None:
        check_correspondence(self.kind, before, after, self.sites, dict(self.copies))

    def describe(self) -> str:
        count = len(self.sites) + len(self.copies)
        return _joined(f"{count} {self.kind}" if count else "", *_shortened(self.skipped))


@dataclass(frozen=True)
class SequentialWitness(Witness):
    """Rewrites one after another, each with a witness of its own.

    Parameters
    ----------
    steps
        The witness of each, and the graph after it; the last graph is the result.
    skipped
        As in `RewriteWitness`.
    """

    steps: tuple[tuple[Witness, Graph], ...]
    skipped: tuple[str, ...] = field(default=())

    def check(self, before: Graph, after: Graph) -> None:
        for witness, graph in self.steps:
            witness.check(before, graph)
            before = graph
        if before is not after:
            raise WitnessError("0803", "the steps lead to another graph")

    def describe(self) -> str:
        return _joined(*(witness.describe() for witness, _ in self.steps), *_shortened(self.skipped))


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _shortened(reasons: tuple[str, ...]) -> tuple[str, ...]:
    """The first few, and how many there are beyond."""
    return reasons if len(reasons) <= _TOLD else (*reasons[:_TOLD], f"{len(reasons) - _TOLD} more like these")
