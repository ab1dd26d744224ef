"""Of the ways in which operands of sums can be matched, one whose parameters are close."""

from __future__ import annotations

import itertools

import numpy as np

from pathlift.ir.algebras.traits import traits
from pathlift.ir.types import Param, is_float
from pathlift.passes.equivalence.matching import Orders, alignments, reached
from pathlift.passes.equivalence.value_numbering import ValueNumbering

TRIALS = 64
"""In how many ways graphs are matched at most."""


def closest_orders(a: ValueNumbering, b: ValueNumbering) -> Orders:
    """Choose orders node by node, from the outputs backwards, each the closest of those that leave the others alone.

    Parameters
    ----------
    a, b
        Graphs that compute the same expressions.
    """
    distance, chosen, trials = _Distance(a, b), dict[tuple[str, str], tuple[int, ...]](), TRIALS
    while True:
        pairs = [p for p in reversed(reached(a, b, chosen)) if p not in chosen and traits(a.graph, p[0]).commutative]
        if not pairs:
            return chosen
        pair = pairs[0]
        options = list(itertools.islice(alignments(a, b, *pair), max(1, trials)))
        trials -= len(options) if len(options) > 1 else 0
        costs = [distance.of({**chosen, pair: order}) for order in options] if len(options) > 1 else [0.0]
        chosen[pair] = options[int(np.argmin(costs))]


class _Distance:
    """How far matched parameters are apart, and how many matched nodes are different ops."""

    def __init__(self, a: ValueNumbering, b: ValueNumbering) -> None:
        self.a, self.b = a, b
        self.known: dict[tuple[str, str], float] = {}

    def of(self, orders: Orders) -> float:
        """The sum over all pairs of nodes that these orders match."""
        return sum(map(self._between, reached(self.a, self.b, orders)))

    def _between(self, pair: tuple[str, str]) -> float:
        if pair not in self.known:
            ours, theirs = self.a.graph[pair[0]], self.b.graph[pair[1]]
            if ours.value is None or theirs.value is None:
                self.known[pair] = float((ours.op, ours.attrs) != (theirs.op, theirs.attrs))
            else:
                self.known[pair] = _relative(ours.value, theirs.value)
        return self.known[pair]


def _relative(p: Param, q: Param) -> float:
    """Σ|p − q| relative to Σ|p| + Σ|q|: between 0 and 1."""
    if not is_float(p.dtype):
        return float(not np.array_equal(p.numpy(), q.numpy()))
    with np.errstate(all="ignore"):
        x, y = p.numpy(), q.numpy()
        far = float(np.abs(x - y).sum() / max(np.abs(x).sum() + np.abs(y).sum(), np.finfo(np.float64).tiny))
    return far if far <= 1 else 1.0
