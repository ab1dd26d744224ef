"""Strings of tokens: data that were given or drawn, held against the language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pathlift.automata.support import Support
from pathlift.automata.tokens import TokenAutomaton
from pathlift.automata.vocabulary import Vocabulary
from pathlift.automata.weighted import Weighted
from pathlift.ir.errors import UsageError
from pathlift.ir.types import Array


@dataclass(frozen=True, eq=False)
class Strings:
    """Strings of a language, as a model reads them.

    Parameters
    ----------
    tokens
        ``(strings, width)``, int64: a token that begins strings first, if there is one; behind ends there is padding.
    start
        Where strings begin: 1 behind such a token, else 0.
    ends
        ``(strings,)``: where they end; the token that ends them is before that.
    more
        Other inputs of the model, by name.
    skipped
        How many strings were left out since they are not in the language.
    """

    tokens: Array
    start: int
    ends: Array
    more: Mapping[str, Array] = field(default_factory=dict)
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.tokens)

    def string(self, row: int) -> Array:
        """Return the tokens of a string, without what begins it."""
        return self.tokens[row, self.start : self.ends[row]]

    def part(self, rows: Array) -> Strings:
        """Return some of the strings."""
        more = {name: array[rows] for name, array in self.more.items()}
        return Strings(self.tokens[rows], self.start, self.ends[rows], more, self.skipped)


def token_array(arrays: Mapping[str, Any], name: str, others: Sequence[str]) -> tuple[Array, dict[str, Array]]:
    """Return the tokens that data holds, ``(strings, width)``, and other inputs of the model.

    Parameters
    ----------
    arrays
        By name.
    name
        Of the model's input that reads tokens; the data may call them ``tokens``, too.
    others
        The model's other inputs.

    Raises
    ------
    UsageError
        If there are no tokens, or they are no rows of whole numbers, or something else is there.
    """
    arrays = dict(arrays)
    key = next((k for k in (name, "tokens") if k in arrays), None)
    if key is None:
        raise UsageError("1582", f"the data holds {sorted(arrays)}, and no tokens", hint="np.savez(file, tokens=…)")
    tokens = np.asarray(arrays.pop(key))
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or not tokens.size:
        reason = f"tokens are {tokens.dtype} of shape {list(tokens.shape)}"
        raise UsageError("1582", f"{reason}, not rows of whole numbers", hint="int64 [N, T]")
    more = {k: np.asarray(a) for k, a in arrays.items() if k in others}
    unknown = sorted(set(arrays) - set(more))
    if unknown:
        raise UsageError("1582", f"the data holds {unknown}, which the model does not read", hint=f"it reads {name!r}")
    short = next((k for k, a in more.items() if not a.ndim or len(a) != len(tokens)), None)
    if short is not None:
        raise UsageError(
            "1582", f"the data holds {len(tokens)} strings, and {short!r} is of another number", hint="one each"
        )
    return tokens.astype(np.int64), more


def framed(tokens: Array, more: Mapping[str, Array], *, bos: int | None, eos: int | None, size: int) -> Strings:
    """Return strings with their begins and ends found; nothing is held against the language.

    A token that begins strings is put in front of all of them if none has it.

    Raises
    ------
    UsageError
        If a token is none of the vocabulary, or some strings begin with that token and others do not.
    """
    strange = (tokens < 0) | (tokens >= size)
    if strange.any():
        row, column = np.argwhere(strange)[0]
        value = tokens[row, column]
        raise UsageError("1582", f"string {row}, column {column}: {value} is no token of {size}", hint="ids from 0 on")
    if bos is not None:
        begun = tokens[:, 0] == bos
        if not begun.any():
            if more:
                raise UsageError(
                    "1582", f"strings do not begin with token {bos}", hint="put it in, beside other inputs"
                )
            tokens = np.hstack([np.full((len(tokens), 1), bos, np.int64), tokens])
        elif not begun.all():
            row = int(np.argmin(begun))
            raise UsageError("1582", f"string {row} does not begin with token {bos}, others do", hint="all, or none")
    start = int(bos is not None)
    ends = np.full(len(tokens), tokens.shape[1])
    if eos is not None:
        ended = tokens[:, start:] == eos
        ends = np.where(ended.any(1), start + ended.argmax(1) + 1, ends)
    return Strings(tokens, start, ends, more)


def in_language(strings: Strings, support: Support, vocabulary: Vocabulary, *, skip: bool) -> Strings:
    """Return the strings that are in the language.

    Raises
    ------
    UsageError
        If one is not, with its column, unless those are to be skipped; if none is.
    """
    kept = []
    for row in range(len(strings)):
        error = support.error(strings.string(row))
        if error is None:
            kept.append(row)
        elif not skip:
            column = strings.start + error
            text = vocabulary.text([int(t) for t in strings.string(row)[:error]])
            said = (
                "it ends here"
                if column >= strings.ends[row]
                else repr(vocabulary.shown(int(strings.tokens[row, column])))
            )
            reason = f"string {row}, column {column}: {said} after {text!r} leads out of the language"
            raise UsageError("1585", reason, hint="--skip-invalid leaves such strings out")
    if not kept:
        raise UsageError(
            "1585", f"none of {len(strings)} strings is in the language", hint="are --bos and --eos right?"
        )
    found = strings.part(np.array(kept))
    return Strings(found.tokens, found.start, found.ends, found.more, len(strings) - len(kept))


def check_weighed(strings: Strings, automaton: TokenAutomaton, weights: Array) -> None:
    """Check that all strings have a weight: behind a step without one, p would not be known.

    Raises
    ------
    UsageError
        If one has a step of weight 0.
    """
    for row in range(len(strings)):
        string = strings.string(row)
        states = automaton.walk(string)
        if len(without := np.flatnonzero(weights[states[:-1], string] == 0)):
            at = int(without[0])
            reason = (
                f"string {row}, column {strings.start + at}: token {string[at]} has no weight in state {states[at]}"
            )
            raise UsageError("1573", reason, hint="weights of every step that the data takes")


def drawn(
    support: Support, weighted: Weighted, count: int, *, bos: int | None, seed: int, longest: int = 4096
) -> Strings:
    """Return strings drawn from a weighted automaton; padding is the token that ends strings.

    Raises
    ------
    UsageError
        If one gets longer than 4,096 tokens.
    """
    rng = np.random.default_rng(seed)
    automaton = support.automaton
    rows: list[list[int]] = []
    for _ in range(count):
        state, row = 0, list[int]()
        while not (automaton.accepting[state] and (automaton.eos is not None or len(row) == support.length)):
            p = weighted.next(np.array([state]), len(row))[0]
            row.append(int(rng.choice(len(p), p=p)))
            state = int(automaton.table[state, row[-1]])
            if len(row) > longest:
                raise UsageError("1586", f"a string that is drawn has more than {longest} tokens", hint="--max-length")
        rows.append(row)
    start, width = int(bos is not None), max(map(len, rows))
    tokens = np.full((count, start + width), automaton.eos or 0, np.int64)
    tokens[:, :start] = bos if bos is not None else 0
    for i, row in enumerate(rows):
        tokens[i, start : start + len(row)] = row
    return Strings(tokens, start, np.array([start + len(row) for row in rows]))
