"""PAC-Bayes: relative entropies by their definition, descent, invariance, and a Gibbs error that is known exactly."""

from __future__ import annotations

from math import erf, log, pi, sqrt

import numpy as np
import pytest

from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.passes.channels.symmetry import symmetry
from pathlift.passes.generalization.kl import kl_inverse
from pathlift.passes.generalization.noise import Noisy
from pathlift.passes.generalization.pac_bayes import (
    Prior,
    RescaledEntropy,
    choose_prior,
    error_bound,
    independent,
    nearest_prior,
)
from pathlift.passes.rescaling.balance import Pairs
from pathlift.passes.rescaling.canonicalize import Canonicalize
from pathlift.passes.rescaling.random_rescale import RandomRescale
from pathlift.testing import in_float64

NETWORK = """
    %x = Input : f32[N, 3]
    %w = Param {value=[[1.0, -0.5], [0.25, 2.0], [0.5, 1.0]]} : f32[3, 2]
    %b = Param {value=[0.5, -1.0]} : f32[2]
    %h = Gemm(%x, %w, %b)
    %r = Relu(%h)
    %v = Param {value=[[2.0, 0.5], [-1.0, 4.0]]} : f32[2, 2]
    %s = Gemm(%r, %v)
    %t = Relu(%s)
    %u = Param {value=[[3.0, 1.0, 0.0], [1.0, -1.0, 2.0]]} : f32[2, 3]
    %y = Gemm(%t, %u)
    return %y
"""


def network() -> Graph:
    return in_float64(parse_graph(NETWORK))


def gaussians(graph: Graph, z: np.ndarray, posterior: float, prior: float) -> float:
    """Σ over weights of KL(N(λw, λ²σ_q²) ‖ N(0, σ_p²)), one by one."""
    total = 0.0
    for use in symmetry(graph).scales().values():
        w = use.param.numpy()
        factor = np.exp(np.broadcast_to(z[use.scale.times] - z[use.scale.over], w.shape))
        mean, variance = factor * w, factor**2 * posterior
        total += float(((variance + mean**2) / (2 * prior) - 0.5 - 0.5 * np.log(variance / prior)).sum())
    return total


@pytest.mark.parametrize("prior", [0.01, 0.5, 3.0])
def test_the_relative_entropy_is_what_it_is_by_definition(prior: float) -> None:
    entropy = RescaledEntropy(symmetry(network()), 0.04)
    assert entropy.dimension == 18
    for _ in range(2):
        exact = gaussians(network(), entropy.z, 0.04, prior)
        assert exact <= entropy.value(prior) <= exact * (1 + 1e-9) + 1e-9
        entropy.descend(prior)
    assert np.abs(entropy.z).max() > 0.01


SKIP = """
    %x = Input : f32[N, 2]
    %a = Param {value=[[1e-6, 0.0], [0.0, 1e-6]]} : f32[2, 2]
    %h = Gemm(%x, %a)
    %r = Relu(%h)
    %w = Param {value=[[0.0, 1e9], [0.0, 0.0]]} : f32[2, 2]
    %s = Gemm(%r, %w)
    %t = Add(%r, %s)
    %u = Param {value=[[1e-6, 0.0], [0.0, 1e-6]]} : f32[2, 2]
    %y = Gemm(%t, %u)
    return %y
"""


def test_weights_that_no_factor_moves_are_not_lost_beside_those_that_it_makes_small() -> None:
    graph = in_float64(parse_graph(SKIP))
    entropy = RescaledEntropy(symmetry(graph), 0.04)
    entropy.descend(1.0)
    exact = gaussians(graph, entropy.z, 0.04, 1.0)
    assert exact < 1e10
    assert exact * (1 - 1e-14) <= entropy.value(1.0) <= exact * (1 + 1e-9)


@pytest.mark.parametrize("prior", [0.01, 0.5, 3.0])
def test_descent_ends_in_the_minimum(prior: float) -> None:
    entropy = RescaledEntropy(symmetry(network()), 0.04)
    entropy.descend(prior)
    assert all(b <= a * (1 + 1e-12) for a, b in zip(entropy.history, entropy.history[1:], strict=False))
    least = gaussians(network(), entropy.z, 0.04, prior)
    for h in range(1, len(entropy.z)):
        for step in (-1e-2, 1e-2):
            z = entropy.z.copy()
            z[h] += step
            assert gaussians(network(), z, 0.04, prior) > least


@pytest.mark.parametrize("seed", range(3))
def test_rescaled_copies_have_one_bound(seed: int) -> None:
    found = []
    for graph in (network(), RandomRescale(octaves=4, seed=seed).run(network()).graph):
        balanced = Canonicalize("balanced").run(graph).graph
        found.append(choose_prior(RescaledEntropy(symmetry(balanced), 0.04)))
    assert found[0][0] == found[1][0]
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-8)


def test_rescaling_helps_what_is_out_of_balance() -> None:
    graph = RandomRescale(octaves=4, seed=1).run(network()).graph
    entropy = RescaledEntropy(symmetry(graph), 0.04)
    _, before = choose_prior(entropy, rescale=False)
    _, after = choose_prior(entropy)
    assert after < 0.8 * before


def test_no_weight_joins_classes_that_move_at_once() -> None:
    chain = [
        Pairs(np.array([1, 2]), np.array([0]), np.ones((2, 1))),
        Pairs(np.array([3]), np.array([1, 2]), np.ones((1, 2))),
    ]
    blocks = independent([*chain, Pairs(np.array([4, 5]), np.array([4, 5]), np.ones((2, 2)))], 6)
    assert sum(b.astype(int) for b in blocks).tolist() == [0, 1, 1, 1, 1, 1]
    for b in blocks:
        assert not (b[1] | b[2]) or not b[3]
        assert not (b[4] and b[5])


def test_the_grid_of_priors() -> None:
    assert sum(6 / (pi * j) ** 2 for j in range(1, 100_000)) < 1
    assert Prior(3).cost == pytest.approx(log(pi**2 * 9 / 6))
    for variance in (1e-4, 0.3, 2.0):
        assert nearest_prior(variance).variance == pytest.approx(variance, rel=0.026)


def test_the_error_bound_is_made_of_its_parts() -> None:
    found = error_bound(0.1, 200, 1000, 30.0, 5.0, 0.05)
    assert found.empirical == pytest.approx(kl_inverse(0.1, log(40) / 200), abs=1e-9)
    assert found.budget == pytest.approx((35 + log(2 * sqrt(1000) / 0.025)) / 1000)
    assert found.bound == pytest.approx(kl_inverse(found.empirical, found.budget), abs=1e-9)


def test_the_error_of_a_noisy_classifier() -> None:
    """Scores w₁·x and w₂·x with noise: the second is larger with a probability that the normal distribution gives."""
    text = (
        "%x = Input : f32[N, 2]\n%w = Param {value=[[1.0, 0.0], [0.0, 0.5]]} : f32[2, 2]\n%y = Gemm(%x, %w)\nreturn %y"
    )
    from pathlift.models.labelled import Labelled, errors

    x = np.random.default_rng(0).uniform(0, 1, (50, 2)).astype(np.float32)
    data = Labelled.read(parse_graph(text), {"x": x, "y": np.zeros(50, np.int64)})
    sigma, draws = 0.4, 2000
    wrong = sum(errors(*pair) for draw in range(draws) for pair in data.scores(Noisy(sigma, (0, draw))))
    margin = (x @ np.array([1.0, -0.5])) / (sigma * sqrt(2) * np.linalg.norm(x, axis=1))
    exact = float(np.mean([0.5 * (1 - erf(m / sqrt(2))) for m in margin]))
    assert wrong / (50 * draws) == pytest.approx(exact, abs=0.02)
    assert error_bound(wrong / (50 * draws), draws, 50, 1.0, 1.0, 0.01).empirical >= exact


def test_tied_weights_get_one_noise() -> None:
    param = next(u.param for u in symmetry(network()).uses)
    algebra = Noisy(1.0, (1,))
    assert algebra.param(param) is algebra.param(param)
    assert not np.allclose(algebra.param(param).numpy(), param.numpy())
