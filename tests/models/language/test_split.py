"""The split against the losses that it is of: parts add up, whatever logits are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.ir.types import Array
from pathlift.models.language.split import log_sum_exp, split


@st.composite
def places(draw: st.DrawFn) -> tuple[Array, Array, Array, Array]:
    """Logits, some of them excluded, what is allowed, a token that is, and a distribution on those."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, tokens = draw(st.integers(1, 4)), draw(st.integers(2, 9))
    logits = rng.normal(0, draw(st.sampled_from([0.1, 3.0, 40.0, 300.0])), (count, tokens))
    allowed = rng.random((count, tokens)) < draw(st.sampled_from([0.2, 0.5, 0.9, 1.0]))
    targets = rng.integers(0, tokens, count)
    allowed[np.arange(count), targets] = True
    expected = np.where(allowed, rng.random((count, tokens)) * (rng.random((count, tokens)) < 0.8), 0.0)
    expected[np.arange(count), targets] += 0.1
    logits[(rng.random((count, tokens)) < 0.2) & (expected == 0)] = -np.inf
    return logits, allowed, targets, expected / expected.sum(1, keepdims=True)


@settings(max_examples=200)
@given(places(), st.sampled_from([0.3, 1.0, 4.0]))
def test_parts_add_up(made: tuple[Array, Array, Array, Array], temperature: float) -> None:
    logits, allowed, targets, p = made
    found = split(logits, allowed, targets, p, temperature)
    log_q = logits / temperature - np.logaddexp.reduce(logits / temperature, axis=1, keepdims=True)
    assert np.abs(found.support + found.inside + log_q[np.arange(len(p)), targets]).max() < 1e-9
    assert found.divergence is not None
    kl = np.where(p > 0, p * (np.log(np.where(p > 0, p, 1)) - np.where(p > 0, log_q, 0)), 0).sum(1)
    assert np.abs(found.support + found.divergence - kl).max() < 1e-9
    mass = np.where(allowed, np.exp(log_q), 0).sum(1)
    assert np.abs(found.off - (1 - mass)).max() < 1e-12
    assert np.abs(np.exp(-found.support) - mass).max() < 1e-12
    assert (found.divergence >= 0).all()


def test_little_mass_off_the_support_is_not_rounded_away() -> None:
    found = split(np.array([[5.0, -55.0]]), np.array([[True, False]]), np.array([0]))
    assert found.support[0] == pytest.approx(np.exp(-60.0), rel=1e-12, abs=0)
    assert found.divergence is None


def test_what_is_excluded_is_infinite() -> None:
    allowed, targets = np.array([[True, True, False]] * 2), np.array([0, 0])
    found = split(
        np.array([[-np.inf, -np.inf, 0.0], [-np.inf, 1.0, 0.0]]), allowed, targets, np.array([[1.0, 0, 0]] * 2)
    )
    assert list(found.support) == [np.inf, pytest.approx(np.log1p(np.exp(-1.0)))]
    assert list(found.inside) == [np.inf, np.inf]
    assert found.divergence is not None
    assert list(found.divergence) == [np.inf, np.inf]
    assert found.off[0] == 1


def test_forced_places_lose_nothing_inside() -> None:
    found = split(np.array([[1.0, 2.0]]), np.array([[False, True]]), np.array([1]), np.array([[0.0, 1.0]]))
    assert found.inside[0] == 0
    assert found.divergence is not None
    assert found.divergence[0] == 0


def test_log_sum_exp() -> None:
    assert log_sum_exp(np.full((1, 3), -np.inf))[0] == -np.inf
    assert log_sum_exp(np.full((1, 4), 1e4))[0] == pytest.approx(1e4 + np.log(4), rel=1e-15)
