"""Folds against enumeration: on random automata, every string of tokens is tried."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.automata.folds import POSSIBLE, SHORTEST, SUMS, completions, distances, edges_of, step_back, step_on
from pathlift.automata.tokens import TokenAutomaton
from pathlift.ir.types import Array

TOKENS, LENGTH = 3, 4


@st.composite
def machines(draw: st.DrawFn) -> tuple[TokenAutomaton, Array]:
    """Up to four states, some of them dead ends, and weights."""
    states = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    table = rng.integers(0, states + 1, (states + 1, TOKENS))
    table[-1] = states
    accepting = np.append(rng.random(states) < 0.5, False)
    weights = rng.random((states, TOKENS)) * (rng.random((states, TOKENS)) < 0.8)
    return TokenAutomaton(table, accepting), weights


def value(machine: TokenAutomaton, weights: Array, state: int, string: tuple[int, ...]) -> float:
    """The weight of a string from a state on; 0 where it is not accepted."""
    total = 1.0
    for token in string:
        if state == machine.dead:
            return 0.0
        total *= weights[state, token]
        state = int(machine.table[state, token])
    return total * bool(machine.accepting[state])


@settings(max_examples=200)
@given(machines(), st.booleans())
def test_completions(made: tuple[TokenAutomaton, Array], exact: bool) -> None:
    machine, weights = made
    ones = np.ones_like(weights)
    plain, weighed = edges_of(machine), edges_of(machine, weights)
    sums = completions(weighed, machine.accepting, LENGTH, SUMS, exact=exact)
    counts = completions(plain, machine.accepting, LENGTH, SUMS, exact=exact)
    possible = completions(plain, machine.accepting, LENGTH, POSSIBLE, exact=exact)
    shortest = completions(plain, machine.accepting, LENGTH, SHORTEST, exact=exact)
    for n, state in product(range(LENGTH + 1), range(machine.states)):
        lengths = [n] if exact else range(n + 1)
        strings = [s for k in lengths for s in product(range(TOKENS), repeat=k) if value(machine, ones, state, s)]
        assert counts[n, state] == len(strings)
        assert possible[n, state] == bool(strings)
        assert shortest[n, state] == min(map(len, strings), default=np.inf)
        assert abs(sums[n, state] - sum(value(machine, weights, state, s) for s in strings)) < 1e-12


@settings(max_examples=50)
@given(machines())
def test_distances(made: tuple[TokenAutomaton, Array]) -> None:
    machine, _ = made
    ones = np.ones((machine.states, TOKENS))
    found = distances(machine)
    assert found[machine.dead] == np.inf
    for state in range(machine.states):
        lengths = [k for k in range(5) for s in product(range(TOKENS), repeat=k) if value(machine, ones, state, s)]
        assert found[state] == min(lengths, default=np.inf)


@given(machines(), st.integers(0, 2**32 - 1))
def test_steps_forward_are_the_transpose_of_steps_backward(made: tuple[TokenAutomaton, Array], seed: int) -> None:
    machine, weights = made
    edges = edges_of(machine, weights)
    a, b = np.random.default_rng(seed).random((2, machine.states))
    forward, backward = step_on(edges, a, SUMS, edges.tokens), step_back(edges, b, SUMS, edges.tokens)
    assert abs(forward @ b - a @ backward) < 1e-12
