"""Adam and Muon: gradients, the polar factor, and what the polar step is known for on quadratics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pathlift.ir.kronecker import Pattern, product
from pathlift.ir.types import Array
from pathlift.passes.kronecker.fitting.gradient import descend, polar
from pathlift.passes.kronecker.fitting.hsvd import hsvd
from pathlift.passes.kronecker.fitting.objective import Objective

MONARCH = [Pattern(1, 8, 8, 8), Pattern(8, 8, 8, 1)]


@pytest.mark.parametrize(
    "patterns",
    [
        [Pattern(2, 2, 3, 2)],
        [Pattern(1, 3, 4, 2), Pattern(2, 4, 3, 1)],
        [Pattern(1, 2, 2, 4), Pattern(2, 2, 2, 2), Pattern(4, 2, 3, 1)],
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_are_finite_differences(patterns: list[Pattern], weighted: bool) -> None:
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((patterns[-1].cols, 5)) if weighted else None
    target = rng.standard_normal((patterns[0].rows, 5 if weighted else patterns[-1].cols))
    objective = Objective(target, inputs)
    factors = [rng.standard_normal(p.shape) for p in patterns]
    loss, gradients = objective.gradients(factors)
    assert loss == pytest.approx(objective.loss(factors), rel=1e-14)
    for k, gradient in enumerate(gradients):
        direction = rng.standard_normal(gradient.shape)

        def half_square(step: float, k: int = k, direction: Array = direction) -> float:
            moved = [*factors[:k], factors[k] + step * direction, *factors[k + 1 :]]
            return objective.loss(moved) ** 2 / 2

        # Half the square is a quadratic in one factor: central differences are exact but for rounding.
        slope = (half_square(0.1) - half_square(-0.1)) / 0.2
        assert np.vdot(gradient, direction) == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize("shape", [(3, 4, 4), (2, 2, 3, 7), (5, 6, 2), (1, 1, 1)])
def test_polar_factors(shape: tuple[int, ...]) -> None:
    blocks = np.random.default_rng(1).standard_normal(shape)
    exact = polar(blocks, exact=True)
    assert np.allclose(np.linalg.svd(exact, compute_uv=False), 1)
    # U·Vᵀ is the orthonormal matrix of the largest inner product, which is the sum of singular values.
    inner = np.sum(exact * blocks, axis=(-2, -1))
    assert np.allclose(inner, np.linalg.svd(blocks, compute_uv=False).sum(-1))


def test_newton_schulz_brings_singular_values_near_one() -> None:
    rng = np.random.default_rng(2)
    u, v = np.linalg.qr(rng.standard_normal((9, 6)))[0], np.linalg.qr(rng.standard_normal((6, 6)))[0]
    blocks = (u * np.geomspace(1, 0.0115, 6)) @ v.T  # down to 1 % of the norm
    for x in (blocks, blocks.T, 1e100 * blocks, 1e-100 * blocks):
        values = np.linalg.svd(polar(x), compute_uv=False)
        assert np.all((values > 0.65) & (values < 1.25))
    found = polar(blocks)
    assert np.allclose(u.T @ found @ v, np.diag(np.diag(u.T @ found @ v)))  # the singular vectors are kept


@pytest.mark.parametrize("exact", [False, True])
def test_the_polar_factor_of_zero_is_zero(exact: bool) -> None:
    assert not polar(np.zeros((2, 3, 4)), exact=exact).any()
    rank_one = np.outer([1.0, 2.0], [2.0, -1.0, 2.0])
    assert np.linalg.norm(polar(rank_one, exact=True)) == pytest.approx(1)


def gradient_descent(objective: Objective, factors: list[Array], steps: int, rate: float) -> float:
    least, current = np.inf, factors
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(steps + 1):
            loss, gradients = objective.gradients(current)
            least = min(least, loss)
            current = [k - rate * g for k, g in zip(current, gradients, strict=True)]
    return least


def ill_conditioned(seed: int, condition: float) -> tuple[Objective, list[Array], Array]:
    rng = np.random.default_rng(seed)
    weight = product([rng.standard_normal(p.shape) / np.sqrt(p.c) for p in MONARCH])
    root = np.linalg.qr(rng.standard_normal((64, 64)))[0] * np.geomspace(1, condition**-0.5, 64)
    start = [rng.standard_normal(p.shape) / np.sqrt(p.c) for p in MONARCH]
    return Objective(weight @ root, root), start, weight


def test_muon_is_ahead_from_a_random_start() -> None:
    # A Monarch product of size 64, inputs of condition 10⁶, 30 steps, each method at the best of several rates.
    finals = []
    for seed in range(5):
        objective, start, _ = ill_conditioned(seed, 1e6)
        plain = min(gradient_descent(objective, start, 30, rate) for rate in np.geomspace(1e-2, 100, 25))
        adam, muon = (
            min(objective.loss(descend(objective, start, d, steps=30, rate=rate)[0]) for rate in (0.1, 0.2, 0.5, 1.0))
            for d in ("adam", "muon")
        )
        finals.append(np.array((plain, adam, muon)) / np.linalg.norm(objective.target))
    plain, adam, muon = np.median(finals, axis=0)
    assert muon < 0.25
    assert muon < 0.75 * min(plain, adam)


def test_adam_catches_up_from_a_good_start() -> None:
    objective, _, weight = ill_conditioned(0, 1e6)
    noise = np.random.default_rng(9).standard_normal((64, 64))
    noisy = weight / np.linalg.norm(weight) + 0.5 * noise / np.linalg.norm(noise)
    assert objective.inputs is not None
    noisy_objective = Objective(noisy @ objective.inputs, objective.inputs)
    start = hsvd(noisy, MONARCH).factors
    adam, muon = (noisy_objective.loss(descend(noisy_objective, start, d, steps=200)[0]) for d in ("adam", "muon"))
    assert muon < 0.6 * noisy_objective.loss(start)
    assert adam < 1.25 * muon


def test_blocks_and_not_the_padded_matrix_are_made_orthonormal() -> None:
    # One step from zero momentum moves each block along its own polar factor, all of the same length.
    rng = np.random.default_rng(3)
    pattern = Pattern(2, 4, 4, 2)
    scales = np.array([[1.0, 10.0], [100.0, 1000.0]])[:, :, None, None]
    weight = np.zeros((16, 16))
    for i, m in np.ndindex(2, 2):
        weight.reshape(2, 4, 2, 2, 4, 2)[i, :, m, i, :, m] = scales[i, m, 0, 0] * rng.standard_normal((4, 4))
    start = np.full(pattern.shape, 1e-3)
    (moved,), _ = descend(Objective(weight), [start], "muon", steps=1, rate=1e-3)
    lengths = np.linalg.norm(moved - start, axis=(2, 3))
    assert lengths.min() > 0.8 * lengths.max()


# On ½‖W‖² every step W − η·polar(W) shortens each singular value by η, past 0 to the other side: from s it only ever
# reaches |s − kη|, a grid (arXiv 2602.11948).


def hitting_time(step: Callable[[Array, np.random.Generator], Array], seed: int, most: int = 400) -> int:
    rng, length = np.random.default_rng(seed), 0.1
    u, v = (np.linalg.qr(rng.standard_normal((2, 2)))[0] for _ in range(2))
    w = (u * (length * np.array([10.5, 11.5]))) @ v.T  # half a step off the grid through 0
    for t in range(most):
        if np.linalg.norm(w) <= 0.25 * length * np.sqrt(2):
            return t
        w = w - length * step(w, rng)
    return most


def median_time(step: Callable[[Array, np.random.Generator], Array]) -> float:
    return float(np.median([hitting_time(step, seed) for seed in range(21)]))


def test_noise_frees_exact_polar_steps_from_their_grid() -> None:
    def noisy(sigma: float) -> float:
        return median_time(lambda w, rng: polar(w, exact=True) + sigma * rng.standard_normal(w.shape))

    assert noisy(0) == 400
    assert noisy(0.0104) > noisy(0.0677) > noisy(0.2)
    assert noisy(0.2) < 100
    assert noisy(1.0) > 2 * noisy(0.2)  # more is not better forever


def test_newton_schulz_steps_are_not_confined() -> None:
    assert median_time(lambda w, _: polar(w)) < 30


def quadratic(direction: str, seed: int, steps: int) -> float:
    """½·tr(W·H·Wᵀ) after steps with exact line search, relative to the start."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    h = (basis * (np.linspace(1, 0, 4) ** 2 * 0.999 + 0.001)) @ basis.T
    w = rng.standard_normal((4, 4))
    start = np.vdot(w @ h, w)
    for _ in range(steps):
        gradient = w @ h
        found = []
        for d in [gradient, polar(gradient, exact=True)][direction == "polar" :]:
            moved = w - np.vdot(gradient, d) / np.vdot(d @ h, d) * d
            found.append((float(np.vdot(moved @ h, moved)), moved))
        w = min(found, key=lambda f: f[0])[1]
    return float(np.vdot(w @ h, w) / start)


def test_choosing_the_better_direction_step_by_step_is_a_trap() -> None:
    # The choice is ahead for ten steps, and behind after thirty.
    def ratios(steps: int) -> Array:
        return np.array([quadratic("greedy", s, steps) / quadratic("polar", s, steps) for s in range(31)])

    assert np.mean(ratios(10) < 1) > 0.8
    assert np.mean(ratios(30) > 1) > 0.9
    assert np.median(ratios(30)) > 1.3
