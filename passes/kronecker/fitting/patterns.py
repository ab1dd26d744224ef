"""Kronecker-sparse patterns that a matrix of a given size may be approximated with."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

from pathlift.ir.errors import UsageError
from pathlift.ir.kronecker import Pattern

_LEVELS = 8
"""Costs that candidates are spread over, each √½ of the one before."""
_LARGEST = 64
"""Of a and d: blocks of larger matrices need no more of them, and tiny blocks are slow."""


class Candidate(NamedTuple):
    """Chainable patterns from left to right, and their multiplications over those of the dense matrix."""

    patterns: tuple[Pattern, ...]
    cost: float


def candidates(rows: int, cols: int, budget_flops: float = 0.5, *, most: int = 32) -> list[Candidate]:
    """List products of Kronecker-sparse factors to choose from for a matrix.

    One factor keeps a part of the matrix. Two and three factors reach every element, and are low-rank products, Monarch
    (arXiv 2204.00595) and butterflies with large blocks, in which no factor is more than four times as large as
    another. Among those of about the same cost, the ones remain whose blocks suit hardware best: b and c all multiples
    of 16, or else of 8, or else at least 8.

    Parameters
    ----------
    rows, cols
        Of the matrix, ``(out, in)``.
    budget_flops
        The largest cost: multiplications over rows·cols. Nothing is listed that costs as much as the dense matrix.
    most
        How many to list.

    Returns
    -------
    list of Candidate
        From the cheapest to the dearest, at most ``most``, spread over costs from the budget to a sixteenth of it or
        less, and over numbers of blocks. Empty where the sizes admit none, such as prime ones at a small budget.

    Raises
    ------
    UsageError
        If a number is not positive.
    """
    if min(rows, cols, most) < 1 or not budget_flops > 0:
        raise UsageError(
            "0476", f"{most} patterns for {rows}×{cols} at {budget_flops:g} of its cost: all must be positive"
        )
    levels = [budget_flops * 2 ** (-i / 2) for i in range(_LEVELS)]
    found: dict[tuple[Pattern, ...], Candidate] = {}
    for patterns in itertools.chain(_one(rows, cols), _two(rows, cols, levels), _three(rows, cols, levels)):
        cost = sum(p.size for p in patterns) / (rows * cols)
        if cost <= budget_flops and cost < 1:
            found[patterns] = Candidate(patterns, cost)
    bins: dict[int, list[Candidate]] = {}
    for candidate in found.values():
        level = min(_LEVELS - 1, math.floor(2 * math.log2(budget_flops / candidate.cost) + 1e-9))
        bins.setdefault(level, []).append(candidate)
    chosen = list[Candidate]()
    for i, level in enumerate(sorted(bins)):
        chosen += _spread(bins[level], math.ceil((most - len(chosen)) / (len(bins) - i)))
    return sorted(chosen, key=lambda c: (c.cost, c.patterns))


def _spread(pool: list[Candidate], number: int) -> list[Candidate]:
    """Choose from those of the best blocks, in turn from each kind, and evenly over its numbers of blocks."""
    best = min(_tier(c.patterns) for c in pool)
    kinds: dict[int, list[Candidate]] = {2: [], 1: [], 3: [], 0: []}
    for c in pool:
        if _tier(c.patterns) == best:
            is_low_rank = all(p.a == p.d == 1 for p in c.patterns)
            kinds[0 if is_low_rank else len(c.patterns)].append(c)
    counts = dict.fromkeys(kinds, 0)
    for _, kind in itertools.product(range(number), kinds):
        if counts[kind] < len(kinds[kind]) and sum(counts.values()) < number:
            counts[kind] += 1
    return [c for kind in kinds for c in _evenly(kinds[kind], counts[kind])]


def _evenly(pool: list[Candidate], number: int) -> list[Candidate]:
    pool = sorted(pool, key=lambda c: (math.prod(p.a * p.d for p in c.patterns), c.patterns))
    return [pool[(2 * i + 1) * len(pool) // (2 * number)] for i in range(number)]


def _tier(patterns: tuple[Pattern, ...]) -> int:
    extents = [n for p in patterns for n in (p.b, p.c)]
    for tier, step in enumerate((16, 8)):
        if all(n % step == 0 for n in extents):
            return tier
    return 2 if min(extents) >= 8 else 3


def _one(rows: int, cols: int) -> Iterator[tuple[Pattern, ...]]:
    for n in _divisors(math.gcd(rows, cols)):
        for a, d in {(n, 1), (1, n)}:
            yield (Pattern(a, rows // n, cols // n, d),)


def _two(rows: int, cols: int, levels: list[float]) -> Iterator[tuple[Pattern, ...]]:
    """(1, rows/d, a·r, d)·(a, d·r, cols/a, 1): every block of rows/d × cols/a elements is of rank r."""
    for a, d in itertools.product(_divisors(cols), _divisors(rows)):
        for r in _ranks(a / cols + d / rows, math.gcd(a, d), levels):
            if r < min(rows // d, cols // a):
                yield from _even(Pattern(1, rows // d, a * r, d), Pattern(a, d * r, cols // a, 1))


def _three(rows: int, cols: int, levels: list[float]) -> Iterator[tuple[Pattern, ...]]:
    """(1, rows/d, a'·r, d)·(a', r·d/d', r·a/a', d')·(a, d'·r, cols/a, 1), with a' | a and d' | d."""
    left = [(d, e) for d in _divisors(rows) for e in _divisors(d) if 1 < e < d]
    right = [(a, e) for a in _divisors(cols) for e in _divisors(a) if 1 < e < a]
    for (d, d2), (a, a2) in itertools.product(left, right):
        # The cost is r·(a'/cols + d'/rows) and a term in r², which the least r in question tells apart.
        for r in _ranks(a2 / cols + d2 / rows, math.gcd(a2, d2, d // d2, a // a2), levels):
            if r < min(rows // d, cols // a):
                middle = Pattern(a2, r * d // d2, r * a // a2, d2)
                yield from _even(Pattern(1, rows // d, a2 * r, d), middle, Pattern(a, d2 * r, cols // a, 1))


def _ranks(unit: float, common: int, levels: list[float]) -> set[int]:
    """The largest ranks within each cost, also of those whose products with ``common`` are multiples of 16 or 8."""
    found = set[int]()
    for level in levels:
        largest = math.floor(level / unit * (1 + 1e-9))
        steps = [16 // math.gcd(16, common), 8 // math.gcd(8, common), 1]
        found |= {largest // step * step for step in steps}
    return found - {0}


def _even(*patterns: Pattern) -> Iterator[tuple[Pattern, ...]]:
    sizes = [p.size for p in patterns]
    if max(sizes) <= 4 * min(sizes):
        yield patterns


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, min(n, _LARGEST) + 1) if n % d == 0]
