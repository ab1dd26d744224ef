"""Strings as data holds them, and what is refused of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.automata.regex import compile_regex
from pathlift.automata.support import Support
from pathlift.automata.tokens import token_automaton
from pathlift.automata.vocabulary import read_vocabulary
from pathlift.automata.weighted import Weighted
from pathlift.ir.errors import UsageError
from pathlift.models.language.data import Strings, drawn, framed, in_language, token_array

pytest.importorskip("interegular")
VOCABULARY = read_vocabulary(["a", "b", None, None])
BOS, EOS = 2, 3


def support(length: int | None = None, eos: int | None = EOS) -> Support:
    return Support(token_automaton(compile_regex("a*b"), VOCABULARY.tokens, eos=eos), length)


def framed_rows(rows: list[list[int]], **more: Any) -> Strings:
    return framed(np.array(rows), more, bos=BOS, eos=EOS, size=4)


def test_ends_and_begins() -> None:
    found = framed_rows([[2, 0, 1, 3, 3], [2, 1, 3, 0, 0]])
    assert found.start == 1
    assert list(found.ends) == [4, 3]
    assert list(found.string(1)) == [1, 3]
    added = framed_rows([[0, 1, 3], [1, 3, 0]])
    assert list(added.tokens[0]) == [2, 0, 1, 3]
    assert list(added.ends) == [4, 3]
    plain = framed(np.array([[0, 1]]), {}, bos=None, eos=None, size=4)
    assert (plain.start, list(plain.ends)) == (0, [2])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[2, 0], [0, 1]], "string 1 does not begin with token 2"),
        ([[2, 0], [2, 4]], "string 1, column 1: 4 is no token of 4"),
        ([[2, -1]], "column 1: -1 is no token"),
    ],
)
def test_no_tokens(rows: list[list[int]], said: str) -> None:
    with pytest.raises(UsageError, match=f"PL1582.*{said}"):
        framed_rows(rows)


def test_begins_are_not_put_beside_other_inputs() -> None:
    with pytest.raises(UsageError, match="PL1582"):
        framed_rows([[0, 1, 3]], mask=np.ones((1, 3)))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([2, 0, 3, 3], "string 1, column 2: '<3>' after 'a'"),
        ([2, 0, 1, 1], "string 1, column 3: 'b' after 'ab'"),
        ([2, 0, 0, 0], "string 1, column 4: it ends here after 'aaa'"),
        ([2, 3, 3, 3], "string 1, column 1: '<3>' after ''"),
    ],
)
def test_outside_the_language(row: list[int], said: str) -> None:
    strings = framed_rows([[2, 0, 1, 3], row, [2, 1, 3, 3]])
    with pytest.raises(UsageError, match=f"PL1585.*{said}"):
        in_language(strings, support(), VOCABULARY, skip=False)
    kept = in_language(strings, support(), VOCABULARY, skip=True)
    assert (len(kept), kept.skipped) == (2, 1)
    assert list(kept.string(1)) == [1, 3]


def test_longer_than_the_limit() -> None:
    strings = framed_rows([[2, 1, 3, 3], [2, 0, 1, 3]])
    with pytest.raises(UsageError, match="PL1585 string 1, column 1"):
        in_language(strings, support(2), VOCABULARY, skip=False)
    with pytest.raises(UsageError, match="PL1585 none of 1"):
        in_language(strings.part(np.array([1])), support(2), VOCABULARY, skip=True)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.zeros((2, 2), np.int64)}, "no tokens"),
        ({"tokens": np.zeros((2, 2))}, "not rows of whole numbers"),
        ({"tokens": np.zeros(2, np.int64)}, "not rows of whole numbers"),
        ({"tokens": np.zeros((0, 2), np.int64)}, "not rows of whole numbers"),
        ({"tokens": np.zeros((2, 2), np.int64), "odd": np.zeros(2)}, "does not read"),
        ({"tokens": np.zeros((2, 2), np.int64), "mask": np.zeros((3, 2))}, "another number"),
    ],
)
def test_arrays(arrays: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=f"PL1582.*{said}"):
        token_array(arrays, "ids", ["mask"])


def test_names_of_tokens() -> None:
    ids, mask = np.ones((2, 2), np.int32), np.ones((2, 2))
    for name in ("ids", "tokens"):
        tokens, more = token_array({name: ids, "mask": mask}, "ids", ["mask"])
        assert tokens.dtype == np.int64
        assert list(more) == ["mask"]


def test_drawn_strings_are_as_weights_have_them() -> None:
    weights = np.zeros((4, 4))
    language = support()
    weights[:3] = [[0.5, 0.5, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    weights = weights[: language.automaton.states]
    found = drawn(language, Weighted(language, weights), 2000, bos=BOS, seed=0)
    kept = in_language(found, language, VOCABULARY, skip=False)
    assert len(kept) == 2000
    assert (kept.ends - 1).mean() == pytest.approx(3, abs=0.15)  # an end, a b, and 1 a on average
    fixed = support(3, eos=None)
    even = drawn(fixed, Weighted(fixed, np.ones((fixed.automaton.states, 4))), 5, bos=None, seed=0)
    assert even.tokens.tolist() == [[0, 0, 1]] * 5
