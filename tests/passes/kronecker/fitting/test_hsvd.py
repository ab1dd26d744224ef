"""Hierarchical blockwise SVD: what it recovers, that two factors are the best, and that its bound holds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.ir.errors import UsageError
from pathlift.ir.kronecker import Pattern, dense, gather, is_chainable, pattern_of, product
from pathlift.ir.types import Array
from pathlift.passes.kronecker.fitting.hsvd import hsvd, product_pattern


def butterfly(n: int) -> list[Pattern]:
    levels = n.bit_length() - 1
    return [Pattern(2**i, 2, 2, n >> (i + 1)) for i in range(levels)]


EXACT = {
    **{f"butterfly {n}": butterfly(n) for n in (64, 128, 256, 512, 1024)},
    "monarch": [Pattern(1, 192, 48, 2), Pattern(2, 48, 192, 1)],
    "four levels of four": [Pattern(4**i, 4, 4, 4 ** (3 - i)) for i in range(4)],
    "rectangular": [Pattern(2, 3, 20, 6), Pattern(10, 12, 5, 2), Pattern(10, 5, 7, 2)],
    "low rank": [Pattern(1, 40, 3, 1), Pattern(1, 3, 70, 1)],
    "redundant rank": [Pattern(1, 4, 12, 1), Pattern(1, 12, 5, 1)],
    "one factor": [Pattern(3, 4, 5, 2)],
}


def relative(weight: Array, factors: tuple[Array, ...]) -> float:
    return float(np.linalg.norm(weight - product(factors)) / np.linalg.norm(weight))


def random_product(patterns: list[Pattern], rng: np.random.Generator) -> Array:
    weight = product([rng.standard_normal(p.shape) for p in patterns])
    scaled: Array = weight / np.abs(weight).max()
    return scaled


@pytest.mark.parametrize("patterns", EXACT.values(), ids=EXACT)
def test_products_are_recovered(patterns: list[Pattern]) -> None:
    weight = random_product(patterns, np.random.default_rng(0))
    found = hsvd(weight, patterns)
    assert [pattern_of(k) for k in found.factors] == patterns
    assert relative(weight, found.factors) < 1e-13
    assert found.bound < 1e-12


@st.composite
def chains(draw: st.DrawFn) -> list[Pattern]:
    """Up to four chainable patterns with any ranks and small extents."""
    number = draw(st.integers(1, 4))
    small = st.integers(1, 3)
    grow, shrink, ranks = ([draw(small) for _ in range(number - 1)] for _ in range(3))
    a = [*itertools.accumulate(grow, int.__mul__, initial=draw(small))]
    d = [*itertools.accumulate(reversed(shrink), int.__mul__, initial=draw(small))][::-1]
    b = [draw(st.integers(1, 4)), *(r * s for r, s in zip(ranks, shrink, strict=True))]
    c = [*(r * g for r, g in zip(ranks, grow, strict=True)), draw(st.integers(1, 4))]
    return [Pattern(*p) for p in zip(a, b, c, d, strict=True)]


@settings(deadline=None, max_examples=300)
@given(chains(), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-15, 1e-8, 1e-3, 1.0, 1e3]))
def test_the_bound_holds_and_is_tight(patterns: list[Pattern], seed: int, noise: float) -> None:
    assert is_chainable(patterns)
    rng = np.random.default_rng(seed)
    weight = random_product(patterns, rng)
    weight = weight + noise * rng.standard_normal(weight.shape)
    found = hsvd(weight / np.abs(weight).max(), patterns)
    error = relative(weight / np.abs(weight).max(), found.factors)
    assert error <= found.bound <= error * (1 + 1e-9) + 1e-12


@settings(deadline=None, max_examples=100)
@given(chains(), st.integers(0, 2**32 - 1))
def test_it_is_nearly_the_best(patterns: list[Pattern], seed: int) -> None:
    # A product at distance δ exists, so that the best is at most that far, and this within √(L−1) of it.
    rng = np.random.default_rng(seed)
    weight = random_product(patterns, rng)
    noise = 0.1 * rng.standard_normal(weight.shape)
    off = noise - dense(gather(noise, product_pattern(patterns)))
    within = np.linalg.norm(noise - off) * np.sqrt(max(1, len(patterns) - 1))
    distance = np.linalg.norm(weight + noise - product(hsvd(weight + noise, patterns).factors))
    assert distance <= np.hypot(np.linalg.norm(off), within) * (1 + 1e-9)


def best_two_factor_error(weight: Array, p: Pattern, q: Pattern) -> float:
    """The optimum from the supports alone: rank-one terms are grouped by the block that they reach."""
    columns, rows = dense(np.ones(p.shape)).T, dense(np.ones(q.shape))
    groups = dict[tuple[bytes, bytes], int]()
    for column, row in zip(columns, rows, strict=True):
        key = (column.tobytes(), row.tobytes())
        groups[key] = groups.get(key, 0) + 1
    lost = float(np.sum((weight * (columns.T @ rows == 0)) ** 2))
    for (column, row), rank in groups.items():
        block = weight[np.frombuffer(column) > 0][:, np.frombuffer(row) > 0]
        lost += float(np.sum(np.linalg.svd(block, compute_uv=False)[rank:] ** 2))
    return float(np.sqrt(lost) / np.linalg.norm(weight))


PAIRS = [
    (Pattern(1, 6, 4, 2), Pattern(2, 4, 6, 1)),
    (Pattern(2, 3, 4, 2), Pattern(4, 2, 3, 2)),
    (Pattern(1, 4, 3, 6), Pattern(3, 2, 5, 3)),
    (Pattern(1, 5, 2, 1), Pattern(1, 2, 7, 1)),
]


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_two_factors_are_the_best(p: Pattern, q: Pattern) -> None:
    weight = np.random.default_rng(1).standard_normal((p.rows, q.cols))
    found = relative(weight, hsvd(weight, [p, q]).factors)
    assert found == pytest.approx(best_two_factor_error(weight, p, q), rel=1e-12)


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_no_search_finds_better_factors(p: Pattern, q: Pattern) -> None:
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((p.rows, q.cols))
    masks = [torch.tensor(dense(np.ones(s.shape))) for s in (p, q)]
    target, best = torch.tensor(weight), np.inf
    for _ in range(5):
        ks = [torch.tensor(rng.standard_normal(m.shape), requires_grad=True) for m in masks]
        optimizer = torch.optim.LBFGS(ks, max_iter=300, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

        def loss(ks: list[torch.Tensor] = ks, optimizer: torch.optim.LBFGS = optimizer) -> torch.Tensor:
            optimizer.zero_grad()
            value = torch.sum((target - (ks[0] * masks[0]) @ (ks[1] * masks[1])) ** 2)
            value.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
            return value

        optimizer.step(loss)  # type: ignore[no-untyped-call]  # torch has no types for it
        best = min(best, float(loss().detach()) ** 0.5 / float(np.linalg.norm(weight)))
    found = relative(weight, hsvd(weight, [p, q]).factors)
    assert found <= best + 1e-12
    assert best <= found * 1.05  # the search is a real one: it comes close


def test_singular_values_are_shared() -> None:
    weight = 100.0 * random_product(EXACT["monarch"], np.random.default_rng(3))
    left, right = hsvd(weight, EXACT["monarch"]).factors
    columns = np.linalg.norm(dense(left), axis=0)
    rows = np.linalg.norm(dense(right), axis=1)
    assert np.all((columns / rows < 2.01) & (rows / columns < 2.01))


@pytest.mark.parametrize(
    ("patterns", "reason"),
    [
        ([Pattern(2, 3, 3, 1), Pattern(3, 2, 2, 1)], "a = 2 does not divide a = 3"),
        ([Pattern(1, 2, 2, 3), Pattern(1, 3, 3, 2)], "d = 2 does not divide d = 3"),
        ([Pattern(1, 4, 3, 4), Pattern(2, 3, 3, 2)], "1·3/2 is no integer"),
    ],
)
def test_refuses_what_is_not_chainable(patterns: list[Pattern], reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        hsvd(np.ones((patterns[0].rows, patterns[-1].cols)), patterns)
    assert caught.value.code == "PL0457"
    assert str(patterns[0]) in caught.value.message
    assert str(patterns[1]) in caught.value.message
