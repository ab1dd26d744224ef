"""Vocabularies as files have them, and the bytes that their tokens stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pathlift.automata.dfa import Dfa
from pathlift.automata.regex import compile_regex
from pathlift.automata.tokens import token_automaton
from pathlift.automata.vocabulary import ALPHABET, read_vocabulary
from pathlift.ir.errors import UsageError

SPELLED = {byte: char for char, byte in ALPHABET.items()}


def spelled(text: str) -> str:
    """As a byte-level vocabulary writes it."""
    return "".join(SPELLED[b] for b in text.encode())


def accepts(dfa: Dfa, vocabulary: Any, tokens: list[int]) -> bool:
    machine = token_automaton(dfa, vocabulary.tokens, strip=vocabulary.strip)
    return bool(machine.accepting[machine.walk(tokens)[-1]])


def test_lists_and_files(tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    path.write_text(json.dumps(["a", "é", "", None]), encoding="utf-8")
    found = read_vocabulary(path)
    assert found.tokens == (b"a", "é".encode(), None, None)
    assert found.said == ()
    assert found.without([0, None]).tokens[0] is None
    assert found.shown(1) == "é"
    assert found.shown(2) == "<2>"
    assert read_vocabulary({"b": 1, "a": 0, "c": 3}).tokens == (b"a", b"b", None, b"c")


def test_byte_level_alphabet() -> None:
    """As GPT-2's tokenizer has it: 256 characters, a space is Ġ, a newline Ċ, printable ones themselves."""
    assert sorted(ALPHABET.values()) == list(range(256))
    assert (ALPHABET["Ġ"], ALPHABET["Ċ"], ALPHABET["A"], ALPHABET["é"], ALPHABET["Ń"]) == (32, 10, 65, 233, 173)


@pytest.mark.parametrize("wrapped", [False, True])
def test_byte_level(wrapped: bool) -> None:
    pieces = [spelled(" é"), SPELLED[0xC3], SPELLED[0xA9], "a", "<|endoftext|>"]
    source: Any = pieces
    if wrapped:
        special = [{"id": 4, "content": pieces[4], "special": True}, {"id": 5, "content": "né", "special": False}]
        vocab = {p: i for i, p in enumerate(pieces)}
        source = {"model": {"type": "BPE", "vocab": vocab}, "decoder": {"type": "ByteLevel"}, "added_tokens": special}
    found = read_vocabulary(source)
    assert found.tokens[:4] == (" é".encode(), b"\xc3", b"\xa9", b"a")
    assert "byte-level" in found.said[0]
    assert found.text([3, 0, 1, 2]) == "a éé"
    if wrapped:
        assert found.tokens[4:] == (None, "né".encode())
    pytest.importorskip("interegular")
    dfa = compile_regex("(?: |é)*")
    assert accepts(dfa, found, [0, 1, 2])  # characters that tokens cut in two are put together
    assert not accepts(dfa, found, [0, 1])
    assert not accepts(dfa, found, [2, 1])


def test_what_is_not_byte_level() -> None:
    assert read_vocabulary(["é", "a"]).tokens[0] == "é".encode()
    assert read_vocabulary(["Ġa", "中"]).said == ()


def test_wordpiece() -> None:
    pytest.importorskip("interegular")
    found = read_vocabulary({"model": {"type": "WordPiece", "vocab": {"play": 0, "##ing": 1, "now": 2}}})
    assert found.strip
    assert found.text([0, 1, 2]) == "playing now"
    dfa = compile_regex("playing now|ing")
    assert accepts(dfa, found, [0, 1, 2])
    assert accepts(dfa, found, [1])
    assert not accepts(dfa, found, [0, 1])
    assert not accepts(compile_regex(" playing"), found, [0, 1])


def test_unigram_with_bytes() -> None:
    pieces = [["<0x41>", 0.0], ["▁Hello", -1.0], ["▁", -2.0]]
    model = {"type": "Unigram", "vocab": pieces, "byte_fallback": True}
    plain = read_vocabulary({"model": model})
    assert plain.tokens == (b"A", b" Hello", b" ")
    assert not plain.strip
    assert read_vocabulary({"model": model, "decoder": {"type": "Metaspace"}}).strip
    inner = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Strip"}]}
    assert read_vocabulary({"model": {"type": "BPE", "vocab": pieces}, "decoder": inner}).tokens[0] == b"A"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (3, "neither"),
        ([], "neither"),
        (["a", 2], "token 1"),
        ({"a": 0, "b": 0}, "two tokens of id 0"),
        ({"a": "b"}, "no ids"),
        ({"a": -1}, "no ids"),
        ({"a": 2**40}, "no ids"),
        ({"model": {"vocab": ["a"]}, "added_tokens": [{"content": "x"}]}, "added tokens"),
        ({"model": {}}, "neither"),
    ],
)
def test_no_vocabulary(source: Any, said: str) -> None:
    with pytest.raises(UsageError, match=f"PL1583.*{said}"):
        read_vocabulary(source)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="PL0470"):
        read_vocabulary(tmp_path / "none.json")
    (tmp_path / "v.json").write_bytes(b"\xff[")
    with pytest.raises(UsageError, match="PL1583"):
        read_vocabulary(tmp_path / "v.json")
