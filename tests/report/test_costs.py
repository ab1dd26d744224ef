"""Costs as columns, and names of points that do not cover each other."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from pathlift.report.costs import Cost, Latency, apart, columns, draw_costs

TIMED = [
    Cost(66_300, Latency(2e-3, 1.0, (1.0, 1.0))).to_json(),
    Cost(1_250_000, Latency(5e-4, 0.25, (0.2, 0.3))).to_json(),
]
UNTIMED = [{**cost, "latency": None} for cost in TIMED]


def test_columns() -> None:
    assert columns(TIMED) == {
        "size": ["66.3 kB", "1.25 MB"],
        "ms": ["2.00", "0.500"],
        "time": ["1.00×", "0.25×"],
        "95 % ×": ["1.00–1.00", "0.20–0.30"],
    }
    assert columns(UNTIMED) == {"size": ["66.3 kB", "1.25 MB"]}
    assert columns(UNTIMED[:1]) == {}
    assert list(columns(TIMED[:1])) == ["size", "ms", "time", "95 % ×"]


@pytest.mark.parametrize(
    ("costs", "label", "along"),
    [(TIMED, "time of a batch (first file = 1)", [1.0, 0.25]), (UNTIMED, "size of the file [MB]", [0.0663, 1.25])],
)
def test_points(costs: list[dict[str, object]], label: str, along: list[float]) -> None:
    pytest.importorskip("matplotlib")
    from pathlift.report.costs import Mark
    from pathlift.report.page import Page

    axes = Page().subplots()
    draw_costs(axes, [Mark("a$b.onnx", 0.5, (0.4, 0.6)), Mark("c.onnx", 0.7)], costs)
    assert axes.get_xlabel() == label
    points = [tuple(float(v[0]) for v in line.get_data()) for line in axes.lines if line.get_marker() in "os"]
    assert points == [(pytest.approx(along[0]), 0.5), (pytest.approx(along[1]), 0.7)]
    assert [text.get_text() for text in axes.texts] == ["a$b.onnx", "c.onnx"]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6))
def test_names_are_apart_and_near(heights: list[float]) -> None:
    """Against a solver: the least squares with a distance between neighbours."""
    found = apart(heights, 9.0)
    order = sorted(range(len(heights)), key=heights.__getitem__)
    gaps = [found[b] - found[a] for a, b in pairwise(order)]
    assert all(gap >= 9.0 - 1e-9 for gap in gaps)
    constraints = [{"type": "ineq", "fun": lambda x, a=a, b=b: x[b] - x[a] - 9.0} for a, b in pairwise(order)]
    start = [9.0 * order.index(i) for i in range(len(heights))]
    best = minimize(lambda x: sum((x - heights) ** 2), start, constraints=constraints, method="SLSQP")
    assert sum((a - b) ** 2 for a, b in zip(found, heights, strict=True)) <= best.fun + 1e-4
