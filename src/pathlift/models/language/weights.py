"""Weights of an automaton's steps as users give them: rows of a state, a token and a weight."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import numpy as np

from pathlift.automata.tokens import TokenAutomaton
from pathlift.ir.errors import UsageError
from pathlift.ir.types import Array

_HINT = "[[0, 17, 0.25], …]: state, token, weight; --format json lists states"


def read_weights(source: Any, automaton: TokenAutomaton) -> Array:
    """Return weights, ``(states, tokens)``, float64; steps that are not named have none.

    Raises
    ------
    UsageError
        If the file cannot be read, or a row is not a state, a token and a finite weight of at least 0, or leads out of
        the language, or is there twice.
    """
    if isinstance(source, str | os.PathLike):
        try:
            with open(source, encoding="utf-8") as file:
                source = json.load(file)
        except FileNotFoundError as error:
            raise UsageError("0470", f"there is no file {os.fspath(source)!r}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(
                "1586", f"weights cannot be read from {os.fspath(source)!r}: {error}", hint=_HINT
            ) from error
    found = np.zeros((automaton.states, automaton.tokens))
    seen: set[tuple[int, int]] = set()
    if not isinstance(source, list | tuple):
        raise UsageError("1586", f"weights are a {type(source).__name__}, not a list of rows", hint=_HINT)
    for number, row in enumerate(source):
        if not _is_row(row, automaton):
            limits = f"{automaton.states} states, {automaton.tokens} tokens"
            raise UsageError("1586", f"weight {number} is {row!r}, not one of {limits}", hint=_HINT)
        state, token, weight = row
        if (state, token) in seen:
            raise UsageError("1586", f"weight {number}: state {state} and token {token} are there twice", hint=_HINT)
        if automaton.table[state, token] == automaton.dead:
            raise UsageError(
                "1586", f"weight {number}: token {token} leads out of the language in state {state}", hint=_HINT
            )
        seen.add((state, token))
        found[state, token] = weight
    return found


def _is_row(row: Any, automaton: TokenAutomaton) -> bool:
    if not isinstance(row, list | tuple) or len(row) != 3 or any(isinstance(x, bool) for x in row):
        return False
    state, token, weight = row
    whole = isinstance(state, int) and isinstance(token, int) and isinstance(weight, int | float)
    return whole and 0 <= state < automaton.states and 0 <= token < automaton.tokens and 0 <= weight < math.inf
