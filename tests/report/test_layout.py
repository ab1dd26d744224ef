"""Tables that fit: what shrinks, what goes, what is stacked, and what is never folded."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pathlift.report.layout import NAME_WIDTHS, Bar, Table, elided
from pathlift.report.shown import as_text

LONG = "encoder.layers.11.attention.output.dense"


@pytest.fixture(autouse=True)
def _utf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlift.report.layout._utf", lambda: True)


def shown(table: Table, width: int) -> list[str]:
    return as_text([table], width=width, colour=False).splitlines()


def bench(name: str = LONG) -> Table:
    return Table(["model", "runs", "median", "speed-up"], [[name, "50", "1.25 ms", "1.00×"]],
                 right=["runs", "median", "speed-up"], less=["runs", "median"])  # fmt: skip


def test_names_are_shortened_in_the_middle_first() -> None:
    assert shown(bench(), 60) == [
        "model                                runs   median  speed-up",
        "encoder.layers.11…tion.output.dense    50  1.25 ms     1.00×",
    ]


def test_then_columns_go_the_least_important_first() -> None:
    assert bench().widths(50) == {0: 25, 1: 4, 2: 7, 3: 8}
    assert list(bench().widths(40)) == [0, 2, 3]
    assert list(bench().widths(31)) == [0, 3]
    assert bench().widths(30)[0] == NAME_WIDTHS[0]


def test_then_names_shrink_further_and_then_rows_are_stacked() -> None:
    assert bench().widths(29)[0] == 19
    assert bench().widths(22)[0] == NAME_WIDTHS[1]
    assert bench().widths(21) == {}
    assert shown(bench(), 21) == ["encoder.la…tput.dense", "  runs 50,", "  median 1.25 ms,", "  speed-up 1.00×"]


def test_stacked_prose_is_wrapped_and_what_is_empty_is_left_out() -> None:
    table = Table(["", "found", "since"], [["a", "-", "there is no reason that would fit on one line"], ["b", "2", ""]],
                  right=["found"])  # fmt: skip
    assert table.widths(14) == {}
    assert shown(table, 14) == [
        "a", "  since there", "  is no reason", "  that would", "  fit on one", "  line", "b", "  found 2",
    ]  # fmt: skip


def test_short_names_are_whole() -> None:
    assert shown(bench("fc"), 40)[1].split() == ["fc", "50", "1.25", "ms", "1.00×"]


def test_words_are_wrapped_and_names_are_not() -> None:
    rows = [["relaxed Jacobian of all", "1"]]
    assert shown(Table(["method", "L"], rows, right=["L"]), 15) == [
        "method        L",
        "relaxed       1",
        "Jacobian of",
        "all",
    ]


@pytest.mark.parametrize(("room", "bar"), [(60, 24), (39, 24), (38, 23), (19, 4), (18, 0), (13, 0)])
def test_bars_shrink_before_anything_else(room: int, bar: int) -> None:
    table = Table(["layer", "share", ""], [["conv", "50.0 %", Bar(0.5)]], right=["share"])
    assert table.widths(room) == {0: 5, 1: 6, **({2: bar} if bar else {})}


def test_bars_are_as_long_as_the_share() -> None:
    assert shown(Table(["", "b"], [["x", Bar(0.5)], ["y", Bar(2.0)]]), 60) == [
        "   b",
        "x  " + "█" * 12,
        "y  " + "█" * 24,
    ]


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [("abcdefgh", 8, "abcdefgh"), ("abcdefgh", 7, "abc…fgh"), ("abcdefgh", 4, "a…gh"), ("abcdefgh", 1, "…"),
     ("层层层层", 7, "层…层层")],
)  # fmt: skip
def test_elided(text: str, width: int, expected: str) -> None:
    assert elided(text, width) == expected


def test_other_encodings_have_another_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlift.report.layout._utf", lambda: False)
    assert elided("abcdefgh", 7) == "abc~fgh"


@given(st.text(st.sampled_from("ab层"), max_size=50), st.integers(1, 40))
def test_what_is_elided_fits(text: str, width: int) -> None:
    assert cell_len(elided(text, width)) <= width


NAMES = st.text(st.sampled_from("abc./_层"), min_size=1, max_size=60)
FIGURES = st.from_regex(r"[0-9]{1,9}", fullmatch=True)


@given(st.lists(st.tuples(NAMES, FIGURES, FIGURES, st.just("two words")), min_size=1, max_size=4), st.integers(24, 120))
def test_every_line_fits_and_no_figure_is_folded(rows: Any, width: int) -> None:
    table = Table(["layer", "count", "bytes", "why"], rows, right=["count", "bytes"], less=["bytes"])
    lines = shown(table, width)
    assert all(cell_len(line) <= width for line in lines)
    assert all(any(row[1] in line for line in lines) for row in rows)
    if widths := table.widths(width):
        assert widths[0] >= min(NAME_WIDTHS[1], max(cell_len(row[0]) for row in rows))


def test_the_encoding_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlift.report import layout

    monkeypatch.undo()
    monkeypatch.setattr(sys, "stdout", type("Stream", (), {"encoding": "ascii"})())
    assert not layout._utf()
