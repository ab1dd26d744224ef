"""Footprint of a network in weights or in operations, as channels go one group after another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import numpy as np

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Value
from pathlift.ir.types import Array, Dim
from pathlift.passes.channels.groups import Groups


@dataclass(frozen=True, eq=False)
class Term:
    """A number of weights or operations that is a product of extents.

    Parameters
    ----------
    fixed
        The product of those that stay.
    marks
        The groups along each axis that may shrink.
    """

    fixed: int
    marks: tuple[Array, ...]


def weight_terms(groups: Groups) -> list[Term]:
    """Return the numbers of weights, one term per parameter that is the weights of a linear map."""
    terms, seen = [], set[int]()
    for key in groups.graph.params:
        param = groups.graph[key].value
        assert param is not None
        if key in groups.linear and id(param) not in seen:
            seen.add(id(param))
            terms.append(_term(zip(param.shape, groups.marks[Value(key)], strict=True), 1))
    return terms


def flop_terms(groups: Groups) -> list[Term]:
    """Return the numbers of operations of one sample: two for each multiplication of linear maps and matrix products.

    A first axis of unknown extent is a batch of one.

    Raises
    ------
    UnsupportedError
        If another extent is not known; names the node.
    """
    terms = []
    for work in groups.work:
        node = groups.graph[work.node]
        if any(not isinstance(d, int) for d, _ in work.factors[1:]):
            hint = "fix the extents of the inputs in the file"
            reason = "how many operations it takes depends on an extent that is not known"
            raise UnsupportedError("1340", reason, hint=hint, node=node.label, op=node.op)
        terms.append(_term(work.factors, 2))
    return terms


def _term(factors: Iterable[tuple[Dim, Array | None]], times: int) -> Term:
    pairs = [(d if isinstance(d, int) else 1, m) for d, m in factors]
    return Term(times * prod(d for d, m in pairs if m is None), tuple(m for _, m in pairs if m is not None))


class Tally:
    """A sum of terms, from which groups are taken.

    Parameters
    ----------
    terms
        What is added up.
    """

    def __init__(self, terms: Iterable[Term]) -> None:
        self.terms = list(terms)
        self.extents = [[len(m) for m in t.marks] for t in self.terms]
        self.total = sum(t.fixed * prod(extents) for t, extents in zip(self.terms, self.extents, strict=True))
        self._where: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        for i, term in enumerate(self.terms):
            for axis, marks in enumerate(term.marks):
                for group, count in zip(*(a.tolist() for a in np.unique(marks, return_counts=True)), strict=True):
                    self._where[group].append((i, axis, count))

    def without(self, group: int) -> int:
        """Return by how much the sum falls if a group goes."""
        lost: dict[int, dict[int, int]] = defaultdict(dict)
        for i, axis, count in self._where.get(group, ()):
            lost[i][axis] = count
        return sum(
            self.terms[i].fixed
            * (prod(self.extents[i]) - prod(n - axes.get(axis, 0) for axis, n in enumerate(self.extents[i])))
            for i, axes in lost.items()
        )

    def remove(self, group: int) -> None:
        """Let a group go, once."""
        self.total -= self.without(group)
        for i, axis, count in self._where.get(group, ()):
            self.extents[i][axis] -= count
