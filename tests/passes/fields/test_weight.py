"""Parameters on their way to a power: what they claim to be off by at most, against exact fractions."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.passes.fields.rounding import rounding_mode
from pathlift.passes.fields.weight import U, Weight

Exact = tuple[Weight, Fraction]
FACTORS = 60


def number(value: float) -> Exact:
    return Weight(torch.tensor([value], dtype=torch.float64)), Fraction(value)


def drifted(seed: int) -> Exact:
    """A product of factors, of several each time the one whose product is rounded down most."""
    rng, (w, exact) = np.random.default_rng(seed), number(1.0)
    for _ in range(FACTORS):
        value = float(w.values)
        factors = [float(c) for c in rng.uniform(1, 1.001, 20)]
        c = min(factors, key=lambda c: Fraction(value * c) / (Fraction(value) * Fraction(c)))
        w, exact = w.times(number(c)[0]), exact * Fraction(c)
    return w, exact


def plus(a: Exact, b: Exact) -> Exact:
    return a[0].plus(b[0]), a[1] + b[1]


def minus(a: Exact, b: Exact) -> Exact:
    return plus(a, times(number(-1.0), b))


def times(a: Exact, b: Exact) -> Exact:
    return a[0].times(b[0]), a[1] * b[1]


def over(a: Exact, b: Exact) -> Exact:
    return a[0].times(b[0], reciprocal=True), a[1] / b[1]


def assert_within(computed: Exact) -> None:
    w, exact = computed
    value, error = Fraction(float(w.values)), Fraction(0 if w.error is None else float(w.error))
    claimed = w.roundings * Fraction(U) * max(abs(value), abs(exact)) + error
    assert abs(value - exact) <= claimed, f"off by {float(abs(value - exact)):.3g}, claimed {float(claimed):.3g}"


EXPRESSIONS: dict[str, Callable[[Exact, Exact], Exact]] = {
    "a": lambda a, b: a,
    "1 · a": lambda a, b: times(number(1.0), a),
    "a · b": times,
    "1/a": lambda a, b: over(number(1.0), a),
    "1 − a": lambda a, b: minus(number(1.0), a),
    "a − 1": lambda a, b: minus(a, number(1.0)),
    "a + 1 − 1": lambda a, b: minus(plus(a, number(1.0)), number(1.0)),
    "1 + (a − 1)": lambda a, b: plus(number(1.0), minus(a, number(1.0))),
    "(a − 1) + (b − 1)": lambda a, b: plus(minus(a, number(1.0)), minus(b, number(1.0))),
    "(a − 1) · b": lambda a, b: times(minus(a, number(1.0)), b),
    "(a − 1) / b": lambda a, b: over(minus(a, number(1.0)), b),
    "(a − b) · 3": lambda a, b: times(minus(a, b), number(3.0)),
    "a / b − 1": lambda a, b: minus(over(a, b), number(1.0)),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_no_value_is_off_by_more_than_it_claims(name: str) -> None:
    for seed in range(5):
        assert_within(EXPRESSIONS[name](drifted(2 * seed), drifted(2 * seed + 1)))


@pytest.mark.parametrize("q", [0.5, 1.0, 3.0, 20.0])
def test_a_power_multiplies_what_its_weight_is_off_by(q: float) -> None:
    w, exact = drifted(0)
    power = w.power(q, torch.float64)
    off = abs(float(Fraction(float(w.values)) / exact - 1))
    assert power.roundings * U >= max(1.0, q) * w.roundings * U >= q * off
    assert w.power(q, torch.float32).roundings < power.roundings  # each is one of 2⁻²⁴


@pytest.mark.parametrize("left", [127.0, -127.0, 5.0, 0.0])
def test_what_is_uncertain_is_rounded_up_to_more_than_it_may_be(left: float) -> None:
    """2⁶⁰ + 127 is rounded to 2⁶⁰, and off by as much as half a last place of it: 128."""
    w = plus(plus(number(2.0**60), number(left)), number(-(2.0**60)))
    assert_within(w)
    with rounding_mode(up=True) as record:
        up = w[0].power(1.0, torch.float64)
    assert record.inexact
    assert float(up.m) * 2.0 ** int(up.e) >= abs(left)
    with rounding_mode(up=False) as record:
        as_it_is = w[0].power(1.0, torch.float64)
    assert record.inexact
    assert float(as_it_is.m) == abs(float(w[0].values))


def test_a_product_that_loses_digits_says_so() -> None:
    for exponent in (-500, -530, -537, -600):
        w, exact = times(number(1.1 * 2.0**exponent), number(1.3 * 2.0**exponent))
        assert_within((w, exact))
        assert (w.error is None) == (exponent == -500)


def test_a_vector_with_a_zero_divides_nothing() -> None:
    ones = Weight(torch.ones(2, dtype=torch.float64))
    with pytest.raises(UnsupportedError, match="PL0314"):
        ones.times(Weight(torch.tensor([1.0, 0.0], dtype=torch.float64)), reciprocal=True)


def test_integers_are_no_numbers() -> None:
    ones, integers = Weight(torch.ones(2, dtype=torch.float64)), Weight(torch.zeros(2), integer="indices")
    for arithmetic in (ones.plus, ones.times, lambda w: w.power(1.0, torch.float64)):
        with pytest.raises(UnsupportedError, match=r"PL0310.*'indices'"):
            arithmetic(integers)
    with pytest.raises(UnsupportedError, match="PL0321"):
        ones.plus(Weight(torch.tensor([1.0, torch.inf])))
