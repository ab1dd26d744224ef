"""Coefficients: differences are exact or say what they lose, and errors add up."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.passes.tape.coefficients import Coefficients


def numbers(values: object) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(*[st.floats(-1e100, 1e100).filter(lambda x: x == 0 or abs(x) > 1e-100)] * 2)
def test_differences_of_coefficients_lose_nothing(x: float, y: float) -> None:
    d = Coefficients(numbers([x])).minus(Coefficients(numbers([y])))
    error = 0.0 if d.error is None else d.error.item()
    true = Fraction(x) - Fraction(y)
    assert abs(true - Fraction(d.values.item())) <= Fraction(error)
    assert error <= 2.0**-52 * abs(d.values.item())
    assert (error == 0) == (true == Fraction(d.values.item()))


def test_errors_of_a_difference_add_up() -> None:
    one, other = Coefficients(numbers([1.0]), numbers([0.25])), Coefficients(numbers([2.0**-60]), numbers([0.5]))
    d = one.minus(other)
    assert d.error is not None
    assert d.error.item() >= 0.75 + 2.0**-60
    assert d.error.item() == pytest.approx(0.75)
    assert one.size.item() >= 1.25
    assert one.minus(one).nothing
    assert not one.minus(replace(one)).nothing  # other numbers may be meant
    assert one.relative >= 0.25
    assert Coefficients(numbers([0.0]), numbers([1.0])).relative == float("inf")
    assert Coefficients(numbers([0.0]), numbers([0.0])).relative == 0
