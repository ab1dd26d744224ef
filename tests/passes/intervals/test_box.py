"""Every operation of boxes against fractions: outward, and not by more than it must."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from math import inf, nextafter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.passes.intervals.box import Box, gamma

MakeBox = Callable[..., Box]
NUMBERS = st.floats(-1e300, 1e300) | st.sampled_from([0.0, 5e-324, -5e-324, 1e-300, 0.1, 1.0, -1e16, 1e16])
INTERVALS = st.tuples(NUMBERS, NUMBERS).map(sorted)


def held(value: Fraction, box: Box) -> bool:
    return box.low.item() <= value <= box.high.item()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(INTERVALS, INTERVALS)
def test_sums_differences_and_products_hold_all_of_their_kind_and_little_else(x: Any, y: Any) -> None:
    one, other = (Box(*torch.tensor(ends, dtype=torch.float64)) for ends in (x, y))
    operations: list[tuple[Box, Callable[[Fraction, Fraction], Fraction]]] = [
        (one.plus(other), lambda a, b: a + b),
        (one.minus(other), lambda a, b: a - b),
        (one.times(other), lambda a, b: a * b),
    ]
    for found, f in operations:
        exact = [f(Fraction(a), Fraction(b)) for a, b in product(x, y)]
        assert all(held(v, found) for v in exact)
        if found.bounded:
            assert nextafter(nextafter(nextafter(found.low.item(), inf), inf), inf) > min(exact)
            assert nextafter(nextafter(nextafter(found.high.item(), -inf), -inf), -inf) < max(exact)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(INTERVALS, NUMBERS, st.sampled_from([0.0, 1e-16, 1e-3]))
def test_numbers_that_are_off_by_a_share_of_themselves(x: Any, c: float, share: float) -> None:
    found = Box(*torch.tensor(x, dtype=torch.float64)).scaled(torch.tensor(c, dtype=torch.float64), share)
    exact = [Fraction(a) * Fraction(c) * (1 + s * Fraction(share)) for a in x for s in (-1, 1)]
    assert all(held(v, found) for v in exact)
    if found.bounded and share:
        slack = max(map(abs, exact)) * Fraction(2e-15) + Fraction(1e-320)
        assert found.high.item() <= max(exact) + slack
        assert found.low.item() >= min(exact) - slack


def test_half_lines_meet_zero_as_zero(box: MakeBox) -> None:
    found = box([0.0, -inf, 0.0, 1.0], [inf, 0.0, 0.0, inf]).times(box([0.0, 2.0, -inf, -1.0], [0.0, 3.0, inf, 2.0]))
    assert found.low.tolist()[1] == -inf
    assert found.low.tolist()[3] == -inf
    assert found.high.tolist()[3] == inf
    for i in (0, 2):
        assert abs(found.low[i]) <= 5e-324
        assert abs(found.high[i]) <= 5e-324
    assert 0 <= found.high[1] <= 5e-324


def test_what_overflows_is_unknown_not_infinite(box: MakeBox) -> None:
    for found in (
        box(1e308).plus(box(1e308)), box(1e308).minus(box(-1e308)), box(1e200).times(box(1e200)),
        box(1e200).scaled(torch.tensor(1e200).double(), 0.0), box(1e308).widened(inf),
        Box.around(torch.tensor(inf).double(), torch.tensor(1.0).double()),
        Box.around(torch.tensor(-inf).double(), torch.tensor(1.0).double()),
    ):  # fmt: skip
        assert found.low.item() < inf
        assert found.high.item() == inf or found.high.item() < 0
        assert found.low.item() == -inf or found.low.item() > 1e307


def test_everything_less_everything_is_everything(box: MakeBox) -> None:
    for found in (box(-inf, inf).minus(box(-inf, inf)), box(-inf, inf).plus(box(-inf, inf))):
        assert (found.low.item(), found.high.item()) == (-inf, inf)


def test_a_meet_is_what_is_in_both(box: MakeBox) -> None:
    one, other = box([0.0, 0.0, -inf, 0.0], [2.0, 2.0, inf, 1.0]), box([1.0, -1.0, 3.0, 2.0], [3.0, 1.0, 4.0, 3.0])
    found = one.meet(other)
    assert found.low.tolist() == [1.0, 0.0, 3.0, 1.0]
    assert found.high.tolist() == [2.0, 1.0, 4.0, 1.0]
    again = Box(other.low.clone(), other.high.clone()).moved_into(one)
    assert torch.equal(again.low, found.low)
    assert torch.equal(again.high, found.high)
    hull = one.hull(other)
    assert hull.low.tolist() == [0.0, -1.0, -inf, 0.0]
    assert hull.high.tolist() == [3.0, 2.0, inf, 3.0]


def test_centre_and_radius_cover_the_box() -> None:
    low = torch.tensor([-1.0, 1e16, 0.1, -5e-324], dtype=torch.float64)
    high = torch.tensor([1e-17, 1e16 + 2, 0.3, 5e-324], dtype=torch.float64)
    centre, radius = Box(low, high).centre_radius()
    for c, r, lo, hi in zip(*(x.tolist() for x in (centre, radius, low, high)), strict=True):
        assert Fraction(c) - Fraction(r) <= Fraction(lo)
        assert Fraction(c) + Fraction(r) >= Fraction(hi)


@pytest.mark.parametrize(
    ("low", "high", "zero"), [(0.0, 0.0, True), (0.0, 1e-320, False), (-1e-320, 0.0, False), (1.0, 1.0, False)]
)
def test_the_origin_is_known_as_such(box: MakeBox, low: float, high: float, zero: bool) -> None:
    assert box([0.0, low], [0.0, high]).is_zero == zero


def test_empty_boxes_are_the_origin() -> None:
    assert Box.zero((0, 3)).is_zero
    assert Box.zero((2, 3)).is_zero
    assert not Box.anything((2, 3)).is_zero
    assert not Box.anything((2, 3)).bounded


def test_gamma_is_above_its_definition() -> None:
    for n in (1, 10, 10**6, 10**9):
        exact = Fraction(n, 2**53) / (1 - Fraction(n, 2**53))
        assert Fraction(gamma(n)) >= exact
