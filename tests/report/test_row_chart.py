"""Bars: their ends, their figures, intervals, lines, and a page that holds the names."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib")

from pathlift.report.row_chart import Panel, row_chart
from pathlift.report.tables import at_most


def texts(panel: Panel, rows: int) -> list[str]:
    axes = row_chart([str(i) for i in range(rows)], "t", [panel]).axes[0]
    return [text.get_text() for text in axes.texts]


def test_what_is_not_finite_is_a_dash() -> None:
    assert texts(Panel("x", [1.5, None, float("inf"), -2.0]), 4) == ["1.5", "–", "–", "−2"]
    assert texts(Panel("x", [10.0, 0.0], log=True), 2) == ["10", "–"]


def test_bounds_are_rounded_up() -> None:
    assert texts(Panel("x", [1.000001, 2.0], at_most), 2) == ["1.001", "2"]


def test_intervals_are_within_the_axis() -> None:
    axes = row_chart(["a"], "t", [Panel("x", [1.0], intervals=[(0.5, 9.0)])]).axes[0]
    assert axes.get_xlim()[1] > 9.0
    assert [tuple(line.get_xdata()) for line in axes.lines] == [(0.5, 9.0)]


@pytest.mark.parametrize("log", [False, True])
def test_a_line_is_within_the_axis(log: bool) -> None:
    low, high = row_chart(["a"], "t", [Panel("x", [1.0], line=50.0, log=log)]).axes[0].get_xlim()
    assert low < 50.0 < high


def test_the_page_holds_the_names() -> None:
    figure = row_chart(["a" * 50], "t", [Panel("x", [1.0]), Panel("y", [2.0])])
    box = figure.get_tightbbox()
    assert box.x0 >= 0
    assert box.x1 <= figure.get_figwidth()
    assert figure.get_figwidth() > row_chart(["a"], "t", [Panel("x", [1.0]), Panel("y", [2.0])]).get_figwidth() + 1
