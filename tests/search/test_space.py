"""Spaces: values and points, representatives of orbits, draws, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from math import comb, inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathlift.ir.errors import UsageError
from pathlift.search import Choice, Exchangeable, Group, Integer, Real, Reflected, Space

MIXED = Space((Real(-1.5, 2.0), Integer(3, 7), Choice(("a", None, 2))))


@given(st.floats(-1.5, 2.0), st.integers(3, 7), st.sampled_from(["a", None, 2]))
def test_values_come_back(x: float, n: int, c: Any) -> None:
    point = MIXED.encode((x, n, c))
    assert point.tolist() == [x, n, ("a", None, 2).index(c)]
    assert MIXED.decode(point) == (x, n, c)
    assert isinstance(MIXED.decode(point)[1], int)


@pytest.mark.parametrize(
    "values", [(0.0, 3), (0.0, 3.5, "a"), (2.1, 3, "a"), (0, 3, "b"), ("x", 3, "a"), (0, 2, "a"), (10**400, 3, "a"), 5]
)
def test_points_of_no_space(values: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError, match="PL1533"):
        MIXED.encode(values)


def test_nan_is_in_no_interval() -> None:
    with pytest.raises(UsageError, match="PL1533"):
        MIXED.encode((np.nan, 3, "a"))


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: Real(1, 1), "PL1530"),
        (lambda: Real(0, inf), "PL1530"),
        (lambda: Real(-1e101, 0), "PL1530"),
        (lambda: Real(1, np.nextafter(1, 2)), "PL1530"),
        (lambda: Real(0, 5e-324), "PL1530"),
        (lambda: Integer(0, 2**53 + 1), "PL1530"),
        (lambda: Space(()), "PL1532"),
        (lambda: Real("0", 1), "PL1530"),  # type: ignore[arg-type]
        (lambda: Integer(0, 1.5), "PL1530"),  # type: ignore[arg-type]
        (lambda: Choice(()), "PL1531"),
        (lambda: Choice(("a", "a")), "PL1531"),
        (lambda: Space((Real(0, 1),), (Exchangeable((0, 1)),)), "PL1532"),
        (lambda: Space((Real(0, 1),), (Exchangeable(()),)), "PL1532"),
        (lambda: Space((Real(0, 1),), (Reflected((-1,)),)), "PL1532"),
        (lambda: Space((Real(0, 1),) * 3, (Exchangeable((0, 1)), Reflected((1,)))), "PL1532"),
        (lambda: Space((Real(0, 1), Real(0, 2)), (Exchangeable((0, 1)),)), "PL1532"),
        (lambda: Space((Choice("ab"),) * 2, (Exchangeable((0, 1), signs=True),)), "PL1532"),
        (lambda: Space((Choice("ab"),), (Reflected((0,)),)), "PL1532"),
        (lambda: Space((Real(0, 1),) * 2, (Group(((0, 0),)),)), "PL1532"),
        (lambda: Space((Real(0, 1), Real(0, 2)), (Group(((1, 0),)),)), "PL1532"),
        (lambda: Space((Real(0, 1),) * 2, (Group(((1, 0),), ((1, 2),)),)), "PL1532"),
        (lambda: Space((Choice("ab"),) * 2, (Group(((1, 0),), ((1, -1),)),)), "PL1532"),
        (lambda: Space((Real(0, 1),) * 2, (Group(((1, 0),), ((1, 1), (1, 1))),)), "PL1532"),
        (lambda: Space((Real(0, 1),) * 2, (Group(()),)), "PL1532"),
        (lambda: Space((Real(0, 1),) * 3, (Group(((1, 0, 2),)), Reflected((2,)))), "PL1532"),
    ],
)
def test_what_is_no_space(make: Callable[[], object], code: str) -> None:
    with pytest.raises(UsageError, match=code):
        make()


def test_representatives_are_multisets() -> None:
    space = Space((Choice("abc"),) * 4 + (Integer(-1, 1),), (Exchangeable(range(4)), Reflected((4,))))
    found = space.representatives
    assert len(found) == comb(4 + 2, 2) * 2
    assert {(*sorted(p[:4]), abs(p[4])) for p in found.tolist()} == {tuple(p) for p in found.tolist()}
    assert space.size == 3**4 * 3
    assert MIXED.size == inf


SIGNED = Space((Real(-2, 2),) * 3 + (Real(0, 5),), (Exchangeable((0, 1, 2), signs=True), Reflected((3,))))


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3), st.floats(0, 5), st.integers(0, 10**6))
def test_an_orbit_has_one_representative(x: list[float], y: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    moved = np.append(rng.permutation(x) * rng.choice([-1, 1], 3), y if rng.random() < 0.5 else 5 - y)
    first, second = (SIGNED.canonical(np.array([p], dtype=float))[0] for p in ([*x, y], moved))
    np.testing.assert_allclose(first, second, atol=1e-15)
    assert sorted(np.abs(x)) == pytest.approx(sorted(np.abs(first[:3])))


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4), st.integers(0, 7))
def test_representatives_of_a_group(x: list[float], which: int) -> None:
    """Rotations of four variables, the last of which comes back with the other sign: eight elements."""
    space = Space((Real(-1, 1),) * 4, (Group(((1, 2, 3, 0),), ((1, 1, 1, -1),)),))
    assert len(space.elements) == 8
    order, signs = space.elements[which]
    points = np.array([x, np.array(x)[list(order)] * signs])
    one, other = space.canonical(points)
    assert one.tolist() == other.tolist()
    orbit = [(np.array(x)[list(o)] * s).tolist() for o, s in space.elements]
    assert one.tolist() == min(orbit)


def test_groups_are_closed() -> None:
    space = Space((Choice("ab"),) * 4, (Group(((1, 0, 2, 3), (1, 2, 3, 0))),))
    assert {order for order, _ in space.elements} == set(permutations(range(4)))
    signed = Space((Real(-1, 1),) * 3, (Group(((1, 2, 0), (1, 0, 2), (0, 1, 2)), ((1, 1, 1), (1, 1, 1), (-1, 1, 1))),))
    assert set(signed.elements) == set(product(permutations(range(3)), product((1, -1), repeat=3)))


def test_groups_that_are_too_large() -> None:
    space = Space((Choice("ab"),) * 8, (Group(((1, 0, *range(2, 8)), (*range(1, 8), 0))),))
    with pytest.raises(UsageError, match="PL1534"):
        _ = space.elements


def test_draws_are_spread_and_in_the_space() -> None:
    rng = np.random.default_rng(0)
    drawn = MIXED.sample(30, rng)
    assert np.histogram(drawn[:, 0], bins=30, range=(-1.5, 2.0))[0].tolist() == [1] * 30
    assert np.bincount(drawn[:, 1].astype(int))[3:].tolist() == [6] * 5
    assert np.bincount(drawn[:, 2].astype(int)).tolist() == [10] * 3
    for point in [*drawn, *MIXED.neighbours(drawn, 0.1, rng)]:
        assert MIXED.encode(MIXED.decode(point)).tolist() == point.tolist()


def test_neighbours_are_near() -> None:
    rng = np.random.default_rng(0)
    points = MIXED.sample(400, rng)
    near = MIXED.neighbours(points, 0.01, rng)
    step = np.abs(near - points)
    assert step[:, 0].max() < 0.01 * 3.5 * 5
    assert step[:, 1].max() == 1
    assert (step.sum(axis=1) > 0).mean() > 0.8


def test_scaled_numbers_fill_an_interval() -> None:
    assert MIXED.scaled(np.array([[-1.5, 7.0, 2.0], [0.25, 5.0, 1.0]])).tolist() == [[-1, 1, 2], [0, 0, 1]]


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_what_is_reflected_stays_in_its_interval(low: float, width: float) -> None:
    """Even where sums are rounded: 0.1 + 0.2 − 0.1 is more than 0.2."""
    space = Space((Real(low, low + width),), (Reflected((0,)),))
    points = np.array([[low], [low + width], [low + width / 3]])
    found = space.canonical(np.clip(points, low, low + width))
    assert (space.low <= found).all()
    assert (found <= space.high).all()
    assert Space((Real(0.1, 0.2),), (Reflected((0,)),)).canonical(np.array([[0.1]])) == 0.2
