"""Folds of an automaton in a semiring: what all continuations of a state amount to, and all ways to it.

A fold adds up, over paths, the products of weights along them. In (∨, ∧) it says whether there is a path, in (+, ×)
what paths weigh, in (min, +) how long the shortest is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pathlift.automata.tokens import TokenAutomaton
from pathlift.ir.types import Array


@dataclass(frozen=True)
class Semiring:
    """Two operations on arrays and what is neutral to each; `zero` also absorbs in products.

    Parameters
    ----------
    plus, times
        Where paths meet; along a path.
    zero, one
        No path; the path of no steps.
    """

    plus: np.ufunc
    times: np.ufunc
    zero: Any
    one: Any


POSSIBLE = Semiring(np.logical_or, np.logical_and, False, True)
SUMS = Semiring(np.add, np.multiply, 0.0, 1.0)
SHORTEST = Semiring(np.minimum, np.add, np.inf, 0.0)


@dataclass(frozen=True, eq=False)
class Edges:
    """Steps between live states, those of one state to another as one.

    Parameters
    ----------
    source, target
        ``(edges,)``: in order of the source, then of the target.
    tokens
        ``(edges,)``, float64: what the tokens between the two weigh, summed; 1 each without weights.
    states
        How many there are.
    """

    source: Array
    target: Array
    tokens: Array
    states: int


def edges_of(automaton: TokenAutomaton, weights: Array | None = None) -> Edges:
    """Return the steps of an automaton.

    Parameters
    ----------
    automaton
        Over tokens.
    weights
        ``(states, tokens)``, not negative; steps of weight 0 are none.
    """
    sources, targets, sums = [], [], []
    for state in range(automaton.states):  # row by row: the table may be as large as memory is
        row = automaton.table[state]
        weight = (
            (row != automaton.dead).astype(np.float64) if weights is None else weights[state] * (row != automaton.dead)
        )
        total = np.bincount(row, weights=weight, minlength=automaton.states + 1)[: automaton.states]
        to = np.flatnonzero(total)
        sources.append(np.full(len(to), state))
        targets.append(to)
        sums.append(total[to])
    empty = np.zeros(0, np.int64)
    parts = [np.concatenate([empty, *part]) for part in (sources, targets)]
    return Edges(parts[0], parts[1], np.concatenate([np.zeros(0), *sums]), automaton.states)


def step_back(edges: Edges, values: Array, ring: Semiring, weights: Array) -> Array:
    """Return, per state, the sum over its steps of weight times the value where they lead."""
    return _gathered(edges.source, ring.times(weights, values[edges.target]), edges.states, ring)


def step_on(edges: Edges, values: Array, ring: Semiring, weights: Array) -> Array:
    """Return, per state, the sum over the steps that lead to it of the value where they start times weight."""
    order = np.argsort(edges.target, kind="stable")
    terms = ring.times(values[edges.source], weights)
    return _gathered(edges.target[order], terms[order], edges.states, ring)


def _gathered(at: Array, terms: Array, states: int, ring: Semiring) -> Array:
    """Add up terms by state; `at` is sorted."""
    found = np.full(states, ring.zero, np.asarray(ring.zero).dtype)
    if len(at):
        starts = np.flatnonzero(np.append(True, at[1:] != at[:-1]))
        found[at[starts]] = ring.plus.reduceat(terms, starts)
    return found


def weights_in(edges: Edges, ring: Semiring) -> Array:
    """Return the edges' weights as elements of a semiring: sums as they are, else a step that is there."""
    if ring is SUMS:
        return edges.tokens
    return np.full(len(edges.tokens), True if ring is POSSIBLE else 1.0)


def completions(edges: Edges, accepting: Array, length: int, ring: Semiring, *, exact: bool) -> Array:
    """Return β_n(s), the fold of all ways from a state to an end within n steps.

    Parameters
    ----------
    edges
        Steps of the automaton.
    accepting
        ``(states,)``, bool.
    length
        The largest n.
    ring
        The semiring.
    exact
        Whether only ways of exactly n steps count, not shorter ones.

    Returns
    -------
    Array
        ``(length + 1, states)``: for n from 0.
    """
    final = np.where(accepting[: edges.states], ring.one, ring.zero)
    weights = weights_in(edges, ring)
    found = [final]
    for _ in range(length):
        step = step_back(edges, found[-1], ring, weights)
        found.append(step if exact else ring.plus(final, step))
    return np.array(found)


def distances(automaton: TokenAutomaton, edges: Edges | None = None) -> Array:
    """Return the least number of tokens to an end, ``(states + 1,)``, float64; infinity for the dead state."""
    edges = edges or edges_of(automaton)
    weights = weights_in(edges, SHORTEST)
    final = np.where(automaton.accepting[: automaton.states], 0.0, np.inf)
    found = final
    while not np.array_equal(found, better := np.minimum(final, step_back(edges, found, SHORTEST, weights))):
        found = better
    return np.append(found, np.inf)
