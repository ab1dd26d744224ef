"""The polar factor of `ks fit` on the quadratics of arXiv 2602.11948, against what the paper shows."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import muon_on_quadratics as muon


def test_hitting_times_are_the_published_ones() -> None:
    # Figure 4: a U with a flat bottom, from the grid that little noise is long in leaving to noise that overshoots.
    found = {}
    for index in (9, 15, 21, 33, 45, 57):
        found[index] = float(np.median(muon.hitting_times(float(muon.SIGMAS[index]), 400)))
        assert found[index] == pytest.approx(muon.PUBLISHED[index], rel=0.2)
    assert found[9] > found[15] > found[21] > found[33] < found[45] < found[57]
    assert found[33] == 12


def test_without_noise_the_grid_is_never_left() -> None:
    assert muon.hitting_times(0.0, 1) == [1000]


@pytest.mark.parametrize("size", [2, 16, 100])
def test_newton_schulz_spreads_singular_values_as_the_best_noise_does(size: int) -> None:
    bottom = muon.SIGMAS[np.array(muon.PUBLISHED) == 12]
    assert bottom.min() < muon.newton_schulz_spread(size) < bottom.max()


def test_the_better_of_two_directions_is_a_trap() -> None:
    # Figures 5 and 16, three starts: greedy takes the polar factor each time, leads once, and is overtaken for good.
    a = muon.spiked()
    gradient, greedy = (
        np.median([muon.line_search(a, seed, 5, greedy=greedy)[0] for seed in range(3)], axis=0)
        for greedy in (False, True)
    )
    assert all(muon.line_search(a, seed, 5, greedy=True)[1].all() for seed in range(3))
    assert gradient[0] == pytest.approx([519, 49.5, 4.61, 0.43, 0.04], rel=0.2)
    assert greedy[0, :3] == pytest.approx([519, 15.1, 13.7], rel=0.1)
    assert np.all((gradient < greedy)[0, 2:])
    assert np.all((gradient < greedy)[2, 2:])
    assert greedy[2, 1] < gradient[2, 1]


def test_greedy_takes_the_gradient_where_that_gains_more() -> None:
    (gap, _, distance), chosen = muon.line_search(np.diag([3.9, 4, 4, 4, 4, 4.1]), 0, 3, greedy=True)
    assert not chosen.any()
    assert gap[1] < 1e-3 * gap[0]
    assert gap[0] == pytest.approx(2 * distance[0] ** 2, rel=0.03)


def test_the_matrix_has_one_large_eigenvalue() -> None:
    assert np.allclose(np.linalg.eigvalsh(muon.spiked(5, 10)), [1, 1, 1, 1, 10])


@pytest.mark.parametrize("spectrum", muon.SPECTRA)
def test_spectra_reach_both_ends(spectrum: str) -> None:
    values = muon.eigenvalues(spectrum, 400, seed=0)
    assert (values[0], values[-1], len(values)) == (10.0, 1e-4, 400)
    assert np.all(np.diff(values) <= 0)
    middle = {"flat_min": 1e-4, "flat_max": 10.0, "uniform": 5.0, "gaussian": 5.0, "geometric": 1e-4}
    assert np.median(values) == pytest.approx(middle.get(spectrum, 10 - 10 / 2**0.5), rel=0.15)


def test_losses_of_the_gradient_have_a_closed_form() -> None:
    values, starts = np.array([10.0, 2.0, 0.5]), np.random.default_rng(0).standard_normal((4, 3, 2))
    energy = values * np.sum(starts**2, axis=2)
    t = np.arange(6)[:, None, None]
    expected = np.sum(energy[:, None, None] * (1 - muon.RATES[:, None] * values) ** (2 * t), axis=-1) / 2
    assert np.allclose(muon.losses(values, starts, 6, None, 0.0), expected.min(2))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_losses_of_a_number_go_down_the_grid(momentum: float) -> None:
    # A polar factor of 1×1 is a sign, also of averaged gradients: all steps have one length, of which .1 is the best.
    found = muon.losses(np.ones(1), np.array([[[1.03]]]), 11, True, momentum)
    assert np.allclose(found, (1.03 - 0.1 * np.arange(11)) ** 2 / 2)


def test_momentum_averages_gradients() -> None:
    # By hand, at the rate .1, with Nesterov's step.
    values, start = np.array([10.0, 1.0, 0.1]), np.random.default_rng(1).standard_normal((1, 3, 3))
    w, buffer, best = start[0], np.zeros((3, 3)), []
    for _ in range(4):
        gradient = values[:, None] * w
        best.append(np.vdot(w, gradient) / 2)
        buffer = 0.9 * buffer + gradient
        u, _, vt = np.linalg.svd(gradient + 0.9 * buffer)
        w = w - 0.1 * u @ vt
    assert np.allclose(muon.losses(values, start, 4, True, 0.9)[0], best, rtol=1e-12, atol=0)


def test_wins_are_counted_against_the_gradient() -> None:
    found = muon.wins("flat_max", "exact", 4, size=4, steps=20)
    assert found.shares.shape == found.ratio.shape == (3,)
    assert np.array_equal(found.shares, [0, 0, 0])  # all eigenvalues but one are 10: a gradient step of .1 ends there
    assert found.ratio[1] > 1
