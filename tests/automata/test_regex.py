"""Regular expressions against Python's: every short string of tokens is accepted as `re.fullmatch` says."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.automata.regex import compile_regex
from pathlift.automata.tokens import token_automaton
from pathlift.ir.errors import UnsupportedError, UsageError

pytest.importorskip("interegular")

ATOMS = ["a", "b", "é", "€", ".", "[ab]", "[^a]", r"\w", r"\D", "[a-c]", r"\.", "[^é€]", r"\n"]
TEXTS = ["", "a", "b", "c", "é", "€", "1", ".", "\n", "𝄞"]


def patterns() -> st.SearchStrategy[str]:
    return st.recursive(
        st.sampled_from(ATOMS),
        lambda inner: st.one_of(
            st.tuples(inner, inner).map("".join),
            st.tuples(inner, inner).map(lambda p: f"(?:{p[0]}|{p[1]})"),
            st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{,2}", "*?"])).map(
                lambda p: f"({p[0]}){p[1]}"
            ),
        ),
        max_leaves=5,
    )


@settings(max_examples=100)
@given(patterns(), st.booleans())
def test_strings_are_those_that_python_matches(pattern: str, ignore_case: bool) -> None:
    pattern = f"(?i){pattern}" if ignore_case else pattern
    dfa = compile_regex(pattern)
    known = re.compile(pattern, re.ASCII)
    for text in {"".join(parts) for parts in product(TEXTS, repeat=3)}:
        assert dfa.accepts(text.encode()) == bool(known.fullmatch(text)), text


@settings(max_examples=60)
@given(
    patterns(),
    st.lists(st.sampled_from(["a", "b", "ab", "ba", "aé", "é", "€", "c1", "1"]), min_size=1, max_size=4, unique=True),
)
def test_token_automata(pattern: str, tokens: list[str]) -> None:
    known = re.compile(pattern, re.ASCII)
    machine = token_automaton(compile_regex(pattern), [t.encode() for t in tokens])
    ended = token_automaton(compile_regex(pattern), [*(t.encode() for t in tokens), None], eos=len(tokens))
    for count in range(4):
        for string in product(range(len(tokens)), repeat=count):
            matched = bool(known.fullmatch("".join(tokens[i] for i in string)))
            assert machine.accepting[machine.walk(string)[-1]] == matched
            assert ended.accepting[ended.walk([*string, len(tokens)])[-1]] == matched
            assert not ended.accepting[ended.walk(string)[-1]]


def test_bytes_that_are_no_characters_are_in_no_string() -> None:
    dfa = compile_regex("(?s).*")
    for text in ("", "a\n", "é", "€", "𝄞", "\U0010ffff", "\u07ff\u0800\uffff"):
        assert dfa.accepts(text.encode())
    for raw in (
        b"\x80",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf0\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xe2\x82",
        b"\xff",
    ):
        assert not dfa.accepts(raw)


@pytest.mark.parametrize(
    ("pattern", "column"), [("a(b", 2), ("a[b", 2), ("*a", 1), ("a\\", 2), ("a{2,1}", 3), ("(?P<n>a)(?P<n>b)", 13)]
)
def test_not_well_formed(pattern: str, column: int) -> None:
    with pytest.raises(UsageError, match=f"PL1580.*column {column}:"):
        compile_regex(pattern)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (r"(a)\1", "column 4 of .*reference"),
        ("a(?=b)b", "column 2 of .*a look ahead"),
        ("(?<!a)b", "look ahead or back"),
        ("(?P<n>a)(?P=n)", "column 9 of .*reference"),
        ("^a", "column 1 of .*leave it out"),
        ("a$", "column 2 of .*leave it out"),
        (r"a\b", "column 2 of"),
        ("[]a]", "column 1 of .*begins with ]"),
        ("[^]a]", "column 1 of .*begins with ]"),
        ("a{}", "column 2 of .*a brace"),
        ('"a":{"b"}', "column 5 of .*a brace"),
        ("a(?#b)", "a comment"),
        ("(?>a)b", "an atomic group"),
        ("(?x)a b", "Flag x"),
        ("a++", "column 2 of .*gives nothing back"),
        ("a{2}+", "column 2 of .*gives nothing back"),
    ],
)
def test_what_no_automaton_reads(pattern: str, said: str) -> None:
    with pytest.raises(UnsupportedError, match=f"PL0325.*{said}"):
        compile_regex(pattern)


def test_escapes_and_brackets_are_no_groups() -> None:
    assert compile_regex(r"\[\]\{\}\^[$^]\\1").accepts(b"[]{}^$\\1")
    assert compile_regex(r"[\]]\x41\101").accepts(b"]AA")
    assert compile_regex('{"a":(?:{}|1)}').accepts(b'{"a":{}}')


def test_empty_language() -> None:
    with pytest.raises(UsageError, match="PL1581"):
        compile_regex(r"[^\s\S]")


def test_upper_case_of_several_letters() -> None:
    """The upper case of ß is two letters, which no class of characters has."""
    assert [text for text in ("ß", "é", "É", "SS", "S") if compile_regex("(?i)ß|é").accepts(text.encode())] == [
        "ß",
        "é",
        "É",
    ]
