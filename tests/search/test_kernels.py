"""Kernels against their definitions: maxima and means over enumerated groups; no matrix has a negative eigenvalue."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathlift.ir.errors import UsageError
from pathlift.search import (
    AverageKernel,
    Choice,
    Exchangeable,
    Group,
    Kernel,
    MaxKernel,
    Real,
    Reflected,
    Space,
    base_kernel,
)

Array = npt.NDArray[np.float64]
CHOICES = Space((Choice("abc"),) * 6, (Exchangeable((0, 1, 2, 3)), Exchangeable((4, 5))))
NUMBERS = Space((Real(-3, 3),) * 4, (Exchangeable(range(4), signs=True),))
MIXED = Space(
    (Real(-1, 1), Choice("ab"), Real(0, 4), Choice("abc"), Real(-1, 1), Choice("ab"), Choice("ab")),
    (Exchangeable((0, 4)), Exchangeable((1, 5, 6)), Reflected((2,))),
)
SPACES = {"choices": CHOICES, "numbers": NUMBERS, "mixed": MIXED}


def orbit(space: Space, point: Array) -> list[Array]:
    """All that the symmetries make of a point, by brute force."""
    points = [point]
    for symmetry in space.symmetries:
        assert not isinstance(symmetry, Group)
        members = list(symmetry.variables)
        orders = list(permutations(members)) if isinstance(symmetry, Exchangeable) else [tuple(members)]
        flips = list(product((False, True), repeat=len(members))) if symmetry.signs else [(False,) * len(members)]
        made = []
        for p, order, flip in product(points, orders, flips):
            new = p.copy()
            new[members] = p[list(order)]
            flipped = [m for m, f in zip(members, flip, strict=True) if f]
            new[flipped] = (space.low + space.high - new)[flipped]
            made.append(new)
        points = made
    return points


def by_hand(kernel: Kernel, a: Array, b: Array) -> float:
    """The base kernel, from its formula."""
    space, exponent = kernel.space, 0.0
    for variable, x, y in zip(space.variables, a, b, strict=True):
        if isinstance(variable, Choice):
            exponent += (x != y) / kernel.choices
        else:
            half = (variable.high - variable.low) / 2
            exponent += ((x - y) / half) ** 2 / (2 * kernel.numbers**2)
    return float(np.exp(-exponent))


@pytest.mark.parametrize("name", SPACES)
@given(seed=st.integers(0, 10**6), numbers=st.floats(0.2, 3), choices=st.floats(0.5, 8))
def test_kernels_are_maxima_and_means_over_the_group(name: str, seed: int, numbers: float, choices: float) -> None:
    space = SPACES[name]
    a, b = space.sample(2, np.random.default_rng(seed))
    largest = MaxKernel(space, numbers, choices)
    values = [by_hand(largest, g, b) for g in orbit(space, a)]
    assert largest(a[None], b[None])[0, 0] == pytest.approx(max(values), abs=1e-12)
    mean = AverageKernel(space, numbers, choices)
    assert mean(a[None], b[None])[0, 0] == pytest.approx(np.mean(values), abs=1e-12)
    plain = base_kernel(space).at(numbers=numbers, choices=choices)
    assert plain(a[None], b[None])[0, 0] == pytest.approx(by_hand(plain, a, b), abs=1e-12)


@pytest.mark.parametrize("name", SPACES)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 25), length=st.floats(0.2, 5))
def test_matrices_are_positive_semidefinite(name: str, seed: int, count: int, length: float) -> None:
    points = SPACES[name].sample(count, np.random.default_rng(seed))
    for kernel in (MaxKernel, AverageKernel, base_kernel):
        made = kernel(SPACES[name]).at(numbers=length, choices=length)  # type: ignore[operator]
        assert made.positive
        matrix = made(points, points)
        assert np.linalg.eigvalsh(matrix)[0] > -1e-12 * count
        assert matrix.diagonal() == pytest.approx(made.diagonal(points), abs=1e-12)


def test_all_multisets_are_positive_semidefinite() -> None:
    """All 462 ways to choose 6 of 6 options, at several lengths."""
    space = Space((Choice("abcdef"),) * 6, (Exchangeable(range(6)),))
    points = space.representatives
    assert len(points) == 462
    for length in (0.5, 2.0, 20.0):
        assert np.linalg.eigvalsh(MaxKernel(space, choices=length)(points, points))[0] > 1e-6


def test_a_group_of_ones_own_is_enumerated() -> None:
    space = Space((Real(-1, 1),) * 3, (Group(((1, 2, 0),), ((1, 1, -1),)),))
    a, b = (space.sample(7, np.random.default_rng(seed)) for seed in (0, 1))
    largest, mean = MaxKernel(space, numbers=0.4), AverageKernel(space, numbers=0.4)
    orbits = [[x[list(order)] * signs for order, signs in space.elements] for x in a]
    assert len(orbits[0]) == 6
    values = np.array([[[by_hand(largest, g, y) for g in orbit] for y in b] for orbit in orbits])
    np.testing.assert_allclose(largest(a, b), values.max(axis=2), atol=1e-12)
    np.testing.assert_allclose(mean(a, b), values.mean(axis=2), atol=1e-12)
    np.testing.assert_allclose(mean.diagonal(a), mean(a, a).diagonal(), atol=1e-12)
    assert mean.positive
    assert not largest.positive


def test_a_maximum_over_a_group_is_in_general_not_positive_semidefinite() -> None:
    """Pairs of numbers that are exchanged together: the reason why such kernels are projected."""
    space = Space((Real(-1, 1),) * 6, (Group(((2, 3, 0, 1, 4, 5), (2, 3, 4, 5, 0, 1))),))
    points = space.sample(60, np.random.default_rng(0))
    assert np.linalg.eigvalsh(MaxKernel(space, numbers=1.5)(points, points))[0] < -1e-3


def test_lengths_that_matter() -> None:
    assert MaxKernel(CHOICES).lengths == ("choices",)
    assert MaxKernel(NUMBERS).lengths == ("numbers",)
    assert MaxKernel(MIXED).lengths == ("numbers", "choices")


def test_averages_over_too_many_permutations_are_refused() -> None:
    space = Space((Choice("ab"),) * 11, (Exchangeable(range(11)),))
    with pytest.raises(UsageError, match="PL1535"):
        AverageKernel(space)
