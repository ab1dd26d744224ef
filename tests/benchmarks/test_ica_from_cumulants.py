"""Parts of the separation from cumulants: sums that add up, cumulants in closed form, the fit, the errors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from benchmarks import ica_from_cumulants as ica
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.ir.types import Array

# All combinations of ±1, of 0 and 1 with chance ¼, and of −1, 0, 2: independent channels, exactly.
CHANNELS = ([-1.0, 1.0], [0.0, 0.0, 0.0, 1.0], [-1.0, 0.0, 2.0])
INDEPENDENT = np.array(list(itertools.product(*CHANNELS)))


def fourth_cumulant(values: list[float]) -> float:
    centred = np.array(values) - np.mean(values)
    return float(np.mean(centred**4) - 3 * np.mean(centred**2) ** 2)


def outer_powers(columns: Array, factors: Array) -> Array:
    return np.einsum("a,ia,ja,ka,la->ijkl", factors, columns, columns, columns, columns)


def test_cumulants_of_known_laws() -> None:
    second, fourth = ica.Sketch.of(INDEPENDENT).cumulants()
    assert np.allclose(second, np.diag([1, 3 / 16, np.var(CHANNELS[2])]))
    pq = 3 / 16
    assert np.allclose(fourth, outer_powers(np.eye(3), np.array([-2, pq * (1 - 6 * pq), fourth_cumulant(CHANNELS[2])])))


def test_cumulants_are_multilinear_and_see_no_shift() -> None:
    mixing = np.random.default_rng(0).standard_normal((3, 3))
    second, fourth = ica.Sketch.of(INDEPENDENT @ mixing.T + [1.0, -2.0, 3.0]).cumulants()
    assert np.allclose(second, np.cov(mixing @ INDEPENDENT.T, bias=True))
    assert np.allclose(fourth, outer_powers(mixing, np.array([fourth_cumulant(c) for c in CHANNELS])))


def test_sources_are_standardized() -> None:
    drawn = ica.sources(np.random.default_rng(0), 400_000)
    second, fourth = ica.Sketch.of(drawn).cumulants()
    assert np.allclose(second, np.eye(5), atol=0.02)
    assert np.allclose(np.einsum("iiii->i", fourth), [-1.2, 1.2, 2, 3, 6], rtol=0.12)


@given(st.integers(0, 10**6), st.lists(st.integers(0, 20), min_size=4, max_size=4), st.permutations(range(5)))
@settings(max_examples=30, deadline=None)
def test_sketches_add_up(seed: int, cuts: list[int], order: list[int]) -> None:
    # Sums of integers are exact: whatever the batches and their order, nothing differs.
    x = np.random.default_rng(seed).integers(-9, 9, (20, 3)).astype(float)
    batches = np.split(x, sorted(cuts))
    parts = [ica.Sketch.of(batches[i]) for i in order]
    total, whole = sum(parts[1:], parts[0]), ica.Sketch.of(x)
    assert total.rows == whole.rows == 20
    assert all(np.array_equal(a, b) for a, b in zip(total.sums, whole.sums, strict=True))


def test_sums_are_those_of_products() -> None:
    x = np.random.default_rng(0).standard_normal((7, 3))
    for order, found in enumerate(ica.Sketch.of(x).sums, 1):
        for index in np.ndindex(found.shape):
            assert found[index] == pytest.approx(x[:, index].prod(1).sum()), order


def test_whitening_leaves_an_orthonormal_mixing() -> None:
    mixing = np.random.default_rng(3).standard_normal((3, 3))
    factors = np.array([-1.0, 2.0, 3.0])
    white, fourth = ica.whitened(mixing @ mixing.T, outer_powers(mixing, factors))
    rotation = white @ mixing
    assert np.allclose(rotation @ rotation.T, np.eye(3))
    assert np.allclose(fourth, outer_powers(rotation, factors))


def test_a_tensor_of_five_channels_has_seventy_elements() -> None:
    indices = ica.distinct(5)
    assert len(set(map(tuple, indices.tolist()))) == 70
    assert all(index == sorted(index) for index in indices.tolist())


@pytest.mark.parametrize("kept", [30, 70])
def test_exact_cumulants_give_the_rotation(kept: int) -> None:
    rng = np.random.default_rng(kept)
    q = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    tensor = outer_powers(q, np.array([-1.2, 1.2, 2.0, 3.0, 6.0]))
    found = ica.rotation(tensor, ica.distinct(5)[rng.permutation(70)[:kept]], seed=1, starts=6)
    assert np.allclose(found.T @ found, np.eye(5))
    assert ica.amari(found.T @ q) < 1e-6


def test_the_best_start_counts() -> None:
    # Noise makes local minima: here the first and the third start end in some, and the second does not.
    rng = np.random.default_rng(2)
    _, fourth = ica.whitened(*ica.Sketch.of(ica.sources(rng, 5_000) @ rng.standard_normal((5, 5)).T).cumulants())
    kept = ica.distinct(5)[rng.permutation(70)[:20]]
    weights = np.sqrt([len(set(itertools.permutations(index))) for index in kept.tolist()])
    costs = []
    for starts in (1, 3):
        q = ica.rotation(fourth, kept, seed=2, starts=starts)
        powers, values = weights[:, None] * q[kept].prod(1), weights * fourth[tuple(kept.T)]
        costs.append(np.linalg.norm(powers @ np.linalg.lstsq(powers, values, rcond=None)[0] - values))
    assert costs[1] < 0.2 * costs[0]


@given(st.permutations(range(4)), st.lists(st.floats(0.01, 100), min_size=4, max_size=4), st.integers(0, 15))
def test_a_scaled_permutation_is_no_error(order: list[int], scales: list[float], signs: int) -> None:
    product = np.eye(4)[order] * np.array(scales) * [(-1) ** (signs >> i & 1) for i in range(4)]
    assert ica.amari(product) == 0


def test_errors_lie_between_none_and_all() -> None:
    assert ica.amari(np.ones((3, 3))) == pytest.approx(1)
    # Two rows of 1 and of 1 and ½ find the same source: rows stray by 0 and ½, columns by 1 and 0.
    assert ica.amari(np.array([[1.0, 0.0], [1.0, 0.5]])) == pytest.approx((0.5 + 1) / 4)


def test_mixed_samples_are_separated() -> None:
    rng = np.random.default_rng(5)
    mixing = rng.standard_normal((5, 5))
    white, fourth = ica.whitened(*ica.Sketch.of(ica.sources(rng, 20_000) @ mixing.T).cumulants())
    assert ica.amari(ica.rotation(fourth, ica.distinct(5), seed=0, starts=3).T @ white @ mixing) < 0.03
