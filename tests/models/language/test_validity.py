"""The probability of valid samples: held samples against the exact sum over all strings, and against counting."""

from __future__ import annotations

import numpy as np
import pytest

from pathlift.automata.folds import SUMS, completions, edges_of
from pathlift.automata.regex import compile_regex
from pathlift.automata.support import Support
from pathlift.automata.tokens import TokenAutomaton, token_automaton
from pathlift.automata.vocabulary import read_vocabulary
from pathlift.ir.types import Array
from pathlift.models.language.data import framed
from pathlift.models.language.logits import TokenModel
from pathlift.models.language.places import hide
from pathlift.models.language.validity import estimated, free_fills, free_strings, held
from pathlift.models.session import Session
from pathlift.testing.token_models import BOS, EOS, LISTS, VOCABULARY, bigram_model, list_logits, list_strings

pytest.importorskip("interegular")
pytest.importorskip("onnxruntime")
LENGTH = 12


def lists() -> TokenAutomaton:
    return token_automaton(compile_regex(LISTS), read_vocabulary(VOCABULARY).tokens, eos=EOS)


def softmax(logits: Array) -> Array:
    z = np.exp(logits.astype(np.float64))
    return np.asarray(z / z.sum(-1, keepdims=True))


def exact(logits: Array, machine: TokenAutomaton) -> float:
    """By the automaton of pairs of a state and the last token, in which each step weighs what the model says."""
    states, tokens = machine.states, machine.tokens
    pairs = [(s, t) for s in range(states) for t in range(tokens)]
    start = pairs.index((0, BOS))
    order = [start, *(i for i in range(len(pairs)) if i != start)]
    number = {pairs[i]: k for k, i in enumerate(order)}
    table = np.full((len(pairs) + 1, tokens), len(pairs))
    for (s, t), k in number.items():
        del t
        for token in range(tokens):
            to = int(machine.table[s, token])
            if to != machine.dead:
                table[k, token] = number[to, token]
    accepting = np.array([*(machine.accepting[pairs[i][0]] for i in order), False])
    weights = np.array([softmax(logits)[pairs[i][1]] for i in order])
    both = TokenAutomaton(table, accepting, EOS)
    return float(completions(edges_of(both, weights), accepting, LENGTH, SUMS, exact=False)[LENGTH, 0])


@pytest.mark.parametrize("off", [-9.0, -5.0])
def test_strings(off: float) -> None:
    machine, logits = lists(), list_logits(0, off).astype(np.float32)
    model = TokenModel(Session(bigram_model(logits), threads=1), machine.tokens)
    begins = np.full((1500, 1), BOS)
    found = free_strings(model, Support(machine, LENGTH), begins, 1, seed=1, length=LENGTH)
    truth = exact(logits, machine)
    assert found.length == LENGTH
    assert abs(found.value - truth) < 3 * found.se
    rng, tokens, valid = np.random.default_rng(0), begins[:, 0].copy(), np.zeros(len(begins), bool)
    states, going = np.zeros(len(begins), np.int64), np.ones(len(begins), bool)
    for _ in range(LENGTH):
        q = softmax(logits)[tokens]
        tokens = (q.cumsum(1) > rng.random((len(q), 1))).argmax(1)
        states = np.where(going, machine.table[states, tokens], states)
        valid |= going & machine.accepting[states]
        going &= (states != machine.dead) & ~valid
    counted = estimated(valid.astype(float), LENGTH)
    assert abs(counted.value - truth) < 3 * counted.se
    assert abs(counted.value - found.value) < 3 * np.hypot(counted.se, found.se)
    assert found.se < counted.se
    assert found.unfinished == 0
    # Without a limit what goes on after so many tokens is no fault: what was right so far, counted.
    free = free_strings(model, Support(machine), begins, 1, seed=1, length=LENGTH)
    alive = estimated((valid | going).astype(float), LENGTH)
    assert abs(free.value - alive.value) < 3 * np.hypot(free.se, alive.se)
    assert free.unfinished == pytest.approx(going.mean(), abs=0.05)


def test_fills() -> None:
    """A model that does not look at its input: the exact probability is a sum over ways to fill."""
    machine = lists()
    support = Support(machine)
    logits = np.tile(list_logits(0, -2.0)[0].astype(np.float32), (machine.tokens, 1))
    model = TokenModel(Session(bigram_model(logits), threads=1), machine.tokens)
    string = np.array([[BOS, 0, 4, 2, 5, 1, EOS]])
    strings = framed(np.repeat(string, 2000, 0), {}, bos=BOS, eos=EOS, size=machine.tokens)
    hidden = np.zeros(strings.tokens.shape, bool)
    hidden[:, [2, 3]] = True
    q = softmax(logits[0])
    truth = sum(
        q[a] * q[b]
        for a in range(machine.tokens)
        for b in range(machine.tokens)
        if support.error([0, a, b, 5, 1, EOS]) is None
    )
    found = free_fills(model, support, strings, hidden, mask=15, seed=0)
    assert 0 < found.se < 0.02
    assert abs(found.value - truth) < 3 * found.se


def test_held_tokens() -> None:
    rng = np.random.default_rng(0)
    logits, allowed = np.tile([0.0, 1.0, 2.0], (20_000, 1)), np.tile([True, True, False], (20_000, 1))
    tokens, mass = held(logits, allowed, rng)
    assert mass[0] == pytest.approx((1 + np.e) / (1 + np.e + np.e**2))
    assert tokens.mean() == pytest.approx(np.e / (1 + np.e), abs=0.01)
    assert held(np.array([[-np.inf, 0.0]]), np.array([[True, False]]), rng)[1][0] == 0


def test_hidden_tokens_are_never_ends() -> None:
    strings = framed(list_strings(200), {}, bos=BOS, eos=EOS, size=len(VOCABULARY))
    hidden = hide(strings, EOS, 0.3, 0)
    assert hidden.any(1).all()
    assert not np.isin(strings.tokens[hidden], [BOS, EOS]).any()
    assert hidden.sum() / (strings.ends - 2).sum() == pytest.approx(0.3, abs=0.1)
