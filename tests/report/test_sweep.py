"""Tables and charts of sweeps: the Pareto front, rows, files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pathlift.report.page import save_chart
from pathlift.report.pareto import Point, front
from pathlift.report.pareto_chart import draw_pareto
from pathlift.report.sweep import SweepResult, text


def point(accuracy: float, flops: float, criterion: str = "path", sparsity: float = 0.5) -> Point:
    return Point(criterion, sparsity, sparsity, accuracy, flops, 1000, 500, 1e-3, (9e-4, 2e-3), 1.0)


def test_the_front_is_what_nothing_beats() -> None:
    points = [point(0.9, 100), point(0.9, 90), point(0.8, 90), point(0.7, 50), point(0.7, 50), point(0.6, 60)]
    assert front(points) == [False, True, False, True, True, False]


def test_rows_are_compared_with_the_dense_network() -> None:
    result = SweepResult(dense=point(0.99, 200, "", 0.0), points=[point(0.9, 50)], samples=10, batch=5, resumed=1)
    told = result.to_json()
    assert told["points"][0]["pareto"] is True
    _, *lines = text(told)
    assert lines == [
        "accuracy on 10 samples; time of a batch of 5, in which zeros are multiplied like other numbers",
        "1 of 1 points were in the log",
    ]


@pytest.mark.parametrize("suffix", [".svg", pytest.param(".png", marks=pytest.mark.slow)])
def test_charts(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    points = [point(0.9, 50), point(0.8, 20), point(0.7, 40, "magnitude")]
    files = [tmp_path / f"{i}{suffix}" for i in range(2)]
    for path in files:
        save_chart(draw_pareto(point(0.99, 100, "", 0.0), points, "a $net$"), path)
    assert files[0].read_bytes() == files[1].read_bytes()
    if suffix == ".svg":
        drawn = files[0].read_text()
        assert all(word in drawn for word in ("<!-- magnitude -->", "<!-- Pareto front -->", "<!-- a $net$ -->"))
