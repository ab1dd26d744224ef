"""Token automata: a language's automaton over bytes, read token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pathlift.automata.dfa import Dfa
from pathlift.ir.types import Array

_BLOCK = 2**23
"""States times tokens that are walked at once: what is kept of them meanwhile takes some ten times as many bytes."""


@dataclass(frozen=True, eq=False)
class TokenAutomaton:
    """A deterministic automaton over tokens. State 0 is the first; the last row is the dead state, which none leaves.

    Only states that tokens reach, and from which tokens lead to an end, are there: what is not dead is live.

    Parameters
    ----------
    table
        ``(states + 1, tokens)``, int32 (int16 where that is enough): the next state.
    accepting
        ``(states + 1,)``, bool: where a string may end. With an end token, only the state that it leads to.
    eos
        The token that ends strings; None where a string ends with its last token.
    """

    table: Array
    accepting: Array
    eos: int | None = None

    @property
    def states(self) -> int:
        """How many states there are, without the dead one."""
        return len(self.table) - 1

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        return int(self.table.shape[1])

    @property
    def dead(self) -> int:
        """The state from which no string can be finished."""
        return self.states

    def walk(self, tokens: Sequence[int] | Array) -> Array:
        """Return the states before each token and after the last, ``(len(tokens) + 1,)``, int64."""
        found = np.zeros(len(tokens) + 1, np.int64)
        for i, token in enumerate(tokens):
            found[i + 1] = self.table[found[i], token]
        return found


def token_automaton(
    dfa: Dfa, vocabulary: Sequence[bytes | None], *, eos: int | None = None, strip: bool = False
) -> TokenAutomaton:
    """Return the automaton over a vocabulary's tokens.

    Every string of tokens whose bytes are in the language is accepted: where a text can be cut into tokens in several
    ways, all of them are. States are numbered as they are found, breadth first, tokens in order.

    Parameters
    ----------
    dfa
        The language.
    vocabulary
        Bytes by token; None for tokens that are no text, which are in no string.
    eos
        The token that ends strings.
    strip
        Whether a space in front of the first token is no part of the string.
    """
    table = walk_all(dfa, vocabulary)
    accepting = dfa.accepting
    if strip:  # a state of its own for the start, which is state 0, others one further
        first = walk_all(dfa, [t.removeprefix(b" ") if t else t for t in vocabulary], [0])
        table = np.vstack([first + 1, table + 1])
        accepting = np.append(accepting[0], accepting)
    if eos is not None:
        dead = len(table) - 1
        table = np.vstack([table[:-1], np.full((2, table.shape[1]), dead + 1, table.dtype)])
        table[table == dead] = dead + 1
        table[:, eos] = np.where(np.append(accepting, False), dead, dead + 1)
        accepting = np.arange(len(table)) == dead
    return _renumbered(table, accepting, eos)


def walk_all(dfa: Dfa, vocabulary: Sequence[bytes | None], states: Sequence[int] | None = None) -> Array:
    """Return where every token leads from every state, ``(states + 1, tokens)``, or from the states that are given.

    Tokens are walked together, shorter ones first in memory: at each position of bytes, one look-up moves all that are
    not at their end. Blocks of states keep what that takes small.
    """
    dead = dfa.states
    dtype = np.int16 if dead + 3 < 2**15 else np.int32
    columns, classes = np.unique(dfa.table, axis=1, return_inverse=True)  # bytes that act alike share a column
    columns = np.ascontiguousarray(columns, dtype=dtype)
    texts = [t or b"" for t in vocabulary]
    lengths = np.array([len(t) for t in texts], np.int64)
    order = np.argsort(lengths, kind="stable")
    ends = np.searchsorted(lengths[order], np.arange(1, lengths.max(initial=0) + 1))
    kinds = [
        classes.reshape(-1)[np.array([texts[j][i] for j in order[first:]], np.int64)].astype(np.int32)
        for i, first in enumerate(ends)
    ]
    starts = np.arange(dead + 1) if states is None else np.asarray(states)
    found = np.empty((len(starts), len(texts)), dtype)
    step = max(1, _BLOCK // max(1, len(texts)))
    flat, width = columns.reshape(-1), columns.shape[1]
    for low in range(0, len(starts), step):
        block = np.repeat(starts[low : low + step, None].astype(dtype), len(texts), axis=1)
        for first, kind in zip(ends, kinds, strict=True):
            block[:, first:] = flat[block[:, first:].astype(np.int32) * width + kind]
        block[:, : ends[0] if len(ends) else len(texts)] = dead  # no text
        found[low : low + step, order] = block
    return found


def _renumbered(table: Array, accepting: Array, eos: int | None) -> TokenAutomaton:
    """Keep the states that are reached from the first and lead to an end, in the order in which they are found."""
    dead = len(table) - 1
    targets = [np.unique(row) for row in table]
    seen, order = {0, dead}, [0]
    for state in order:  # the list grows while it is read
        if len(targets[state]) > 1 or targets[state][0] != dead:
            _, at = np.unique(table[state], return_index=True)
            fresh = [int(s) for s in table[state, np.sort(at)] if int(s) not in seen]
            seen.update(fresh)
            order.extend(fresh)
    live = accepting.copy()
    changed = True
    while changed:
        changed = False
        for state in reversed(order):
            if not live[state] and live[targets[state]].any():
                live[state] = changed = True
    kept = [s for s in order if live[s] or s == 0]
    number = np.full(len(table), len(kept), table.dtype)
    number[kept] = np.arange(len(kept))
    rows = np.vstack([number[table[kept]], np.full((1, table.shape[1]), len(kept), table.dtype)])
    return TokenAutomaton(rows, np.append(accepting[kept], False), eos)
