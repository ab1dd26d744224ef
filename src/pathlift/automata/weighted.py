"""Weighted automata: exact distributions over a language's strings, of the next token and of hidden ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pathlift.automata.folds import SUMS, Edges, edges_of, step_back
from pathlift.automata.support import Support
from pathlift.automata.tokens import TokenAutomaton
from pathlift.ir.errors import UsageError
from pathlift.ir.types import Array

_LARGE = 1e100
"""Sums of weights beyond this, or below its inverse, are divided by their largest."""


@dataclass(frozen=True, eq=False)
class Weighted:
    """A distribution over strings: each has the product of its steps' weights, over the sum of those of all strings.

    Parameters
    ----------
    support
        The automaton, and how long strings are.
    weights
        ``(states, tokens)``, float64, not negative. Steps into the dead state count for nothing.

    Raises
    ------
    UsageError
        If no string has a weight, or, without a limit of length, the weights of all do not add up.
    """

    support: Support
    weights: Array

    def __post_init__(self) -> None:
        if not self.after(0)[0] > 0:
            raise UsageError("1586", "no string of the language has a weight", hint="some way to an end must have one")

    @property
    def automaton(self) -> TokenAutomaton:
        """Over tokens."""
        return self.support.automaton

    @cached_property
    def edges(self) -> Edges:
        """Steps between states, with what their tokens weigh."""
        return edges_of(self.automaton, self.weights)

    @cached_property
    def _completions(self) -> tuple[Array, Array]:
        accepting = self.automaton.accepting
        if self.support.length is not None:
            found, logs = self._limited(accepting[: self.automaton.states].astype(np.float64), self.support.length)
        else:
            found, logs = self._unlimited()[None], np.zeros(1)
        return np.hstack([found, np.zeros((len(found), 1))]), logs

    def _limited(self, final: Array, length: int) -> tuple[Array, Array]:
        """β_n for n from 0, and the logarithms of what each was divided by so as not to overflow."""
        found, logs = [final], [0.0]
        for _ in range(length):
            step, log = step_back(self.edges, found[-1], SUMS, self.edges.tokens), logs[-1]
            if not self.support.exact:
                step = step + final * np.exp(-log)
            if (top := step.max(initial=0.0)) > _LARGE or 0 < top < 1 / _LARGE:
                step, log = step / top, log + float(np.log(top))
            found.append(step)
            logs.append(log)
        return np.array(found), np.array(logs)

    def _unlimited(self) -> Array:
        """β = f + M·β, solved: all strings, of any length."""
        count, edges = self.automaton.states, self.edges
        matrix = np.zeros((count, count))
        matrix[edges.source, edges.target] = edges.tokens
        useful = _leads_to_an_end(matrix, self.automaton.accepting[:count])
        matrix = matrix * useful
        radius = float(np.abs(np.linalg.eigvals(matrix)).max()) if count else 0.0
        if not radius < 1 - 1e-12:
            reason = f"the weights of strings do not add up: longer ones weigh {radius:.6g} times as much a token"
            raise UsageError("1586", reason, hint="smaller weights, or --max-length")
        found = np.linalg.solve(np.eye(count) - matrix, self.automaton.accepting[:count].astype(np.float64))
        return np.asarray(np.where(useful, np.maximum(found, 0.0), 0.0))

    def after(self, position: int) -> Array:
        """Return what all ways to an end weigh from each state before a position, ``(states + 1,)``, float64.

        Up to a factor of the position's own, where sums would overflow: `log_total` knows it.
        """
        length = self.support.length
        if length is not None and position > length:
            return np.zeros(self.automaton.states + 1)
        found: Array = self._completions[0][0 if length is None else length - position]
        return found

    def log_total(self) -> float:
        """Return the logarithm of what all strings weigh together."""
        return float(np.log(self.after(0)[0]) + self._completions[1][-1])

    def next(self, states: Array, position: int) -> Array:
        """Return the distribution of the token at a position, ``(len(states), tokens)``, float64.

        p(v | s) = W(s, v)·β(δ(s, v)) / β(s). Rows of states that no string of weight leads through are 0.
        """
        weights = (
            self.weights[np.minimum(states, self.automaton.states - 1)]
            * self.after(position + 1)[self.automaton.table[states]]
        )
        total = weights.sum(-1, keepdims=True)
        found: Array = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
        return found

    def masked(self, tokens: Sequence[int] | Array, hidden: Array) -> Array:
        """Return the distribution of each hidden token given those that are seen, ``(hidden positions, tokens)``.

        p(v) ∝ Σ_s α_i(s)·W(s, v)·β_{i+1}(δ(s, v)): all other hidden tokens are summed over.
        """
        automaton, edges = self.automaton, self.edges
        count, states = len(tokens), automaton.states
        before, after = np.zeros((2, count + 1, states))
        before[0, 0] = 1.0
        after[count] = automaton.accepting[:states]
        for i in range(count):
            if hidden[i]:
                np.add.at(before[i + 1], edges.target, before[i][edges.source] * edges.tokens)
            else:
                to = automaton.table[:states, tokens[i]]
                known = to != automaton.dead
                np.add.at(before[i + 1], to[known], (before[i] * self.weights[:, tokens[i]])[known])
            before[i + 1] = _scaled(before[i + 1])
        for i in reversed(range(count)):
            if hidden[i]:
                np.add.at(after[i], edges.source, after[i + 1][edges.target] * edges.tokens)
            else:
                after[i] = (
                    np.append(after[i + 1], 0.0)[automaton.table[:states, tokens[i]]] * self.weights[:, tokens[i]]
                )
            after[i] = _scaled(after[i])
        rows = []
        for at in np.flatnonzero(hidden):
            some = np.flatnonzero(before[at])
            terms = before[at][some, None] * self.weights[some] * np.append(after[at + 1], 0.0)[automaton.table[some]]
            rows.append(_normalized(terms.sum(0)))
        return np.array(rows).reshape(-1, automaton.tokens)


def fitted(automaton: TokenAutomaton, strings: Iterable[Sequence[int] | Array]) -> Array:
    """Return weights that strings of the language show: per state, how often each token followed.

    Every token that may follow a state has 1/k added to its count, k being how many there are, so that none is
    impossible; rows add up to 1.

    Returns
    -------
    Array
        ``(states, tokens)``, float64.
    """
    possible = automaton.table[: automaton.states] != automaton.dead
    kinds = possible.sum(1, keepdims=True)
    counts = possible / np.maximum(kinds, 1)
    for tokens in strings:
        np.add.at(counts, (automaton.walk(tokens)[:-1], np.asarray(tokens, np.int64)), 1.0)
    return np.asarray(counts / np.maximum(counts.sum(1, keepdims=True), 1e-300))


def _scaled(values: Array) -> Array:
    """Divide by the largest: long strings would underflow."""
    top = values.max(initial=0.0)
    return values / top if top > 0 else values


def _normalized(values: Array) -> Array:
    total = values.sum()
    return values / total if total > 0 else values


def _leads_to_an_end(matrix: Array, accepting: Array) -> Array:
    """From which states some way of weight leads to an end."""
    found = accepting.copy()
    while not ((more := found | (matrix[:, found] > 0).any(1)) == found).all():
        found = more
    return found
