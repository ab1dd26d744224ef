"""Walks of all tokens from all states, and the states that are kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathlift.automata import tokens as room
from pathlift.automata.dfa import Dfa
from pathlift.automata.tokens import token_automaton, walk_all


def random_dfa(seed: int, states: int) -> Dfa:
    rng = np.random.default_rng(seed)
    table = rng.integers(0, states + 1, (states + 1, 256)).astype(np.int32)
    table[-1] = states
    return Dfa(table, np.append(rng.random(states) < 0.5, False))


@given(st.integers(0, 2**32 - 1), st.lists(st.one_of(st.none(), st.binary(max_size=4)), min_size=1, max_size=8))
def test_walks(seed: int, vocabulary: list[bytes | None]) -> None:
    dfa = random_dfa(seed, 5)
    found = walk_all(dfa, vocabulary)
    for state in range(6):
        for i, text in enumerate(vocabulary):
            at = state
            for byte in text or b"":
                at = int(dfa.table[at, byte])
            assert found[state, i] == (at if text else dfa.states)


def test_blocks_of_states_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    dfa, vocabulary = random_dfa(0, 40), [bytes([i, 255 - i]) for i in range(7)]
    whole = walk_all(dfa, vocabulary)
    monkeypatch.setattr(room, "_BLOCK", 21)
    assert np.array_equal(walk_all(dfa, vocabulary), whole)


def test_one_look_up_per_position_and_block() -> None:
    """50,000 tokens of up to 12 bytes from 116 states: what is looked up is states times bytes, and all at once."""
    rng = np.random.default_rng(0)
    vocabulary = [bytes(rng.integers(0, 256, 1 + i % 12).astype(np.uint8)) for i in range(50_000)]
    machine = token_automaton(random_dfa(0, 116), vocabulary, eos=0)
    assert machine.table.dtype == np.int16
    assert machine.table.nbytes <= 119 * 50_000 * 2


@given(st.integers(0, 2**32 - 1))
def test_states_are_reached_and_live(seed: int) -> None:
    dfa = random_dfa(seed, 6)
    machine = token_automaton(dfa, [bytes([i]) for i in range(3)], eos=2)
    reached, ends = {0}, {s for s in range(machine.states) if machine.accepting[s]}
    for _ in range(machine.states):
        reached |= {int(t) for s in reached for t in machine.table[s]} - {machine.dead}
        ends |= {s for s in range(machine.states) if {int(t) for t in machine.table[s]} & ends}
    assert reached == set(range(machine.states))
    assert ends | {0} == reached
    assert machine.accepting.sum() == bool(ends)
    for state in np.flatnonzero(machine.accepting):
        assert (machine.table[state] == machine.dead).all()
