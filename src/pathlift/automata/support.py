"""Support: the tokens that can still lead to a string of the language, at each place of a string."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pathlift.automata.folds import POSSIBLE, Edges, completions, distances, edges_of
from pathlift.automata.tokens import TokenAutomaton
from pathlift.ir.types import Array


@dataclass(frozen=True, eq=False)
class Support:
    """What can still lead to an end, and within how many tokens.

    Parameters
    ----------
    automaton
        Over tokens.
    length
        The number of tokens, that which ends the string among them, that a string has at most, or, without such a
        token, exactly. None if there is no limit.
    """

    automaton: TokenAutomaton
    length: int | None = None
    edges: Edges = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", edges_of(self.automaton))

    @property
    def exact(self) -> bool:
        """Whether strings are of one length."""
        return self.automaton.eos is None

    @cached_property
    def _possible(self) -> Array:
        """Per number of tokens and state: whether there is a way of exactly so many to an end."""
        found = completions(self.edges, self.automaton.accepting, self.length or 0, POSSIBLE, exact=True)
        return np.hstack([found, np.zeros((len(found), 1), bool)])

    @cached_property
    def _distances(self) -> Array:
        return distances(self.automaton, self.edges)

    def live(self, left: int | None) -> Array:
        """Return from which states strings can be finished with so many tokens left, ``(states + 1,)``, bool."""
        if self.length is None or left is None:
            return np.isfinite(self._distances)
        if left < 0:
            return np.zeros(self.automaton.states + 1, bool)
        found: Array = self._possible[left] if self.exact else self._distances <= left
        return found

    def next(self, states: Array, position: int) -> Array:
        """Return the tokens that may stand at a position, ``(len(states), tokens)``, bool.

        Parameters
        ----------
        states
            In which strings are before it.
        position
            From 0.
        """
        left = None if self.length is None else self.length - position - 1
        found: Array = self.live(left)[self.automaton.table[states]]
        return found

    def error(self, tokens: Sequence[int] | Array) -> int | None:
        """Return the first position from which a string cannot be finished; None if it is in the language.

        That of a string that ends too early is its length.
        """
        states = self.automaton.walk(tokens)
        for i, state in enumerate(states):
            left = None if self.length is None else self.length - i
            if not self.live(left)[state]:
                return max(i - 1, 0)
        return None if self.automaton.accepting[states[-1]] else len(tokens)

    def masked(self, tokens: Sequence[int] | Array, hidden: Array) -> Array:
        """Return the tokens that may stand at each hidden position of a string, ``(hidden positions, tokens)``, bool.

        A token may if there are tokens for the other hidden positions with which the string is in the language.

        Parameters
        ----------
        tokens
            The string; what stands at hidden positions is not looked at.
        hidden
            ``(len(tokens),)``, bool.
        """
        automaton = self.automaton
        before, after = _both_ways(automaton, self.edges, tokens, hidden)
        rows = []
        for i in np.flatnonzero(hidden):
            table = automaton.table[np.flatnonzero(before[i])]
            rows.append(np.append(after[i + 1], False)[table].any(0))
        return np.array(rows).reshape(-1, automaton.tokens)


def _both_ways(
    automaton: TokenAutomaton, edges: Edges, tokens: Sequence[int] | Array, hidden: Array
) -> tuple[Array, Array]:
    """Which states the hidden tokens may lead to before each position, and from which an end can be reached."""
    count, states = len(tokens), automaton.states
    before, after = np.zeros((2, count + 1, states), bool)
    before[0, 0] = True
    after[count] = automaton.accepting[:states]
    for i in range(count):
        if hidden[i]:
            np.logical_or.at(before[i + 1], edges.target, before[i][edges.source])
        else:
            to = automaton.table[:states, tokens[i]][before[i]]
            before[i + 1, to[to != automaton.dead]] = True
    for i in reversed(range(count)):
        if hidden[i]:
            np.logical_or.at(after[i], edges.source, after[i + 1][edges.target])
        else:
            after[i] = np.append(after[i + 1], False)[automaton.table[:states, tokens[i]]]
    return before, after
