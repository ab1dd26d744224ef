"""Kronecker-sparse matrices: patterns, and factors as arrays.

A pattern (a, b, c, d) is the support I_a ⊗ 1_{b×c} ⊗ I_d of a matrix of a·b·d rows and a·c·d columns: row (i, p, l) and
column (j, k, m) meet where i = j and l = m. Its non-zeros are an array of shape (a, d, b, c), one dense b×c block per
(i, l), which is the layout that a batched matrix product takes. (Gonon, Zheng, Carrivain, Le, arXiv 2405.15013.)
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.types import Array

_PATTERNS = re.compile(r"\s*(\(\s*\d+\s*(,\s*\d+\s*){3}\)[\s·*]*)+")  # each part in one way: no text takes long
_NUMBER = re.compile(r"\d+")


class Pattern(NamedTuple):
    """The support I_a ⊗ 1_{b×c} ⊗ I_d; all four are at least 1."""

    a: int
    b: int
    c: int
    d: int

    @property
    def rows(self) -> int:
        """Outputs of the linear map."""
        return self.a * self.b * self.d

    @property
    def cols(self) -> int:
        """Inputs of the linear map."""
        return self.a * self.c * self.d

    @property
    def size(self) -> int:
        """Non-zeros, which is the number of multiplications per sample."""
        return self.a * self.b * self.c * self.d

    @property
    def density(self) -> float:
        """Non-zeros over all elements: 1/(a·d)."""
        return 1 / (self.a * self.d)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the array of non-zeros: (a, d, b, c)."""
        return self.a, self.d, self.b, self.c

    def __str__(self) -> str:
        return f"({self.a},{self.b},{self.c},{self.d})"


def pattern_of(factor: Array) -> Pattern:
    """Return the pattern of an array of non-zeros, shape (a, d, b, c)."""
    a, d, b, c = factor.shape
    return Pattern(a, b, c, d)


def parse_patterns(text: str) -> tuple[Pattern, ...]:
    """Read ``(a,b,c,d)(a,b,c,d)…``.

    Raises
    ------
    UsageError
        If the text is no such list, or a number is 0.
    """
    if not _PATTERNS.fullmatch(text):
        raise UsageError("0460", f"{text!r} is no list of patterns", hint="for example (1,192,48,2)(2,48,192,1)")
    numbers = [int(n) for n in _NUMBER.findall(text)]
    patterns = tuple(Pattern(*numbers[i : i + 4]) for i in range(0, len(numbers), 4))
    for p in patterns:
        chain([p])
    return patterns


def oriented(patterns: Iterable[Pattern], rows: int, cols: int) -> tuple[Pattern, ...]:
    """Bring patterns into the order of a matrix product of this shape.

    Papers list factors as they multiply, or as they are applied to the input. The sizes tell which; where both fit, the
    order is taken in which the factors are chainable, and the one given if neither or both are.

    Raises
    ------
    UsageError
        If they multiply to this shape in neither order.
    """
    given = tuple(patterns)
    fitting = [p for p in (given, given[::-1]) if _multiplies(p) and (p[0].rows, p[-1].cols) == (rows, cols)]
    if not fitting:
        found = chain(given[::-1] if _multiplies(given[::-1]) else given)
        sizes = f"{found[0].rows}×{found[-1].cols}"
        raise UsageError("0463", f"{_text(given)} is {sizes}, and does not fit a matrix of {rows}×{cols}")
    return max(fitting, key=is_chainable)


def is_chainable(patterns: Sequence[Pattern]) -> bool:
    """Whether the supports of neighbouring factors split into blocks that are products of rank r.

    For K₁ of pattern (a₁, b₁, c₁, d₁) and K₂ of (a₂, b₂, c₂, d₂): a₁ | a₂, d₂ | d₁, and a₁·c₁/a₂ = b₂·d₂/d₁ = r is an
    integer (Le, Zheng, Riccietti, Gribonval, arXiv 2411.04506, Definition 4.1).
    """
    return all(rank_between(p, q) is not None for p, q in itertools.pairwise(patterns))


def rank_between(p: Pattern, q: Pattern) -> int | None:
    """Return r, as in `is_chainable`; ``None`` if two factors are not chainable."""
    fits = q.a % p.a == 0 and p.d % q.d == 0 and p.a * p.c % q.a == 0 and q.b * q.d % p.d == 0
    r = p.a * p.c // q.a
    return r if fits and r == q.b * q.d // p.d else None


def _multiplies(patterns: Sequence[Pattern]) -> bool:
    return all(p.cols == q.rows for p, q in itertools.pairwise(patterns))


def _text(patterns: Iterable[Pattern]) -> str:
    return "".join(map(str, patterns))


def chain(patterns: Iterable[Pattern]) -> tuple[Pattern, ...]:
    """Check that patterns multiply, from left to right.

    Raises
    ------
    UsageError
        If there is none, one holds a number below 1, or neighbours do not multiply.
    """
    found = tuple(patterns)
    if not found:
        raise UsageError("0460", "no pattern is given", hint="for example (1,192,48,2)(2,48,192,1)")
    for p in found:
        if min(p) < 1:
            raise UsageError("0461", f"pattern {p} holds a number below 1")
    for p, q in itertools.pairwise(found):
        if p.cols != q.rows:
            raise UsageError("0462", f"patterns {p} and {q} do not multiply: {p.cols} columns meet {q.rows} rows")
    return found


def dense(factor: Array) -> Array:
    """Expand an array of non-zeros, shape (a, d, b, c), to its matrix, shape (a·b·d, a·c·d)."""
    a, d, b, c = factor.shape
    matrix = np.zeros((a, b, d, a, c, d), factor.dtype)
    i, m = np.ogrid[:a, :d]
    matrix[i, :, m, i, :, m] = factor
    return matrix.reshape(a * b * d, a * c * d)


def gather(matrix: Array, pattern: Pattern) -> Array:
    """Read the elements of a matrix, shape (a·b·d, a·c·d), that lie in a pattern; returns shape (a, d, b, c)."""
    a, b, c, d = pattern
    i, m = np.ogrid[:a, :d]
    blocks: Array = matrix.reshape(a, b, d, a, c, d)[i, :, m, i, :, m]
    return blocks


def product(factors: Iterable[Array]) -> Array:
    """Multiply factors, from left to right, to one dense matrix; each has shape (a, d, b, c)."""
    first, *rest = factors
    matrix = dense(first)
    for factor in rest:
        matrix = apply(factor.swapaxes(2, 3), matrix.T).T  # (M·K)ᵀ = Kᵀ·Mᵀ, and Kᵀ has pattern (a, c, b, d)
    return matrix


def apply(factor: Array, x: Array) -> Array:
    """Multiply a factor, shape (a, d, b, c), with a matrix, shape (a·c·d, n); returns shape (a·b·d, n)."""
    a, d, b, c = factor.shape
    y: Array = factor @ x.reshape(a, c, d, -1).swapaxes(1, 2)
    return y.swapaxes(1, 2).reshape(a * b * d, -1)
