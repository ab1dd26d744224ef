"""Hierarchical blockwise SVD: a matrix as a product of chainable Kronecker-sparse factors, with its error."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.kronecker import Pattern, chain, dense, gather, rank_between
from pathlift.ir.types import Array

_U = 2.0**-53
_UNDERFLOW = 2.0**-500
"""More than what underflow can add, where the largest element is about 1."""


class Factorization(NamedTuple):
    """Factors from left to right, and an upper bound on ‖W − K₁⋯K_L‖_F / ‖W‖_F."""

    factors: tuple[Array, ...]
    bound: float


def check_chainable(patterns: Sequence[Pattern]) -> None:
    """Check that neighbours split into disjoint dense blocks of a rank (`pathlift.ir.kronecker.is_chainable`).

    Raises
    ------
    UsageError
        Names the first neighbours that do not, and the condition that they violate.
    """
    for p, q in itertools.pairwise(patterns):
        if rank_between(p, q) is None:
            raise UsageError(
                "0457",
                f"patterns {p} and {q} are not chainable: {_violated(p, q)}",
                hint="choose other patterns, or a solver that takes any: als, adam or muon",
            )


def _violated(p: Pattern, q: Pattern) -> str:
    if q.a % p.a:
        return f"a = {p.a} does not divide a = {q.a}"
    if p.d % q.d:
        return f"d = {q.d} does not divide d = {p.d}"
    return f"their rank a·c/a' = {p.a}·{p.c}/{q.a} is no integer"  # and then b'·d'/d is none, since a·c·d = a'·b'·d'


def product_pattern(patterns: Sequence[Pattern]) -> Pattern:
    """Return the support of a product of chainable factors, which is Kronecker-sparse as well."""
    first, last = patterns[0], patterns[-1]
    return Pattern(first.a, first.b * first.d // last.d, last.a * last.c // first.a, last.d)


def hsvd(weight: Array, patterns: Sequence[Pattern]) -> Factorization:
    """Approximate a matrix by a product of chainable factors, in closed form.

    Factors are split off one by one. The support of K₁·R, where R stands for the product of all others, consists of
    disjoint dense blocks, each of a rank r that the patterns tell; K₁ and R of the best approximation are read off
    the SVD of each block; and R is split in turn. K₁ keeps the orthonormal left vectors.

    One factor is the matrix within its support, and two are the best ones there are. L ≥ 3 factors are within √(L−1) of
    the best (Le, Zheng, Riccietti, Gribonval, arXiv 2411.04506, Theorem 7.4); the order of splitting, from the left or
    from the right, is the one with the smaller bound.

    Parameters
    ----------
    weight
        ``(rows, cols)``, float64, finite, its largest element of moderate size (`fit` scales by a power of two).
    patterns
        Of the factors, from left to right, of these rows and columns.

    Returns
    -------
    Factorization
        Factors ``(a, d, b, c)``, float64; neighbours share the singular values evenly.

    Raises
    ------
    UsageError
        If patterns do not multiply, or neighbours are not chainable.

    Notes
    -----
    *Why the bound holds.* Let B be a block, U the left vectors found for it, and R = UᵀB. Blocks are disjoint, so that
    squares of Frobenius norms add up over them. For whatever X the other factors make of R,

        ‖B − UX‖² = ‖B − UR‖² + 2⟨Uᵀ(B − UR), R − X⟩ + ‖U(R − X)‖²,

    where UᵀU = I makes the middle term 0 and the last one ‖R − X‖². Squared errors thus just add up: elements outside
    the support, and what each split truncates. That is the exact error, in exact arithmetic.

    In floating point, U and R are what was computed, and deviate: ‖UᵀU − I‖ ≤ δ, which is measured, and ‖UᵀB − R‖ ≤
    2γ_b√r‖B‖ with γ_n = nu/(1−nu) (Higham, Accuracy and Stability, section 3.5). Hence

        e² ≤ ε² + 2(2γ_b√r‖B‖ + δ‖R‖)e' + (1 + δ)e'²,

    e' being the error of what follows and ε the measured ‖B − UR‖ plus the rounding errors of measuring it; this is
    evaluated from the last split to the first. Sharing singular values is exact, since it uses powers of two.
    """
    ps = chain(patterns)
    check_chainable(ps)
    from_left = _split(weight, ps, right=False)
    if len(ps) < 3:
        return from_left
    return min(from_left, _split(weight, ps, right=True), key=lambda found: found.bound)


class _Split(NamedTuple):
    """What one split lost: ε, 2γ_b√r‖B‖ + δ‖R‖, and δ."""

    truncation: float
    skew: float
    defect: float


def _split(weight: Array, patterns: Sequence[Pattern], *, right: bool) -> Factorization:
    rest = gather(weight, product_pattern(patterns))
    outside = _norm(weight - dense(rest))
    factors, splits = list[Array](), list[_Split]()
    pairs = list(itertools.pairwise(patterns))
    for p, q in reversed(pairs) if right else pairs:
        basis, rest, split = _split_off(rest, p, q, right=right)
        factors.append(basis)
        splits.append(split)
    factors.append(rest)
    error = 0.0
    for split in reversed(splits):
        square = split.truncation**2 + 2 * split.skew * error + (1 + split.defect) * error**2
        error = math.sqrt(square) * (1 + 8 * _U) + _UNDERFLOW
    total = math.hypot(outside, error)
    whole = _norm(weight) * (1 - 4 * weight.size * _U)
    bound = total / whole * (1 + 8 * _U) if total else 0.0
    return Factorization(_balanced(factors[::-1] if right else factors), bound)


def _split_off(rest: Array, p: Pattern, q: Pattern, *, right: bool) -> tuple[Array, Array, _Split]:
    """Split a product, shape (a, d, b, c), between factors of patterns p and q; the first result has a basis."""
    a, d, b, c = rest.shape
    fine, wide, r = p.d // d, q.a // a, p.a * p.c // q.a
    # Row (i, s, l, m) and column (i, j, t, m): i, m, l and j name a block, which is dense in s and t.
    blocks = rest.reshape(a, d, b // fine, fine, wide, c // wide).transpose(0, 1, 3, 4, 2, 5)
    if right:
        blocks = blocks.mT
    found = np.linalg.svd(blocks, full_matrices=False)[0][..., :r]
    basis = np.zeros((*found.shape[:-1], r))
    basis[..., : found.shape[-1]] = found
    others = basis.mT @ blocks
    split = _measure(blocks, basis, others, found.shape[-1])
    first, last = (others.mT, basis.mT) if right else (basis, others)
    first = first.transpose(0, 2, 1, 4, 3, 5).reshape(a, p.d, b // fine, wide * r)
    last = last.transpose(0, 3, 1, 4, 2, 5).reshape(q.a, d, r * fine, c // wide)
    return (last, first, split) if right else (first, last, split)


def _measure(blocks: Array, basis: Array, others: Array, rank: int) -> _Split:
    b, r = basis.shape[-2:]
    size, part = _norm(blocks), _norm(others)
    identity = np.diag((np.arange(r) < rank).astype(float))
    defect = float(np.linalg.norm(basis.mT @ basis - identity, axis=(-2, -1)).max(initial=0.0))
    defect = defect * (1 + r * r * _U) + 2 * r * _gamma(b)
    root = 2 * math.sqrt(r)
    truncation = _norm(blocks - basis @ others) + _gamma(r + 1) * (size + root * part)
    return _Split(truncation, _gamma(b) * root * size + defect * part, defect)


def _norm(matrix: Array) -> float:
    """The Frobenius norm, not less than it is."""
    return float(np.linalg.norm(matrix.reshape(-1))) * (1 + matrix.size * _U)


def _gamma(n: int) -> float:
    return n * _U / (1 - n * _U)


def _balanced(factors: Sequence[Array]) -> tuple[Array, ...]:
    """Scale what meets between neighbours, column and row, to about equal norms, by powers of two."""
    found = list(factors)
    for _ in range(2):
        for k in range(len(found) - 1):
            left, right = found[k : k + 2]
            (a, d, _b, c), (a2, d2, b2, _c) = left.shape, right.shape
            columns = np.linalg.norm(left, axis=2).transpose(0, 2, 1).reshape(-1)
            rows = np.linalg.norm(right, axis=3).transpose(0, 2, 1).reshape(-1)
            alive = (columns > 0) & (rows > 0)
            ratio = np.where(alive, rows, 1.0) / np.where(alive, columns, 1.0)
            gain = np.where(alive, 2.0 ** np.round(np.log2(ratio) / 2), 0.0)
            inverse = np.where(alive, 1 / np.where(alive, gain, 1.0), 0.0)
            found[k] = left * gain.reshape(a, c, d).transpose(0, 2, 1)[:, :, None, :]
            found[k + 1] = right * inverse.reshape(a2, b2, d2).transpose(0, 2, 1)[..., None]
    return tuple(found)
