"""Figures in words."""

from __future__ import annotations

import pytest

from pathlift.report.tables import at_least, at_most


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.0, "1"), (1.00001, "1.001"), (3638.4, "3639"), (9999.9, "1e+04"), (0.1, "0.1001")],
)  # 0.1 is a little more in binary
def test_bounds_are_rounded_up(value: float, text: str) -> None:
    assert at_most(value) == text
    assert float(text) >= value


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (0.99999, "0.9999"), (3638.9, "3638"), (0.3, "0.2999")])
def test_what_was_found_is_rounded_down(value: float, text: str) -> None:
    assert at_least(value) == text
    assert float(text) <= value


def test_what_is_not_known_is_a_dash() -> None:
    assert at_most(None) == at_least(None) == "-"
    assert at_most(1.25, 2) == "1.3"
    assert at_least(-1.25, 2) == "-1.3"
    assert (at_most(float("inf")), at_least(float("-inf"))) == ("inf", "-inf")
