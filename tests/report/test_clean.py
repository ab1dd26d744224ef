"""Nothing in a model can steer a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathlift.report.clean import clean, sanitize


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conv1/weights:0 é 层 👩‍🔬", "conv1/weights:0 é 层 👩‍🔬"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[1;38;5;196mred", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]unterminated keeps what follows", "]unterminated keeps what follows"),
        ("a\nPL0000 forged\r\nb\tc\u2028d\x85e", "a PL0000 forged b c d e"),
        ("bell\x07 back\x08 nul\x00 del\x7f", "bell back nul del"),
        ("a\u202eb\u2066c\ufeff", "abc"),
        ("\udcff", "\ufffd"),
        ("[bold]not markup[/bold]", "[bold]not markup[/bold]"),
    ],
)
def test_sanitize(text: str, expected: str) -> None:
    assert sanitize(text) == expected


@given(st.text(st.characters()))
def test_sanitized_text_is_harmless(text: str) -> None:
    result = sanitize(text)
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in result)
    assert sanitize(result) == result
    result.encode()


def test_clean_reaches_everything() -> None:
    assert clean({"a\x07": ["b\x07", {"c": "d\x07"}, ("e\x07", 1, 2.5, None, True)]}) == {
        "a": ["b", {"c": "d"}, ["e", 1, 2.5, None, True]]
    }
