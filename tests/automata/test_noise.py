"""Noise on strings of small weighted automata, against all strings enumerated: the results of arXiv 2605.13999.

Under uniform noise odds of edits are ordered by the support first; absorbing noise, masks, never leaves it.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pathlift.automata.noise import distance, log_noised
from pathlift.automata.support import Support
from pathlift.automata.tokens import TokenAutomaton
from pathlift.automata.weighted import Weighted
from pathlift.ir.types import Array

TOKENS, LENGTH, STATES = 3, 4, 4
STRINGS = np.array(list(itertools.product(range(TOKENS), repeat=LENGTH)))
APART = (STRINGS[:, None] != STRINGS).sum(-1)
EDITS = np.argwhere(APART == 1)
SEEDS = st.integers(0, 10**6)


class Case(NamedTuple):
    """An automaton, and the probabilities of all strings, multiplied out."""

    law: Weighted
    p: Array


def probabilities(table: Array, accepting: Array, weights: Array) -> Array:
    p = np.zeros(len(STRINGS))
    for i, string in enumerate(STRINGS):
        state, weight = 0, 1.0
        for token in string:
            if state != len(weights):
                weight *= weights[state, token]
            state = table[state, token]
        p[i] = weight * accepting[state]
    return p


def case(table: Array, accepting: Array, weights: Array) -> Case:
    p = probabilities(table, accepting, weights)
    return Case(Weighted(Support(TokenAutomaton(table, accepting), LENGTH), weights), p / p.sum())


def drawn(seed: int, missing: float = 0.5) -> Case:
    rng = np.random.default_rng(seed)
    table = rng.integers(STATES, size=(STATES + 1, TOKENS))
    table[rng.random(table.shape) < missing] = STATES
    table[STATES] = STATES
    accepting, weights = np.append(rng.random(STATES) < 0.7, False), rng.uniform(0.1, 3, (STATES, TOKENS))
    assume(probabilities(table, accepting, weights).any())
    return case(table, accepting, weights)


@pytest.fixture(scope="module")
def small() -> Case:
    """Any number of 0, 1 and more 1, and so on, where a 2 comes after a 1 and before a 0 or a 1: 16 strings."""
    weights = np.array([[0.6, 0.4, 0.0], [0.0, 0.3, 0.7]])
    return case(np.array([[0, 1, 2], [2, 1, 0], [2, 2, 2]]), np.array([True, True, False]), weights)


def logs(law: Weighted, noise: float) -> Array:
    return np.array([log_noised(law, string, noise) for string in STRINGS])


@given(SEEDS, st.sampled_from([0.0, 1e-6, 0.1, 0.9, 1.0]))
@settings(max_examples=20, deadline=None)
def test_each_token_is_replaced_independently(seed: int, noise: float) -> None:
    law, p = drawn(seed)
    channel = (1 - noise) * np.eye(TOKENS) + noise / TOKENS
    expected = channel[STRINGS[:, None], STRINGS].prod(-1) @ p
    assert np.allclose(np.exp(logs(law, noise)), expected, rtol=1e-12, atol=0)
    assert expected.sum() == pytest.approx(1)


def test_long_strings_do_not_underflow() -> None:
    table, accepting = np.array([[0, 0], [1, 1]]), np.array([True, False])
    law = Weighted(Support(TokenAutomaton(table, accepting), 2000), np.array([[0.25, 0.75]]))
    assert log_noised(law, [1] * 2000, 0.0) == pytest.approx(2000 * np.log(0.75))
    assert log_noised(law, [1] * 2000, 1.0) == pytest.approx(2000 * np.log(0.5))


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_distance_is_that_to_the_nearest_string(seed: int) -> None:
    law, p = drawn(seed, missing=0.6)
    found = [distance(law.automaton, law.edges, string) for string in STRINGS]
    assert np.array_equal(found, APART[:, p > 0].min(1))


def test_no_string_of_another_length_is_near() -> None:
    automaton = TokenAutomaton(np.array([[1], [2], [2]]), np.array([False, True, False]))  # one string, of one token
    law = Weighted(Support(automaton, 1), np.ones((2, 1)))
    assert distance(automaton, law.edges, [0, 0]) == np.inf
    assert log_noised(law, [0, 0], 0.5) == -np.inf


@given(SEEDS, st.floats(1e-8, 1.0))
@settings(max_examples=20, deadline=None)
def test_odds_are_a_power_of_the_noise_and_what_is_nearest(seed: int, noise: float) -> None:
    # p_ε(y) ∝ Σ_h P_h·r^h, where P_h is the mass at distance h and r = ε/K / (1 − ε + ε/K) ≤ 1: the first term is
    # r^d·C, and the others are at most r·(1 − C)/C of it. Within the support, C is p.
    law, p = drawn(seed)
    log_p, r = logs(law, noise), (noise / TOKENS) / (1 - noise + noise / TOKENS)
    d = APART[:, p > 0].min(1)
    nearest = np.where(d[:, None] == APART, p, 0).sum(1)
    y, z = EDITS.T
    leading = (d[z] - d[y]) * np.log(r) + np.log(nearest[z] / nearest[y])
    rest = r * (1 - nearest) / nearest
    assert np.all(np.abs(log_p[z] - log_p[y] - leading) <= np.maximum(rest[z], rest[y]) + 1e-12)
    inside = (p[y] > 0) & (p[z] > 0)
    assert np.allclose(nearest[y][inside], p[y][inside])


def test_slopes_are_minus_one_zero_and_one(small: Case) -> None:
    law, p = small
    large, little = logs(law, 1e-4), logs(law, 1e-6)
    (y, z), d = EDITS.T, APART[:, p > 0].min(1)
    slopes = ((little[z] - little[y]) - (large[z] - large[y])) / np.log(1e-2)
    assert np.allclose(slopes, d[z] - d[y], atol=1e-3)
    assert set(d[z] - d[y]) == {-1, 0, 1}


def test_errors_within_the_support_are_of_first_order(small: Case) -> None:
    law, p = small
    y, z = EDITS[(p[EDITS] > 0).all(1)].T
    errors = []
    for noise in (1e-3, 1e-5):
        log_p = logs(law, noise)
        errors.append(log_p[z] - log_p[y] - np.log(p[z] / p[y]))
    assert np.abs(errors[0]).max() > 1e-4
    assert np.allclose(errors[1], 1e-2 * errors[0], rtol=0.05, atol=1e-7)


def absorbed(p: Array, noise: float) -> Array:
    """Probabilities of strings each token of which is masked by chance; the mask is the last token."""
    found = p.reshape((TOKENS,) * LENGTH)
    for axis in range(LENGTH):
        found = np.concatenate([(1 - noise) * found, noise * found.sum(axis, keepdims=True)], axis)
    return found


@given(SEEDS, st.floats(1e-6, 0.9))
@settings(max_examples=5, deadline=None)
def test_masks_leave_the_odds_of_tokens_alone(seed: int, noise: float) -> None:
    # Putting c in the place of a mask multiplies p_ε by (1 − ε)/ε·p(c | what is seen): slope −1 for every token that
    # can stand there, and no mass at all, whatever ε, on the others.
    law, p = drawn(seed)
    joint = absorbed(p, noise)
    assert joint.sum() == pytest.approx(1)
    assert np.allclose(joint[:-1, :-1, :-1, :-1].ravel(), (1 - noise) ** LENGTH * p)
    for y in itertools.product(range(TOKENS + 1), repeat=LENGTH):
        hidden = np.array(y) == TOKENS
        if not joint[y]:
            continue
        exact, possible = law.masked(y, hidden), law.support.masked(y, hidden)
        for i, conditional, can in zip(np.flatnonzero(hidden), exact, possible, strict=True):
            odds = np.array([joint[(*y[:i], c, *y[i + 1 :])] for c in range(TOKENS)]) / joint[y]
            assert np.allclose(odds, (1 - noise) / noise * conditional, rtol=1e-9, atol=0)
            assert np.array_equal(odds > 0, can)
