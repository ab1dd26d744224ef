"""Sums of x·xᵀ: all of it, or its product with random vectors for what is too wide, or nothing but its diagonal."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from pathlift.ir.types import Array

Kind = Literal["exact", "projected", "diagonal"]


@dataclass(frozen=True)
class Second:
    """How a layer's sum C = Σ x·xᵀ is kept.

    Parameters
    ----------
    width
        Of x.
    kind
        ``exact``: C. ``projected``: Y = C·Ω with Ω ``(width, rank)`` of independent standard normal numbers, from which
        C ≈ Y·(ΩᵀY)⁺·Yᵀ (Nyström; Halko, Martinsson, Tropp, arXiv 0909.4061, section 5.5). It is linear in C, so that
        it adds up. ``diagonal``: nothing; the diagonal is the sum of squares, which is known in any case.
    rank
        Columns of Ω; 0 where there is none.
    seed
        Of Ω.
    """

    width: int
    kind: Kind
    rank: int = 0
    seed: int = 0

    @classmethod
    def of(cls, width: int, full_width: int, rank: int, seed: int) -> Second:
        """Choose: exact up to a width, and wherever a projection has as many columns; a rank of 0 has none."""
        if width <= full_width or 0 < width <= rank:
            return cls(width, "exact")
        return cls(width, "projected", rank, seed) if rank else cls(width, "diagonal")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the sum, for one group; ``(width, width)`` where it is exact."""
        return (self.width, {"exact": self.width, "projected": self.rank, "diagonal": 0}[self.kind])

    @property
    def packed_shape(self) -> tuple[int, ...]:
        """Of the sum as a file holds it: of a symmetric matrix the upper triangle, row by row."""
        return (self.width * (self.width + 1) // 2,) if self.kind == "exact" else self.shape

    @cached_property
    def omega(self) -> Array:
        """Ω, ``(width, rank)``, float64."""
        return np.random.Generator(np.random.PCG64(self.seed)).standard_normal((self.width, self.rank))

    @property
    def digest(self) -> str:
        """SHA-256 of Ω: another version of NumPy may draw other numbers from the same seed. Empty without one."""
        return hashlib.sha256(self.omega.tobytes()).hexdigest() if self.kind == "projected" else ""

    def product(self, rows: Array) -> Array:
        """Return Σ x·xᵀ, or Σ x·(xᵀΩ), of rows ``(groups, n, width)`` in float64."""
        if self.kind == "exact":
            return np.stack([gram(x) for x in rows])
        return rows.transpose(0, 2, 1) @ (rows @ self.omega) if self.rank else np.zeros((len(rows), *self.shape))

    def mean(self, total: Array, squares: Array, count: int) -> Array:
        """Return E[x·xᵀ] of one group, ``(width, width)``, or what is known of it.

        Parameters
        ----------
        total
            The sum, of `shape`.
        squares
            Sums of squares, ``(width,)``, which the diagonal is made of wherever C is not exact.
        count
            How many rows there were.
        """
        count = max(count, 1)
        if self.kind == "exact":
            return total / count
        c = np.zeros((self.width, self.width)) if self.kind == "diagonal" else self._nystrom(total / count)
        np.fill_diagonal(c, squares / count)
        return c

    def square(self, total: Array, squares: Array, count: int) -> float:
        """Return the sum of the squares of all elements of `mean`, without that matrix where C is projected."""
        if self.kind != "projected":
            return float(np.square(self.mean(total, squares, count)).sum())
        count = max(count, 1)
        factor = self._factor(total / count)
        diagonal = np.einsum("ij,ij->i", factor, factor)
        inner = float(np.square(factor.T @ factor).sum())  # ‖F·Fᵀ‖² = ‖Fᵀ·F‖²
        return inner - float(np.square(diagonal).sum()) + float(np.square(squares / count).sum())

    def _nystrom(self, y: Array) -> Array:
        return gram(self._factor(y).T)

    def _factor(self, y: Array) -> Array:
        """F of F·Fᵀ = Y·(ΩᵀY)⁺·Yᵀ."""
        core = self.omega.T @ y
        values, vectors = np.linalg.eigh((core + core.T) / 2)
        kept = values > 1e-10 * max(float(values[-1]), 0.0)
        factor: Array = y @ (vectors[:, kept] / np.sqrt(values[kept]))
        return factor

    def pack(self, total: Array) -> Array:
        """Return the sum as a file holds it, ``(groups, …)``."""
        if self.kind != "exact":
            return total
        return np.stack([c[np.triu_indices(self.width)] for c in total])

    def unpack(self, packed: Array) -> Array:
        """Return the sum of what `pack` returned."""
        if self.kind != "exact":
            return packed
        total = np.zeros((len(packed), *self.shape))
        for c, triangle in zip(total, packed, strict=True):
            c[np.triu_indices(self.width)] = triangle
            c.T[np.triu_indices(self.width)] = triangle
        return total


def gram(rows: Array) -> Array:
    """Return Σ x·xᵀ of rows ``(n, width)``, float64, symmetric: NumPy computes one triangle of such a product."""
    x = np.ascontiguousarray(rows, np.float64)
    product: Array = x.T @ x
    return product
