"""Strings under uniform noise: what they weigh, and how far they are from the language.

Each token of a string x of the language is replaced, with probability ε, by one drawn uniformly from all K. Then
p_ε(y) = Σ_x p(x)·a^(n−h)·b^h, where h counts the tokens in which x and y differ, b = ε/K and a = 1 − ε + b: as ε → 0,
p_ε(y) shrinks as ε^d, d being the distance of y from the language. docs/theory.md says what follows for edits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pathlift.automata.folds import SHORTEST, SUMS, Edges, step_back
from pathlift.automata.tokens import TokenAutomaton
from pathlift.automata.weighted import Weighted
from pathlift.ir.types import Array


def log_noised(language: Weighted, tokens: Sequence[int] | Array, noise: float) -> float:
    """Return log p_ε of a string, the logarithm of its probability under uniform noise.

    Parameters
    ----------
    language
        What draws strings, before noise.
    tokens
        The string.
    noise
        ε, from 0 to 1.

    Returns
    -------
    float
        In nats; −∞ if there is no way, without noise that of strings off the language.
    """
    edges, uniform = language.edges, noise / language.automaton.tokens
    values, log = language.automaton.accepting[: edges.states].astype(np.float64), 0.0
    for token in reversed(tokens):
        kept = np.where(_spelled(language.automaton, edges, token), language.weights[edges.source, token], 0.0)
        values = step_back(edges, values, SUMS, (1 - noise) * kept + uniform * edges.tokens)
        if not (top := values.max()) > 0:
            return -np.inf
        values, log = values / top, log + float(np.log(top))  # long strings would underflow
    return float(log + np.log(values[0]) - language.log_total()) if values[0] > 0 else -np.inf


def distance(automaton: TokenAutomaton, edges: Edges, tokens: Sequence[int] | Array) -> float:
    """Return how many tokens of a string have to be replaced for it to be in the language, a fold in (min, +).

    Parameters
    ----------
    automaton, edges
        The language, and its steps.
    tokens
        The string.

    Returns
    -------
    float
        ∞ if the language has no string of this length.
    """
    values = np.where(automaton.accepting[: edges.states], SHORTEST.one, SHORTEST.zero)
    for token in reversed(tokens):
        values = step_back(edges, values, SHORTEST, np.where(_spelled(automaton, edges, token), 0.0, 1.0))
    return float(values[0])


def _spelled(automaton: TokenAutomaton, edges: Edges, token: int) -> Array:
    """Which steps a token is one of."""
    return np.asarray(automaton.table[edges.source, token] == edges.target)
