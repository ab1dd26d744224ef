"""Statistics of rows: counts that no split changes, quantiles within 0.8 %, moments as SciPy and NumPy have them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pathlift.ir.types import Array
from pathlift.passes.sketches.bit_counts import BINS, BitCounts, edges, middles
from pathlift.passes.sketches.power_sums import PowerSums
from pathlift.passes.sketches.quantization import entropy_range, linear_histogram
from pathlift.passes.sketches.second_moments import Second, gram

FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(arrays(np.float32, st.integers(1, 60), elements=FLOATS), st.lists(st.integers(0, 60), max_size=4))
def test_counts_are_the_same_however_numbers_are_split(x: Array, cuts: list[int]) -> None:
    parts = np.split(x, sorted(min(cut, len(x)) for cut in cuts))
    total = BitCounts.zero()
    for part in reversed(parts):
        total = BitCounts.of(part) + total
    whole = BitCounts.of(x)
    np.testing.assert_array_equal(total.counts, whole.counts)
    assert (total.low, total.high) == (whole.low, whole.high) == (x.min(), x.max())
    assert whole.total == len(x)


@given(st.floats(2.0**-100, 2.0**100, width=32))
def test_a_bin_is_within_0_8_percent(x: float) -> None:
    (at,) = np.flatnonzero(BitCounts.of(np.float32(-x)).magnitudes)
    assert edges()[at] <= x < edges()[at + 1]
    assert abs(middles()[at] / x - 1) <= 1 / 128
    assert BitCounts.of(np.float32(x)).counts[at] == BitCounts.of(np.float32(-x)).counts[at + BINS // 2] == 1


def test_zero_has_its_own_bin_whatever_its_sign() -> None:
    counts = BitCounts.of(np.array([0.0, -0.0, 1.0, 1e-30], np.float32))
    assert counts.counts[0] == 2
    assert counts.total == 4
    assert counts.quantile(0.5) == 0
    assert BitCounts.zero().quantile(0.5) == 0


@pytest.mark.parametrize("q", [0.5, 0.99, 0.999, 0.9999, 1.0])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_quantiles_are_within_0_8_percent(q: float, scale: float) -> None:
    x = (scale * np.random.default_rng(0).standard_t(3, 100_000)).astype(np.float32)
    exact = np.quantile(np.abs(x).astype(np.float64), q, method="inverted_cdf")
    assert abs(BitCounts.of(x).quantile(q) / exact - 1) <= 1 / 128


def test_powers_and_kurtosis_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(3, 1, 5000), rng.standard_t(5, 5000), rng.exponential(1, 5000), np.full(5000, 0.3)], 1)
    sums = PowerSums.of(x[:1]) + PowerSums.of(x[1:4000]) + PowerSums.of(x[4000:])
    for power in range(1, 5):
        np.testing.assert_allclose(sums.sums[power - 1], (x**power).sum(0), rtol=1e-12)
    np.testing.assert_array_equal([sums.low, sums.high], [x.min(0), x.max(0)])
    kurtosis = sums.kurtosis(len(x))
    np.testing.assert_allclose(kurtosis[:3], scipy.stats.kurtosis(x[:, :3], fisher=False), rtol=1e-9)
    assert kurtosis[3] == 0


@pytest.mark.parametrize("deviation", [1e-1, 1e-2, 2e-3, 5e-4, 1e-4, 3e-5])
def test_no_kurtosis_is_made_of_rounding_errors(deviation: float) -> None:
    x = (1 + deviation * np.random.default_rng(0).normal(size=(4000, 8))).astype(np.float32).astype(np.float64)
    found = PowerSums.of(x).kurtosis(len(x))
    if deviation > 1e-3:
        np.testing.assert_allclose(found, scipy.stats.kurtosis(x, fisher=False), rtol=1e-3)
    else:
        assert not found.any()


def test_fourth_powers_do_not_overflow() -> None:
    assert np.isfinite(PowerSums.of(np.full((2, 1), 1e30)).sums).all()


@given(st.integers(1, 5), st.integers(1, 9))
def test_products_are_those_of_numpy(groups: int, width: int) -> None:
    rows = np.random.default_rng(width).normal(size=(groups, 7, width))
    second = Second.of(width, full_width=16, rank=4, seed=0)
    total = second.product(rows)
    np.testing.assert_allclose(total, np.einsum("gni,gnj->gij", rows, rows), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(total, total.transpose(0, 2, 1))
    np.testing.assert_array_equal(second.unpack(second.pack(total)), total)
    assert second.pack(total).shape == (groups, width * (width + 1) // 2)


def test_a_projection_finds_what_has_low_rank_and_adds_up() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 12)) @ rng.normal(size=(12, 64))
    second = Second.of(64, full_width=0, rank=20, seed=3)
    assert (second.kind, second.rank) == ("projected", 20)
    parts = second.product(rows[None, :100]) + second.product(rows[None, 100:])
    np.testing.assert_allclose(parts, second.product(rows[None]), rtol=1e-9)
    found, exact = second.mean(parts[0], np.square(rows).sum(0), 400), gram(rows) / 400
    np.testing.assert_allclose(found, exact, atol=1e-9 * np.abs(exact).max())


def test_a_projection_of_what_has_full_rank_has_the_exact_diagonal() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 64)) * 2.0 ** -np.arange(0, 16, 0.25)
    second = Second.of(64, full_width=0, rank=16, seed=0)
    found, exact = second.mean(second.product(rows[None])[0], np.square(rows).sum(0), 400), gram(rows) / 400
    np.testing.assert_allclose(found.diagonal(), exact.diagonal(), rtol=1e-12)
    np.testing.assert_array_equal(found, found.T)
    assert np.linalg.norm(found - exact) < 0.03 * np.linalg.norm(exact)


def test_nothing_but_the_diagonal() -> None:
    second = Second.of(8, full_width=0, rank=0, seed=0)
    rows = np.random.default_rng(0).normal(size=(1, 5, 8))
    assert second.product(rows).size == 0
    np.testing.assert_allclose(
        second.mean(second.product(rows)[0], np.square(rows[0]).sum(0), 5), np.diag(np.square(rows[0]).mean(0))
    )


@given(st.integers(1, 40), st.integers(0, 3))
def test_equal_bins_hold_all_numbers(count: int, seed: int) -> None:
    x = np.random.default_rng(seed).exponential(1, 10 * count).astype(np.float32)
    histogram = linear_histogram(BitCounts.of(x), 64)
    np.testing.assert_allclose(histogram.sum(), len(x))
    exact, _ = np.histogram(x, 64, (0, float(x.max())))
    assert np.abs(np.cumsum(histogram) - np.cumsum(exact)).max() <= 0.05 * len(x) + 2


def test_the_entropy_range_clips_what_is_rare_and_nothing_of_what_is_even() -> None:
    rng = np.random.default_rng(0)
    even = BitCounts.of(rng.uniform(-1, 1, 50_000).astype(np.float32))
    assert entropy_range(even) > 0.95
    rare = even + BitCounts.of(np.float32([40.0]))
    assert 0.9 < entropy_range(rare) < 6
    assert entropy_range(BitCounts.zero()) == entropy_range(BitCounts.of(np.zeros(3, np.float32))) == 0
