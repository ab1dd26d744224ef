"""The best temperature against a grid of temperatures."""

from __future__ import annotations

import numpy as np
import pytest

from pathlift.models.language.split import split
from pathlift.models.language.temperature import RANGE, best_temperature


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_no_temperature_of_a_grid_is_better(seed: int, known: bool) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (60, 7))
    logits[:, 6] = -np.inf
    p = np.exp(logits * 0.5)
    p /= p.sum(1, keepdims=True)
    targets = np.array([rng.choice(7, p=row) for row in p])
    found = best_temperature(logits, targets, p if known else None)

    def loss(temperature: float) -> float:
        parts = split(logits, np.ones(logits.shape, bool), targets, p, temperature)
        return float((parts.divergence if known and parts.divergence is not None else parts.inside).mean())

    assert loss(found) <= min(map(loss, np.geomspace(*RANGE, 400))) + 1e-12
    if known:
        assert found == pytest.approx(2, rel=1e-6)


def test_ends_of_the_range() -> None:
    sure, wrong = np.array([[5.0, 0.0]]), np.array([[0.0, 5.0]])
    assert best_temperature(sure, np.array([0])) == RANGE[0]
    assert best_temperature(wrong, np.array([0])) == RANGE[1]


@pytest.mark.parametrize("known", [False, True])
def test_excluded_tokens_do_not_move_it(known: bool) -> None:
    """A place of infinite loss counts for nothing, and adding a constant to logits changes nothing."""
    z = np.random.default_rng(0).normal(size=(40, 5)) * 2
    x = np.random.default_rng(1).integers(0, 5, 40)
    p = np.full((40, 5), 0.2) if known else None
    rest = best_temperature(z[1:], x[1:], None if p is None else p[1:])
    z[0, x[0]] = -np.inf
    for shift in (0.0, 50.0):
        assert best_temperature(z + shift, x, p) == pytest.approx(rest)
    assert best_temperature(z[:1], x[:1], None if p is None else p[:1]) == 1
