"""Places: the positions of strings at which a model is asked for a token, with what may stand there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pathlift.automata.support import Support
from pathlift.automata.weighted import Weighted
from pathlift.ir.types import Array
from pathlift.models.language.data import Strings
from pathlift.models.language.logits import TokenModel, chunks


@dataclass(frozen=True, eq=False)
class Places:
    """Some positions of some strings, and the model's answers.

    Parameters
    ----------
    rows, positions
        ``(places,)``: which string, and which token of it, from 0.
    states
        ``(places,)``: the automaton's state before the token.
    targets
        ``(places,)``: the token that stands there.
    logits
        ``(places, tokens)``, float64.
    allowed
        ``(places, tokens)``, bool: the tokens that may stand there.
    expected
        ``(places, tokens)``, float64: how probable each is; None where that is not known.
    """

    rows: Array
    positions: Array
    states: Array
    targets: Array
    logits: Array
    allowed: Array
    expected: Array | None


@dataclass(frozen=True, eq=False)
class Questions:
    """What a model is asked: each next token, or hidden ones.

    Parameters
    ----------
    strings
        The data.
    support, weighted
        The language, and the distribution on it if it is known.
    hidden
        ``(strings, width)``, bool: the tokens that are hidden; None where models are asked for the next one.
    mask
        The token that hides others.
    """

    strings: Strings
    support: Support
    weighted: Weighted | None = None
    hidden: Array | None = None
    mask: int = 0

    def of(self, model: TokenModel, rows: Array) -> Iterator[Places]:
        """Yield the places of strings, with what a model says; a batch of strings, or a part of one, at a time."""
        step = model.batch(self.strings.tokens.shape[1])
        for low in range(0, len(rows), step):
            at = np.arange(low, min(len(rows), low + step))
            batch, tokens = self.batch(rows[at])
            logits = model.run(tokens, batch.ends, batch.more)
            asked = [(i, j) for i in range(len(at)) for j in self._asked(batch, i, rows[at[i]])]
            states = np.array([batch_states(self.support, batch, i) for i in range(len(at))])
            for part in chunks(len(asked), logits.shape[2]):
                i, column = np.array(asked[part], np.int64).reshape(-1, 2).T
                allowed, expected = self._known(batch, rows[at], i, column, states)
                yield Places(
                    rows[at[i]],
                    column - batch.start,
                    states[i, column - batch.start],
                    batch.tokens[i, column],
                    logits[i, column - (self.hidden is None)].astype(np.float64),
                    allowed,
                    expected,
                )

    def batch(self, rows: Array) -> tuple[Strings, Array]:
        """Return some strings, and their tokens as a model reads them."""
        found = self.strings.part(rows)
        return found, found.tokens if self.hidden is None else np.where(self.hidden[rows], self.mask, found.tokens)

    def _asked(self, batch: Strings, i: int, row: int) -> Iterator[int]:
        """The columns of a string that the model is asked for: the first has nothing before it unless it is begun."""
        for column in range(max(batch.start, int(self.hidden is None)), int(batch.ends[i])):
            if self.hidden is None or self.hidden[row, column]:
                yield column

    def _known(self, batch: Strings, rows: Array, i: Array, column: Array, states: Array) -> tuple[Array, Array | None]:
        """What may stand at places, and how probable it is."""
        tokens = self.support.automaton.tokens
        allowed = np.zeros((len(i), tokens), bool)
        expected = None if self.weighted is None else np.zeros((len(i), tokens))
        if self.hidden is None:
            for position in np.unique(column - batch.start):
                here = column - batch.start == position
                state = states[i[here], position]
                allowed[here] = self.support.next(state, int(position))
                if expected is not None and self.weighted is not None:
                    expected[here] = self.weighted.next(state, int(position))
            return allowed, expected
        for k in np.unique(i):
            string, hidden = batch.string(k), self.hidden[rows[k], batch.start : batch.ends[k]]
            chosen = np.cumsum(hidden)[column[i == k] - batch.start] - 1
            allowed[i == k] = self.support.masked(string, hidden)[chosen]
            if expected is not None and self.weighted is not None:
                expected[i == k] = self.weighted.masked(string, hidden)[chosen]
        return allowed, expected


def batch_states(support: Support, batch: Strings, i: int) -> Array:
    """Return the states before each token of a string, and dead ones behind it, ``(width + 1,)``."""
    found = np.full(batch.tokens.shape[1] + 1, support.automaton.dead, np.int64)
    string = batch.string(i)
    found[: len(string) + 1] = support.automaton.walk(string)
    return found


def hide(strings: Strings, eos: int | None, share: float, seed: int) -> Array:
    """Return which tokens are hidden, ``(strings, width)``, bool: each with a probability, ends never, one at least."""
    rng = np.random.default_rng(seed)
    columns = np.arange(strings.tokens.shape[1])
    last = strings.ends - (eos is not None)
    able = (columns >= strings.start) & (columns < last[:, None])
    draws = np.where(able, rng.random(able.shape), 2.0)
    found: Array = (draws < share) | ((draws == draws.min(1, keepdims=True)) & able)
    return found
