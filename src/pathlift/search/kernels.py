"""Kernels of Gaussian processes over mixed variables: plain ones, and two that know symmetries.

Sources: Bardou, Gonon, Ahadinia, Thiran, "Symmetry-Aware Bayesian Optimization via Max Kernels" (arXiv 2509.25051), for
the kernel max_g k(gx, x'); Kondor, "Group theoretical methods in machine learning" (2008), for the average over g.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from math import factorial
from typing import ClassVar, Self

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.search.space import Array, Choice, Space
from pathlift.search.symmetry import Exchangeable

MOST_AVERAGED = 10
"""Variables of the largest class whose permutations `AverageKernel` sums over: work and memory grow like 2ⁿ."""


@dataclass(frozen=True)
class Kernel(ABC):
    """A covariance of the values of a function at two points of a space.

    Parameters
    ----------
    space
        The space, with the symmetries that the kernel has, too.
    numbers
        Length scale of numbers, in halves of their intervals.
    choices
        How many choices have to differ for the covariance to fall by a factor of e.

    Attributes
    ----------
    positive
        Whether all of its matrices are positive semidefinite. If not, `GaussianProcess` projects.
    """

    LENGTHS: ClassVar[Mapping[str, tuple[float, float]]] = {"numbers": (0.05, 10.0), "choices": (0.2, 50.0)}
    """The fields that are fitted to data, and from where to where."""

    space: Space
    numbers: float = 0.5
    choices: float = 2.0

    @property
    def positive(self) -> bool:
        return True

    @property
    def lengths(self) -> tuple[str, ...]:
        """Which of its lengths the kernel depends on."""
        return tuple(name for name in self.LENGTHS if getattr(self.space, name))

    def at(self, **lengths: float) -> Self:
        """Return the kernel of other lengths."""
        return dataclasses.replace(self, **lengths)  # type: ignore[arg-type]

    @abstractmethod
    def __call__(self, a: Array, b: Array) -> Array:
        """Return the covariances of points, shapes ``(n, variables)`` and ``(m, variables)``, shape ``(n, m)``."""

    @abstractmethod
    def diagonal(self, points: Array) -> Array:
        """Return the variances at points, shape ``(n,)``."""


@dataclass(frozen=True)
class MaxKernel(Kernel):
    """The largest base kernel over an orbit: max_g k(gx, x'), k = exp(-|z - z'|²/2 numbers² - differing/choices).

    z are the numbers, scaled to [-1, 1]. Without symmetries it is the base kernel k.

    Where variables are exchangeable or reflected the maximum is a kernel of features, hence positive semidefinite, and
    no permutation is enumerated. Numbers: sorted, reflected to one side (the rearrangement inequality). Choices: if
    h counts how often each option is chosen among n exchangeable ones, at most Σ min(h, h') of them can be made equal,
    so that the least number that differs is n - Σ min(h, h'): the histogram intersection, which is a positive
    semidefinite kernel, and so is its exponential. Of a `Group` of one's own the orbit is enumerated, and the maximum
    is in general no positive semidefinite kernel.
    """

    @property
    def positive(self) -> bool:
        return not self.space.elements

    def __call__(self, a: Array, b: Array) -> Array:
        if self.space.elements:
            z, w = self.space.scaled(a), self.space.scaled(b)
            exponents = (self._exponent(moved, w) for moved in orbit(self.space, z))
            return np.exp(-reduce(np.minimum, exponents))
        space = self.space
        z, w = (space.scaled(space.canonical(points)) for points in (a, b))
        squares = _sum_of_squares(z[:, space.numbers], w[:, space.numbers])
        equal = np.zeros_like(squares)
        for own, other in zip(self._counts(a).T, self._counts(b).T, strict=True):
            equal += np.minimum.outer(own, other)
        return np.exp(-squares / (2 * self.numbers**2) - (len(space.choices) - equal) / self.choices)

    def diagonal(self, points: Array) -> Array:
        return np.ones(len(points))

    def _counts(self, points: Array) -> Array:
        """Return how often each option is chosen in each class of choices, shape ``(n, all options)``."""
        classes = {i: [i] for i in self.space.choices}
        for symmetry in self.space.symmetries:
            if isinstance(symmetry, Exchangeable) and isinstance(self.space.variables[symmetry.variables[0]], Choice):
                classes[symmetry.variables[0]] = list(symmetry.variables)
                for index in symmetry.variables[1:]:
                    del classes[index]
        columns = [
            (points[:, members] == option).sum(axis=1)
            for first, members in classes.items()
            for option in range(int(self.space.high[first]) + 1)
        ]
        return np.array(columns, dtype=float).reshape(len(columns), len(points)).T

    def _exponent(self, z: Array, w: Array) -> Array:
        """Return minus the logarithm of the base kernel, for scaled points."""
        numbers, choices = self.space.numbers, self.space.choices
        differing = sum((np.not_equal.outer(z[:, i], w[:, i]) for i in choices), np.zeros((len(z), len(w))))
        result: Array = _sum_of_squares(z[:, numbers], w[:, numbers]) / (2 * self.numbers**2) + differing / self.choices
        return result


def base_kernel(space: Space) -> MaxKernel:
    """Return the base kernel over a space: the one that knows no symmetry."""
    return MaxKernel(space.without_symmetries())


@dataclass(frozen=True)
class AverageKernel(Kernel):
    """The mean of the base kernel over an orbit: Σ_g k(gx, x') / |G|, as it is, with a diagonal that is not constant.

    Of n exchangeable variables it is a permanent over n!, summed over subsets: n 2ⁿ operations, none of which cancels.
    It is positive semidefinite.

    Raises
    ------
    UsageError
        PL1535 if more than 10 variables are exchangeable among each other.
    """

    def __post_init__(self) -> None:
        for symmetry in self.space.symmetries:
            if isinstance(symmetry, Exchangeable) and len(symmetry.variables) > MOST_AVERAGED:
                count = len(symmetry.variables)
                raise UsageError(
                    "1535",
                    f"the average over the permutations of {count} variables takes too long: at most {MOST_AVERAGED}",
                    hint="the max kernel has no such limit",
                )

    def __call__(self, a: Array, b: Array) -> Array:
        return self._average(self.space.scaled(a)[:, None], self.space.scaled(b)[None])

    def diagonal(self, points: Array) -> Array:
        z = self.space.scaled(points)
        return self._average(z, z)

    def _average(self, z: Array, w: Array) -> Array:
        """Return the averages for scaled points, shapes ``(..., variables)``, that broadcast."""
        shape = np.broadcast_shapes(z.shape, w.shape)[:-1]
        alone = list(range(self.space.dimension))
        if self.space.elements:
            total = sum((self._product(moved, w, alone) for moved in orbit(self.space, z)), np.zeros(shape))
            mean: Array = total / len(self.space.elements)
            return mean
        result = np.ones(shape)
        for symmetry in self.space.classes:
            members = list(symmetry.variables)
            alone = [i for i in alone if i not in members]
            if isinstance(symmetry, Exchangeable):
                entries = [[self._similar(z[..., i], w[..., j], i, symmetry.signs) for j in members] for i in members]
                result *= _permanent(entries) / factorial(len(members))
            else:
                result *= self._product(z, w, members, signs=True)
        return result * self._product(z, w, alone)

    def _product(self, z: Array, w: Array, variables: Sequence[int], *, signs: bool = False) -> Array:
        """Return the base kernel of some variables."""
        factors = (self._similar(z[..., i], w[..., i], i, signs) for i in variables)
        return reduce(np.multiply, factors, np.ones(np.broadcast_shapes(z.shape, w.shape)[:-1]))

    def _similar(self, z: Array, w: Array, variable: int, signs: bool) -> Array:
        """Return the factor of one variable, averaged over its signs."""
        if isinstance(self.space.variables[variable], Choice):
            return np.where(z == w, 1.0, np.exp(-1 / self.choices))
        same: Array = np.exp(-((z - w) ** 2) / (2 * self.numbers**2))
        return (same + np.exp(-((z + w) ** 2) / (2 * self.numbers**2))) / 2 if signs else same


def orbit(space: Space, z: Array) -> Iterator[Array]:
    """Yield what the elements of the space's own group make of scaled points, shape ``(..., variables)``."""
    for order, signs in space.elements:
        yield z[..., order] * np.array(signs, dtype=float)


def _sum_of_squares(a: Array, b: Array) -> Array:
    total = np.zeros((len(a), len(b)))
    for own, other in zip(a.T, b.T, strict=True):
        total += np.subtract.outer(own, other) ** 2
    return total


def _permanent(entries: list[list[Array]]) -> Array:
    """Return the permanent of matrices of non-negative entries, ``entries[i][j]`` that of row i and column j."""
    n = len(entries)
    partial: dict[tuple[int, ...], Array] = {(): np.ones_like(entries[0][0])}
    for row in range(n):
        partial = {
            columns: sum(
                (partial[columns[:k] + columns[k + 1 :]] * entries[row][j] for k, j in enumerate(columns)),
                np.zeros_like(entries[0][0]),
            )
            for columns in combinations(range(n), row + 1)
        }
    return partial[tuple(range(n))]


__all__ = ["AverageKernel", "Kernel", "MaxKernel", "base_kernel"]
