"""Places: models are asked at each token but those behind an end, with what may stand there beside the answer."""

from __future__ import annotations

import numpy as np
import pytest

from pathlift.automata.regex import compile_regex
from pathlift.automata.support import Support
from pathlift.automata.tokens import token_automaton
from pathlift.automata.vocabulary import read_vocabulary
from pathlift.automata.weighted import Weighted, fitted
from pathlift.ir.types import Array
from pathlift.models.language.data import Strings, framed
from pathlift.models.language.logits import TokenModel
from pathlift.models.language.places import Places, Questions, hide
from pathlift.models.session import Session
from pathlift.testing.token_models import BOS, EOS, LISTS, VOCABULARY, bigram_model, list_logits, list_strings

pytest.importorskip("interegular")
pytest.importorskip("onnxruntime")
LOGITS = list_logits()


def asked(strings: Strings, hidden: Array | None = None, length: int | None = None) -> tuple[Places, Questions]:
    eos = EOS if strings.tokens.max() == EOS else None
    machine = token_automaton(compile_regex(LISTS), read_vocabulary(VOCABULARY).tokens, eos=eos)
    support = Support(machine, length)
    weights = fitted(machine, [strings.string(i) for i in range(len(strings))])
    questions = Questions(strings, support, Weighted(support, weights), hidden, mask=15)
    model = TokenModel(Session(bigram_model(LOGITS), threads=1), machine.tokens)
    parts = list(questions.of(model, np.arange(len(strings))))
    fields = ("rows", "positions", "states", "targets", "logits", "allowed", "expected")
    return Places(*(np.concatenate([getattr(p, f) for p in parts]) for f in fields)), questions


@pytest.mark.parametrize("begun", [True, False])
def test_next_tokens(begun: bool) -> None:
    tokens = list_strings(70)
    strings = framed(tokens if begun else tokens[:, 1:], {}, bos=BOS if begun else None, eos=EOS, size=18)
    places, questions = asked(strings)
    machine = questions.support.automaton
    assert len(places.rows) == sum(len(strings.string(i)) - (not begun) for i in range(70))
    for row, at, state, target, z, allowed, p in zip(
        places.rows, places.positions, places.states, places.targets, places.logits, places.allowed,
        places.expected if places.expected is not None else [], strict=True,
    ):  # fmt: skip
        string = strings.string(row)
        assert string[at] == target
        assert state == machine.walk(string[:at])[-1]
        before = strings.tokens[row, strings.start + at - 1]
        assert np.allclose(z, LOGITS[before], atol=1e-4)
        assert list(allowed) == [machine.table[state, t] != machine.dead for t in range(18)]
        assert allowed[target]
        assert p[target] > 0
        assert abs(p.sum() - 1) < 1e-12
        assert not p[~allowed].any()


def test_hidden_tokens() -> None:
    strings = framed(list_strings(20), {}, bos=BOS, eos=EOS, size=18)
    hidden = hide(strings, EOS, 0.4, 1)
    places, questions = asked(strings, hidden)
    assert len(places.rows) == hidden.sum()
    for i in range(len(places.rows)):
        row, at = places.rows[i], places.positions[i]
        assert hidden[row, at + 1]
        assert np.allclose(places.logits[i], LOGITS[15], atol=1e-4)  # what stands there is hidden from the model
        assert places.targets[i] == strings.string(row)[at]
        mine = hidden[row, 1 : strings.ends[row]]
        number = int(mine[:at].sum())
        assert list(places.allowed[i]) == list(questions.support.masked(strings.string(row), mine)[number])
        assert places.allowed[i][places.targets[i]]


def test_the_limit_of_length_takes_tokens_away() -> None:
    strings = framed(np.array([[BOS, 0, 3, 2, 4, 1, EOS]]), {}, bos=BOS, eos=EOS, size=18)
    free, _ = asked(strings)
    short, _ = asked(strings, length=6)
    assert free.allowed[4, [1, 2]].tolist() == [True, True]
    assert short.allowed[4, [1, 2]].tolist() == [True, False]  # a comma would leave no room for a digit and two ends
    assert short.allowed[0].tolist() == free.allowed[0].tolist()
