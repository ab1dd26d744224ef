"""Assertions about rewrites: what they let pass, and what they say where they do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pathlift.ir.text import parse_graph, print_graph
from pathlift.passes.rewrites.merge_linears import MergeLinears
from pathlift.testing import assert_golden, assert_rewrites, assert_same_up_to_names
from pathlift.testing.rewrites import ACCEPT, renamed

BEFORE = """
%x = Input : f32[N, 2]
%a = Param {value=[[1.0, 2.0], [0.0, 1.0]]} : f32[2, 2]
%b = Param {value=[[2.0, 0.0], [1.0, 1.0]]} : f32[2, 2]
%h = Gemm(%x, %a)
%y = Gemm(%h, %b)
return %y
"""
AFTER = """
%product = Param {value=[[4.0, 2.0], [1.0, 1.0]]} : f32[2, 2]
%x = Input : f32[N, 2]
%y = Gemm(%x, %product)
return %y
"""


def test_names_and_order_do_not_count() -> None:
    assert_rewrites(BEFORE, "merge-linears", AFTER)
    assert_rewrites(parse_graph(BEFORE), MergeLinears(), parse_graph(AFTER))


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (AFTER.replace("4.0", "4.5"), "-%v0 = Param {value=[[4.5, 2.0], [1.0, 1.0]]} : f32[2, 2]"),
        (AFTER.replace("%y", "%z"), "-%z = Gemm(%x, %v0) : f32[N, 2]"),
        (AFTER.replace("%x", "%input"), "-%input = Input : f32[N, 2]"),
        (AFTER.replace("return", "%d = Relu(%x)\nreturn"), "-%v1 = Relu(%x) : f32[N, 2]"),
    ],
    ids=["values", "output", "input", "dead code"],
)
def test_differences_are_lines(wrong: str, line: str) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_rewrites(BEFORE, "merge-linears", wrong)
    assert line in str(caught.value).splitlines()


def test_large_parameters_count_to_the_last_bit() -> None:
    text = "%w = Param : f32[100]\nreturn %w"
    values = np.ones(100, np.float32)
    ones = parse_graph(text, {"w": values})
    nearly = parse_graph(text, {"w": np.append(values[1:], np.nextafter(values[0], np.float32(2)))})
    with pytest.raises(AssertionError, match="sha256"):
        assert_same_up_to_names(ones, nearly)
    assert_same_up_to_names(ones, ones)


def test_ties_count() -> None:
    tied = BEFORE.replace("%b = Param {value=[[2.0, 0.0], [1.0, 1.0]]}", "%b = Param {same=%a}")
    untied = BEFORE.replace("[[2.0, 0.0], [1.0, 1.0]]", "[[1.0, 2.0], [0.0, 1.0]]")
    with pytest.raises(AssertionError, match="same=%v"):
        assert_same_up_to_names(parse_graph(tied), parse_graph(untied))


def test_renaming_settles() -> None:
    once = renamed(parse_graph(BEFORE))
    assert print_graph(renamed(once)) == print_graph(once)


GOLDEN = f"# what merging does\n# pipeline: merge-linears\n{BEFORE}# ----\n"


def test_goldens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "merge.plir"
    path.write_text(GOLDEN)
    with pytest.raises(AssertionError, match=r"(?s)PATHLIFT_ACCEPT_GOLDENS=1 accepts.*\+%y = Gemm\(%x, "):
        assert_golden(path)
    monkeypatch.setenv(ACCEPT, "1")
    assert_golden(path)
    monkeypatch.delenv(ACCEPT)
    assert_golden(path)
    assert path.read_text().startswith(GOLDEN)
    assert "value=[[4.0, 2.0], [1.0, 1.0]]" in path.read_text().removeprefix(GOLDEN)
    path.write_text(path.read_text().replace("4.0", "5.0"))
    with pytest.raises(AssertionError, match=r"-.*5\.0"):
        assert_golden(path)


def test_goldens_of_errors(tmp_path: Path) -> None:
    path = tmp_path / "none.plir"
    path.write_text(GOLDEN.replace("merge-linears", "no-such-pass"))
    assert_golden(path, accept=True)
    assert path.read_text().endswith("# ----\n# error: PL0650 there is no pass 'no-such-pass'\n")
    assert_golden(path)
    path.write_text(BEFORE)
    with pytest.raises(AssertionError, match="no line '# pipeline"):
        assert_golden(path)
