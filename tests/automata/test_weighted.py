"""Support and exact distributions against the enumeration of all strings of random automata."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.automata.support import Support
from pathlift.automata.tokens import TokenAutomaton
from pathlift.automata.weighted import Weighted, fitted
from pathlift.ir.errors import UsageError
from pathlift.ir.types import Array

TOKENS, LENGTH, EOS = 4, 4, 3


@st.composite
def machines(draw: st.DrawFn) -> tuple[TokenAutomaton, Array]:
    """Up to four states with an end token or without, and weights."""
    states, ends = draw(st.integers(1, 4)), draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    table = rng.integers(0, states + 1, (states + 2, TOKENS))
    table[table == states] = states + 1
    table[-2:] = states + 1
    accepting = np.append(rng.random(states) < 0.6, [False, False])
    if ends:
        table[:, EOS] = np.where(accepting, states, states + 1)
        accepting = np.arange(states + 2) == states
    weights = (0.1 + rng.random((states + 1, TOKENS))) * (rng.random((states + 1, TOKENS)) < 0.9)
    return TokenAutomaton(table, accepting, EOS if ends else None), weights


def strings_of(machine: TokenAutomaton, lengths: range) -> list[tuple[int, ...]]:
    return [s for k in lengths for s in product(range(TOKENS), repeat=k) if machine.accepting[machine.walk(s)[-1]]]


def weight(machine: TokenAutomaton, weights: Array, string: tuple[int, ...]) -> float:
    states = machine.walk(string)
    return float(np.prod([weights[s, t] for s, t in zip(states, string, strict=False)]))


@settings(max_examples=200)
@given(machines())
def test_next_tokens(made: tuple[TokenAutomaton, Array]) -> None:
    machine, weights = made
    support = Support(machine, LENGTH)
    strings = strings_of(machine, range(LENGTH, LENGTH + 1) if support.exact else range(LENGTH + 1))
    known = {s: weight(machine, weights, s) for s in strings}
    if not sum(known.values()):
        with pytest.raises(UsageError, match="PL1586"):
            Weighted(support, weights)
        return
    weighted = Weighted(support, weights)
    assert abs(weighted.after(0)[0] - sum(known.values())) < 1e-12
    for prefix in {s[:i] for s in strings for i in range(len(s))}:
        state, at = machine.walk(prefix)[-1:], len(prefix)
        follow = [[s for s in strings if s[: at + 1] == (*prefix, v)] for v in range(TOKENS)]
        assert list(support.next(state, at)[0]) == [bool(f) for f in follow]
        masses = np.array([sum(known[s] for s in f) for f in follow])
        if masses.sum():
            assert np.abs(weighted.next(state, at)[0] - masses / masses.sum()).max() < 1e-12


@settings(max_examples=200)
@given(machines(), st.data())
def test_hidden_tokens(made: tuple[TokenAutomaton, Array], data: st.DataObject) -> None:
    machine, weights = made
    support = Support(machine, LENGTH)
    strings = strings_of(machine, range(1, LENGTH + 1))
    masses = {s: weight(machine, weights, s) for s in strings}
    if not strings or not sum(masses.values()):
        return
    string = data.draw(st.sampled_from(strings))
    hidden = np.array(data.draw(st.lists(st.booleans(), min_size=len(string), max_size=len(string))))
    alike = [
        s
        for s in strings
        if len(s) == len(string) and all(h or a == b for a, b, h in zip(s, string, hidden, strict=True))
    ]
    shown = [0 if h else t for t, h in zip(string, hidden, strict=True)]
    allowed = support.masked(shown, hidden)
    if known := sum(
        weight(machine, weights, s)
        for s in strings_of(machine, range(LENGTH, LENGTH + 1) if support.exact else range(LENGTH + 1))
    ):
        p = Weighted(support, weights).masked(shown, hidden)
    for row, i in enumerate(np.flatnonzero(hidden)):
        assert list(allowed[row]) == [any(s[i] == v for s in alike) for v in range(TOKENS)]
        total = sum(masses[s] for s in alike)
        if known and total:
            expected = np.array([sum(masses[s] for s in alike if s[i] == v) for v in range(TOKENS)]) / total
            assert np.abs(p[row] - expected).max() < 1e-12


@settings(max_examples=100)
@given(machines())
def test_without_a_limit_of_length(made: tuple[TokenAutomaton, Array]) -> None:
    """β is what long limits tend to, with weights small enough for that to be soon."""
    machine, weights = made
    weights = weights / 20
    strings = [s for s in strings_of(machine, range(1, LENGTH + 1)) if weight(machine, weights, s)]
    if machine.eos is None or not strings:
        return
    free, limited = Weighted(Support(machine), weights), Weighted(Support(machine, 60), weights)
    assert np.allclose(free.after(0), limited.after(0), rtol=1e-12, atol=1e-15)
    for state in range(machine.states):
        assert np.abs(free.next(np.array([state]), 7) - limited.next(np.array([state]), 0)).max() < 1e-12


def test_weights_that_do_not_add_up() -> None:
    table = np.array([[0, 1], [2, 2], [2, 2]])
    machine = TokenAutomaton(table, np.array([False, True, False]), 1)
    with pytest.raises(UsageError, match=r"PL1586.*1\.5 times"):
        Weighted(Support(machine), np.array([[1.5, 1.0], [0.0, 0.0]]))
    assert Weighted(Support(machine, 3), np.array([[1.5, 1.0], [0.0, 0.0]])).after(0)[0] == 1 + 1.5 + 1.5**2


def test_fitted_weights_are_counts() -> None:
    table = np.array([[0, 1], [2, 2], [2, 2]])
    machine = TokenAutomaton(table, np.array([False, True, False]), 1)
    found = fitted(machine, [[0, 0, 1], [1]])
    assert np.allclose(found, [[2.5 / 5, 2.5 / 5], [0, 0]])


def test_errors_of_strings() -> None:
    table = np.array([[1, 3, 3], [1, 1, 2], [3, 3, 3], [3, 3, 3]])  # an a, then any a and b, then an end
    machine = TokenAutomaton(table, np.array([False, False, True, False]), 2)
    free, short = Support(machine), Support(machine, 3)
    assert free.error([0, 1, 1, 2]) is None
    assert free.error([1, 2]) == 0
    assert free.error([0, 0]) == 2
    assert free.error([0, 2, 0]) == 2
    assert short.error([0, 1, 2]) is None
    assert short.error([0, 1, 1, 2]) == 2


@pytest.mark.parametrize("weight", [10.0, 1e-3])
def test_scaled_sums_are_those_of_logarithms(weight: float) -> None:
    """Three tokens, then an end, of up to 400 in all: Σ (3w)^k for k from 0 to 399, which no double has."""
    machine = TokenAutomaton(np.array([[0, 0, 0, 1], [2, 2, 2, 2], [2, 2, 2, 2]]), np.array([False, True, False]), EOS)
    language = Weighted(Support(machine, 400), np.array([[weight] * 3 + [1.0], [0.0] * 4]))
    base = 3 * weight
    expected = 400 * np.log(base) - np.log(base - 1) if base > 1 else -np.log1p(-base)
    assert language.log_total() == pytest.approx(expected, rel=1e-12)
    assert language.next(np.array([0]), 398)[0, EOS] == pytest.approx(1 / (1 + base))
    first = language.next(np.array([0]), 0)[0]
    assert first[0] == pytest.approx(1 / 3 if base > 1 else weight)
