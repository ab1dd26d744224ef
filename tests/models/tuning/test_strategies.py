"""Strategies and the model they rest on: made-up networks, and every choice of a trained one that was measured."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from math import inf
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathlift.ir.errors import UsageError
from pathlift.models.tuning.additive import Additive
from pathlift.models.tuning.bayes import Bayes
from pathlift.models.tuning.knapsack import Choice
from pathlift.models.tuning.strategies import Exact, Exhaustive, Random, Strategy, Trial, best_first, uniform_first

LAYERS = 6


class Landscape:
    """A trained network of six layers (benchmarks/tune_landscape.py): times of all multisets, errors of all choices."""

    def __init__(self) -> None:
        self.data = np.load(Path(__file__).parent / "landscape.npz")
        self.options = self.data["counts"].shape[1]
        self._ratios = {
            tuple(map(int, c)): float(r) for c, r in zip(self.data["counts"], self.data["ratios"], strict=True)
        }
        self._errors = self.data["errors"].astype(float)

    def ratio(self, choice: Choice) -> float:
        return self._ratios[tuple(choice.count(o) for o in range(self.options))]

    def error(self, choice: Choice) -> float:
        return float(self._errors[np.ravel_multi_index(choice, (self.options,) * LAYERS)])

    def trial(self, choice: Choice, limit: float) -> Trial:
        return Trial(choice, self.ratio(choice), self.error(choice), self.error(choice) <= limit)

    @cached_property
    def every(self) -> list[Choice]:
        return list(itertools.product(range(self.options), repeat=LAYERS))

    def least(self, limit: float) -> float:
        return min(self.ratio(self.every[i]) for i in np.flatnonzero(self._errors <= limit))

    def model(self) -> Additive:
        """From what `tune` measures: uniform choices, and each option of each layer alone."""
        costs = np.array([0.0, *((self.data["uniform"] - 1) / LAYERS)])
        alone = [
            np.array(
                [self.error(tuple(o if i == layer else 0 for i in range(LAYERS))) ** 2 for o in range(self.options)]
            )
            for layer in range(LAYERS)
        ]
        return Additive([0] * LAYERS, [costs] * LAYERS, alone)

    def search(self, strategy: Strategy, limit: float, count: int, rounds: int = 1) -> list[Trial]:
        history: list[Trial] = []
        for _ in range(rounds):
            model = self.model().refitted({t.choice: t.ratio for t in history}, {t.choice: t.error for t in history})
            history += [self.trial(c, limit) for c in strategy.propose(model, history, limit, count)]
        return history


@pytest.fixture(scope="module")
def landscape() -> Landscape:
    return Landscape()


def best(trials: Sequence[Trial]) -> float:
    return min((t.ratio for t in trials if t.within), default=1.0)


def test_the_landscape_is_whole(landscape: Landscape) -> None:
    assert len(landscape.every) == 46_656 == len(landscape.data["errors"])
    assert len(landscape.data["ratios"]) == 462


@pytest.mark.parametrize("limit", [0.002, 0.005, 0.01, 0.04])
def test_the_choice_is_within_a_fiftieth_of_the_best(landscape: Landscape, limit: float) -> None:
    """10 verified, of 46,656; never worse than the best uniform choice, or than as many random ones."""
    found = best(landscape.search(Exact(), limit, 10))
    assert found <= landscape.least(limit) + 0.02
    uniform = [landscape.trial((o,) * LAYERS, limit) for o in range(1, landscape.options)]
    assert found <= best(uniform) + 0.005
    for seed in range(5):
        rng = np.random.default_rng(seed)
        drawn = [landscape.trial(tuple(map(int, c)), limit) for c in rng.integers(0, landscape.options, (10, LAYERS))]
        assert found <= best(drawn) + 0.005
        assert found <= best(landscape.search(Random(seed), limit, 10)) + 0.01


def test_rounds_do_not_repeat(landscape: Landscape) -> None:
    for strategy in (Exact(), Random(), Exhaustive()):
        if isinstance(strategy, Exhaustive):
            continue
        choices = [t.choice for t in landscape.search(strategy, 0.005, 10, rounds=3)]
        assert len(set(choices)) == len(choices) >= 10


class Interacting(Landscape):
    """The same, but that a low rank in all of the first three layers saves much more than the sum says."""

    def ratio(self, choice: Choice) -> float:
        return super().ratio(choice) - (0.15 if choice.count(3) >= 3 else 0.0)


def test_what_does_not_add_up_is_found_by_gaussian_processes() -> None:
    """After the same number of evaluations, where the knapsack alone goes on with what its sums say."""
    found, limit = Interacting(), 0.005
    start = found.search(Exact(), limit, 10)

    def goes_on(strategy: Strategy) -> list[Trial]:
        history = list(start)
        for _ in range(3):
            model = found.model().refitted({t.choice: t.ratio for t in history}, {t.choice: t.error for t in history})
            history += [found.trial(c, limit) for c in strategy.propose(model, history, limit, 10)]
        return history

    assert best(goes_on(Bayes())) <= found.least(limit) + 0.03
    choices = [t.choice for t in goes_on(Bayes())]
    assert len(set(choices)) == len(choices)


def test_proposals_are_likely_to_be_within_the_limit(landscape: Landscape) -> None:
    """Where the limit binds, half of what is proposed is within it in fact, at least."""
    history = landscape.search(Exact(), 0.005, 10)
    proposed = [landscape.trial(c, 0.005) for c in Bayes().propose(landscape.model(), history, 0.005, 20)]
    assert proposed
    assert sum(t.within for t in proposed) >= 0.5 * len(proposed)


def test_gaussian_processes_stop_where_nothing_is_expected(landscape: Landscape) -> None:
    history = landscape.search(Exact(), 0.04, 10)
    assert Bayes(noise=5.0).propose(landscape.model(), history, 0.04, 5) == []
    assert Bayes().propose(landscape.model(), [], 0.04, 5) == Exact().propose(landscape.model(), [], 0.04, 5)


def network(seed: int, layers: int = 4, options: int = 3) -> Additive:
    """Layers of two signatures in turn."""
    rng = np.random.default_rng(seed)
    kinds = [np.array([0.0, *-rng.random(options - 1)]) / layers for _ in range(2)]
    squares = [np.array([0.0, *rng.random(options - 1)]) for _ in range(layers)]
    return Additive([i % 2 for i in range(layers)], [kinds[i % 2] for i in range(layers)], squares)


@given(st.integers(0, 1000), st.sampled_from([0.3, 1.0, 1.5, inf]))
def test_proposals_are_within_the_limit_and_the_first_is_the_best(seed: int, limit: float) -> None:
    model = network(seed)
    every = [c for c in itertools.product(range(3), repeat=4) if model.error(c) <= limit]
    chosen = Exact().propose(model, [], limit, 5)
    assert all(model.error(c) <= limit for c in chosen)
    if any(map(any, every)):
        assert model.ratio(chosen[0]) <= min(map(model.ratio, every)) + 2e-3
        kinds = {model.counts(c) for c in best_first(model, limit) if any(c)}
        assert len({model.counts(c) for c in chosen if any(c)}) >= min(4, len(kinds))


def test_the_search_ends_once_the_best_is_verified() -> None:
    model = network(0)
    first = Exact().propose(model, [], 1.0, 1)[0]
    good = Trial(first, model.ratio(first), model.error(first), True)
    assert Exact().propose(model, [good], 1.0, 5) == []
    # What is beyond the limit in fact is passed over, and the next one is tried.
    bad = good._replace(within=False)
    assert first not in Exact().propose(model, [bad], 1.0, 5)
    # Nor does it go on where others are predicted to be better by less than the noise.
    second = Exact().propose(model, [bad], 1.0, 1)[0]
    other = Trial(second, model.ratio(first) + 0.01, 0.0, True)
    assert Exact(noise=0.02).propose(model, [other], 1.0, 5) == []
    assert first in Exact(noise=0.005).propose(model, [other], 1.0, 5)


def test_uniform_choices_have_one_option_per_signature() -> None:
    model = network(1)
    found = list(uniform_first(model, inf))
    assert len(found) == 9
    assert all(c[0] == c[2] and c[1] == c[3] for c in found)
    ratios = [model.ratio(c) for c in found]
    assert ratios == sorted(ratios)


def test_too_many_choices_to_try() -> None:
    with pytest.raises(UsageError, match="PL1544 there are 43,046,721 choices"):
        Exhaustive().propose(network(0, layers=16), [], 1.0, 10)
    assert len(Exhaustive().propose(network(0), [], 1.0, 100)) == 80


def test_refitting_moves_to_what_was_measured() -> None:
    """Half way, where one measurement stands against one: of all layers of a signature."""
    model = network(2)
    choice = (1, 0, 1, 0)
    measured = model.ratio(choice) + 0.1
    moved = model.refitted({choice: measured}, {})
    assert moved.ratio(choice) == pytest.approx(measured - 0.05)
    assert moved.ratio((0, 1, 0, 1)) == model.ratio((0, 1, 0, 1))
    again = model.refitted({choice: measured, (1, 0, 0, 0): model.ratio((1, 0, 0, 0)) + 0.05}, {})
    assert abs(again.ratio(choice) - measured) < 0.05


def test_refitting_scales_squared_errors() -> None:
    model = network(3)
    choices = [(1, 0, 0, 0), (1, 2, 0, 0), (1, 1, 1, 1)]
    moved = model.refitted({}, {c: 1.5 * model.error(c) for c in choices})
    assert moved.error((2, 2, 2, 2)) == pytest.approx(1.5 * model.error((2, 2, 2, 2)))
    assert model.refitted({}, {(0, 0, 0, 0): 0.0}).error((1, 1, 1, 1)) == model.error((1, 1, 1, 1))


def test_errors_that_were_predicted_to_be_none_are_no_data() -> None:
    """The logarithm of a predicted error of 0 is none."""
    squares = [np.array([0.0, 0.0, inf]), np.array([0.0, 0.01, 0.02])]
    model = Additive([0, 0], [np.array([0.0, -0.2, -0.3])] * 2, squares)
    history = [Trial(c, 0.8, 1e-7, within=True) for c in ((1, 0), (2, 0), (0, 1), (0, 2), (1, 1))]
    assert Bayes(0.001).propose(model, history, 1.0, 3)
