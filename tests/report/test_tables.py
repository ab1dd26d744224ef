"""Figures in words."""

from __future__ import annotations

import pytest

from pathlift.report.tables import rounded_up


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.0, "1"), (1.00001, "1.001"), (3638.4, "3639"), (9999.9, "1e+04"), (0.1, "0.1001")],
)  # 0.1 is a little more in binary
def test_bounds_are_rounded_up(value: float, text: str) -> None:
    assert rounded_up(value, 4) == text
    assert float(text) >= value
