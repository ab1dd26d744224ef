"""Knapsacks: every answer against all choices."""

from __future__ import annotations

import itertools
import time
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathlift.models.tuning.knapsack import ranked

LEVELS = 400


@st.composite
def instances(draw: st.DrawFn) -> tuple[list[np.ndarray], list[np.ndarray], float]:
    layers = draw(st.integers(1, 5))
    costs, squares = [], []
    for _ in range(layers):
        n = draw(st.integers(1, 4))
        costs.append(np.array([0.0, *draw(st.lists(st.sampled_from([-3.0, -1.1, -1.0, 0.5]), min_size=n, max_size=n))]))
        squares.append(np.array([0.0, *draw(st.lists(st.floats(0, 2), min_size=n, max_size=n))]))
    return costs, squares, draw(st.sampled_from([0.01, 0.7, 1.0, 1.9, inf]))


def total(table: list[np.ndarray], choice: tuple[int, ...]) -> float:
    return float(sum(row[option] for row, option in zip(table, choice, strict=True)))


def within(squares: list[np.ndarray], limit: float) -> list[tuple[int, ...]]:
    every = itertools.product(*(range(len(s)) for s in squares))
    return [c for c in every if total(squares, c) <= limit**2]


@given(instances())
def test_choices_come_in_order_each_once_and_within_the_limit(
    instance: tuple[list[np.ndarray], list[np.ndarray], float],
) -> None:
    costs, squares, limit = instance
    found = list(ranked(costs, squares, limit, levels=LEVELS))
    values = [total(costs, c) for c in found]
    assert len(set(found)) == len(found)
    assert set(found) <= set(within(squares, limit))
    assert values == pytest.approx(sorted(values), abs=1e-9)


@given(instances())
def test_only_what_is_nearly_at_the_limit_is_missed(
    instance: tuple[list[np.ndarray], list[np.ndarray], float],
) -> None:
    costs, squares, limit = instance
    found = set(ranked(costs, squares, limit, levels=LEVELS))
    # Each layer's square is rounded up by less than a level.
    room = (1 - len(costs) / LEVELS) * limit**2 if limit < inf else inf
    assert {c for c in within(squares, limit) if total(squares, c) <= room} <= found


@given(instances())
def test_whole_levels_are_exact(instance: tuple[list[np.ndarray], list[np.ndarray], float]) -> None:
    costs, squares, _ = instance
    whole = [np.round(8 * s) / 8 for s in squares]
    assert set(ranked(costs, whole, 1.0, levels=8)) == set(within(whole, 1.0))


def test_no_rounding_breaks_the_limit() -> None:
    squares = [np.array([0.0, 0.1 + 1e-9])] * 10
    assert max(map(sum, ranked([np.array([0.0, -1.0])] * 10, squares, 1.0, levels=10))) == 5


def test_what_cannot_be_chosen_is_not() -> None:
    assert list(ranked([np.array([0.0, -1.0, -inf])], [np.array([0.0, inf, inf])], inf)) == [(0,)]
    assert list(ranked([np.array([0.0, inf])], [np.array([0.0, 0.0])], 1.0)) == [(0,)]


def test_equal_costs_come_in_the_order_of_numbers() -> None:
    costs = [np.array([0.0, -0.1])] * 3
    found = list(ranked(costs, [np.zeros(2)] * 3, 1.0))
    assert found == [(1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 0)]


def test_orders_of_the_same_options_cost_the_same() -> None:
    """0.1 + 0.2 + 0.3 is more than 0.3 + 0.2 + 0.1, in float64."""
    found = list(ranked([np.array([0.0, -0.1, -0.2, -0.3])] * 3, [np.zeros(4)] * 3, 1.0))
    orders = [choice for choice in found if sorted(choice) == [1, 2, 3]]
    assert orders == sorted(orders)
    assert len(orders) == 6


def test_48_layers_of_12_options_take_less_than_a_second() -> None:
    """Layers of one kind make all orders of a choice equally cheap: millions, of which few are looked at."""
    rng = np.random.default_rng(0)
    kinds = [np.array([0.0, *-np.sort(rng.random(11))]) / 48 for _ in range(4)]
    costs = [kinds[i % 4] for i in range(48)]
    squares = [np.array([0.0, *np.sort(rng.random(11)) ** 4]) for _ in range(48)]
    start = time.process_time()
    found = list(itertools.islice(ranked(costs, squares, 2.0), 1000))
    assert time.process_time() - start < 1
    assert len(set(found)) == 1000


def test_against_the_bound_of_the_relaxation() -> None:
    """No choice is cheaper than the Lagrangian bound, and the best is within 0.5 % of it."""
    rng = np.random.default_rng(1)
    costs = [np.array([0.0, *-rng.random(11)]) for _ in range(48)]
    squares = [np.array([0.0, *(rng.random(11) / 4)]) for _ in range(48)]
    best = total(costs, next(ranked(costs, squares, 1.0)))
    bounds = [
        sum(float((c + price * s).min()) for c, s in zip(costs, squares, strict=True)) - price
        for price in np.geomspace(1e-2, 1e2, 400)
    ]
    assert max(bounds) <= best <= 0.995 * max(bounds)
