"""Every move against exact rational arithmetic: what it computes is no smaller than what it is proved to bound."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch

from pathlift.passes.ellipsoids.moves import Gated, Linear, Widened

Tensor = torch.Tensor
Exact = np.ndarray  # of fractions


def exact(x: Tensor) -> Exact:
    result: Exact = np.vectorize(Fraction, otypes=[object])(x.double().numpy())
    return result


def is_semidefinite(m: Exact) -> bool:
    """By elimination, without rounding."""
    m = m.copy()
    for i in range(len(m)):
        if m[i, i] < 0 or (m[i, i] == 0 and any(m[i, i:] != 0)):
            return False
        if m[i, i] > 0:
            m[i + 1 :, i + 1 :] -= np.outer(m[i + 1 :, i], m[i, i + 1 :]) / m[i, i]
    return True


def inverse(m: Exact) -> Exact:
    n = len(m)
    rows = np.concatenate([m, exact(torch.eye(n))], 1)
    for i in range(n):
        rows[i] = rows[i] / rows[i, i]
        for j in range(n):
            if j != i:
                rows[j] = rows[j] - rows[j, i] * rows[i]
    return rows[:, n:]


SCALES: list[Callable[[int], Tensor]] = [
    lambda n: torch.ones(n).double(),
    lambda n: torch.logspace(-40, 40, n, dtype=torch.float64),
    lambda n: torch.tensor([1e-9, 1e7] * n, dtype=torch.float64)[:n],
]


def semidefinite(n: int, scale: Tensor, seed: int, rank: int | None = None) -> Tensor:
    """An integer Gram matrix, scaled by powers of two: exact in float64."""
    g = torch.Generator().manual_seed(seed)
    factor = torch.randint(-9, 10, (n, rank or n), generator=g).double()
    exponents = 2.0 ** scale.log2().round()
    return exponents[:, None] * (factor @ factor.T) * exponents


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("seed", range(6))
def test_linear_maps_enclose_exact_products(scale: Callable[[int], Tensor], seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    n, k = 5, 4
    m = semidefinite(n, scale(n), seed, rank=2 + seed % 3)
    matrix = torch.randn(k, n, generator=g, dtype=torch.float64) / 3
    error = torch.zeros(k, n, dtype=torch.float64)
    result = exact(Linear(matrix, error)(m[None])[0])
    g_ = exact(matrix)
    assert is_semidefinite(result - g_ @ exact(m) @ g_.T)


@pytest.mark.parametrize("seed", range(6))
def test_linear_maps_that_cancel_enclose_what_rounding_leaves(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    matrix = torch.randn(3, 20, generator=g, dtype=torch.float64)
    matrix = matrix - matrix.mean(1, keepdim=True)  # rows that sum to almost nothing, in all directions that there are
    result = exact(Linear(matrix, torch.zeros_like(matrix))(torch.ones(1, 20, 20, dtype=torch.float64))[0])
    total = exact(matrix).sum(1)
    assert is_semidefinite(result - np.outer(total, total))


@pytest.mark.parametrize("size", [1e-15, 1e-3, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_linear_maps_enclose_all_matrices_within_their_error(size: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    m = semidefinite(4, SCALES[0](4), seed)
    matrix = torch.randn(3, 4, generator=g, dtype=torch.float64)
    error = size * torch.rand(3, 4, generator=g, dtype=torch.float64)
    result = exact(Linear(matrix, error)(m[None])[0])
    for _ in range(6):
        sign = torch.randint(0, 2, (3, 4), generator=g).double() * 2 - 1
        off = exact(matrix) + exact(error * sign)
        assert is_semidefinite(result - off @ exact(m) @ off.T)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("seed", range(8))
def test_gates_enclose_what_the_lemma_says(scale: Callable[[int], Tensor], seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    n = 5
    m = semidefinite(n, scale(n), seed, rank=n if seed % 2 else 3)
    alpha = torch.tensor([1.0, 0.0, 0.3, -0.1, 1.0], dtype=torch.float64)
    kappa = torch.tensor([0.0, 1.0, 0.7, 1.2, 1e-13], dtype=torch.float64)
    index = torch.tensor([1, 2, 3, 4])
    gate = Gated("g", "n", index, 2, alpha, kappa)
    diagonal = m.diagonal()[index]
    logs = (0.3 / diagonal / (1 + torch.rand(4, generator=g, dtype=torch.float64))).log()
    found = gate(m[None], logs[None])
    assert found is not None
    t = exact(logs.exp())
    diag, me, a = np.diag, exact(m), exact(alpha)
    normal = 2 * diag(t) - diag(t) @ me[1:, 1:] @ diag(t)
    b = (a[:, None] * me[:, 1:]) * t
    b[1:] = b[1:] + diag(exact(kappa)[1:])
    assert is_semidefinite(normal)
    assert is_semidefinite(exact(found[0]) - a[:, None] * me * a - b @ inverse(normal) @ b.T)


def test_a_gate_of_multipliers_that_prove_nothing_is_refused() -> None:
    gate = Gated("g", "n", torch.tensor([0, 1]), 1, torch.zeros(2).double(), torch.ones(2).double())
    m = torch.ones(1, 2, 2, dtype=torch.float64)  # N = 2T − T·11ᵀ·T is singular at t = (1, 1)
    assert gate(m, torch.tensor([[-0.01, -0.01]], dtype=torch.float64)) is not None
    assert gate(m, torch.tensor([[0.0, 0.0]], dtype=torch.float64)) is None
    assert gate(m, torch.tensor([[0.01, 0.01]], dtype=torch.float64)) is None


def test_the_edge_of_what_is_proved_lies_outside_rounding() -> None:
    """A matrix whose N is not positive definite by a little less than rounding: its factorization would complete."""
    n, count = 40, 0
    gate = Gated("g", "n", torch.arange(n), n, torch.zeros(n).double(), torch.ones(n).double())
    for seed in range(40):
        g = torch.Generator().manual_seed(seed)
        factor = torch.randint(-3, 4, (n, 1), generator=g).double()
        m = factor @ factor.T
        t = (2 / (factor.square().sum())) * torch.ones(n, dtype=torch.float64)
        te = exact(t.log().exp())
        singular = sum(te * exact(factor[:, 0]) ** 2) >= 2  # then N ≻ 0 does not hold
        count += int(singular)
        if singular:
            assert gate(m[None], t.log()[None]) is None
    assert count > 5


@pytest.mark.parametrize("seed", range(6))
def test_boxes_are_added_with_shares_of_at_most_one(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    m = semidefinite(4, SCALES[seed % 3](4), seed)
    radius = torch.tensor([0.3, 0.0, 1e-9], dtype=torch.float64)
    wide = Widened("b", torch.tensor([0, 2, 3]), radius)
    logits = 5 * torch.randn(1, 4, generator=g, dtype=torch.float64)
    shares = exact(wide.shares(logits)[0])
    assert sum(shares[[0, 1, 3]]) <= 1
    added = exact(torch.zeros(4, 4))
    for place, share, r in ((0, shares[1], radius[0]), (3, shares[3], radius[2])):
        added[place, place] = Fraction(float(r)) ** 2 / share
    assert is_semidefinite(exact(wide(m[None], logits)[0]) - exact(m) / shares[0] - added)


def test_a_box_alone_is_reached_at_the_best_shares() -> None:
    radius = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    w = torch.tensor([3.0, -1.0, 4.0], dtype=torch.float64)
    wide = Widened("b", torch.arange(3), radius, alone=True)
    logits = torch.cat([torch.zeros(1), (w.abs() * radius).log()])[None].double()
    m = wide(torch.zeros(1, 3, 3, dtype=torch.float64), logits)[0]
    assert float((w @ m @ w).sqrt()) == pytest.approx(7.0, rel=1e-9)
