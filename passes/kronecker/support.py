"""The smallest Kronecker-sparse support that holds all non-zeros of a matrix, as it is or up to permutations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

import numpy as np

from pathlift.ir.kronecker import Pattern
from pathlift.ir.types import Array

_AT_ONCE = 2**22
"""Elements whose positions are listed at a time."""


def smallest_pattern(mask: Array) -> Pattern:
    """Return the pattern with the fewest non-zeros whose support holds all those of a matrix.

    Row r and column c meet in the support of (a, b, c, d) where they have the same remainder modulo d, and lie in the
    same of a equal parts of all rows and all columns. So d must divide every difference r − c, and a is checked by the
    first and the last column of every row: no pattern is left out. Of equally small ones, that with the fewest
    interleaved features (the least d) is taken.

    Parameters
    ----------
    mask
        Which elements are not zero, shape (rows, cols), bool; both extents are at least 1.

    Returns
    -------
    Pattern
        (1, rows, cols, 1) where nothing smaller will do; (gcd, …, …, 1) if all elements are zero.
    """
    rows, cols = mask.shape
    if 2 * np.count_nonzero(mask) > mask.size:  # a pattern that is not full holds half of all elements at most
        return Pattern(1, rows, cols, 1)
    common = gcd(rows, cols)
    shift = _common_shift(mask, common)
    used = np.flatnonzero(mask.any(1))
    ends = mask[used].argmax(1), cols - 1 - mask[used, ::-1].argmax(1)
    parts = [a for a in divisors(common) if all((used * a // rows == end * a // cols).all() for end in ends)]
    fitting = [(a, d) for a in parts for d in divisors(shift) if common % (a * d) == 0]
    a, d = max(fitting, key=lambda p: (p[0] * p[1], p[0]))
    return Pattern(a, rows // (a * d), cols // (a * d), d)


def _common_shift(mask: Array, known: int) -> int:
    """The greatest common divisor of a number and all differences r − c of non-zeros."""
    rows, cols = mask.shape
    step = 1 + _AT_ONCE // cols
    for start in range(0, rows, step):
        row, col = np.nonzero(mask[start : start + step])
        shifts = np.flatnonzero(np.bincount(start + row - col + cols))
        known = gcd(known, *(shifts - cols).tolist())
        if known == 1:
            break
    return known


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks on the diagonal of a matrix whose rows and columns are in another order.

    Parameters
    ----------
    pattern
        (blocks, rows/blocks, cols/blocks, 1).
    rows, cols
        Which row, and which column, of the matrix comes at each place; shapes (rows,) and (cols,), int64.
    """

    pattern: Pattern
    rows: Array
    cols: Array


def diagonal_blocks(mask: Array) -> Blocks | None:
    """Find permutations of rows and columns that make a matrix block-diagonal, with as many equal blocks as possible.

    A block holds connected components of the graph in which a non-zero joins its row to its column, and zero rows and
    columns fill it up. Components of one size pack whenever they can; of several, first-fit decreasing may miss a
    packing.

    Parameters
    ----------
    mask
        Which elements are not zero, shape (rows, cols), bool; both extents are at least 1.

    Returns
    -------
    Blocks or None
        ``None`` if it stays one block.
    """
    rows, cols = mask.shape
    if 2 * np.count_nonzero(mask) > mask.size:
        return None
    components = sorted(_components(mask), key=lambda c: -len(c[0]) * len(c[1]))
    for count in reversed(divisors(gcd(rows, cols))):
        height, width = rows // count, cols // count
        bins = _packed(components, count, height, width) if count > 1 else None
        if bins is not None:
            row_order, col_order = (_filled([b[i] for b in bins], n) for i, n in enumerate(mask.shape))
            return Blocks(Pattern(count, height, width, 1), row_order, col_order)
    return None


def divisors(number: int) -> list[int]:
    """Return the divisors of a number, at least 1, in ascending order."""
    small = [i for i in range(1, int(number**0.5) + 1) if number % i == 0]
    return sorted({*small, *(number // i for i in small)})


def _components(mask: Array) -> Iterator[tuple[Array, Array]]:
    """Yield rows and columns of each connected component; every row and column is looked at once."""
    by_column = np.ascontiguousarray(mask.T)
    fresh_rows: Array = np.logical_or.reduce(mask, 1)
    fresh_cols: Array = np.logical_or.reduce(mask, 0)
    while fresh_rows.any():
        seed = np.array([fresh_rows.argmax()])
        found: tuple[list[Array], list[Array]] = ([seed], [])
        fresh_rows[seed] = False
        frontier = seed
        while len(frontier):
            reached = np.flatnonzero(mask[frontier].any(0) & fresh_cols)
            fresh_cols[reached] = False
            frontier = np.flatnonzero(by_column[reached].any(0) & fresh_rows)
            fresh_rows[frontier] = False
            found[0].append(frontier)
            found[1].append(reached)
        yield np.concatenate(found[0]), np.concatenate(found[1])


Component = tuple[list[Array], list[Array]]


def _packed(components: list[tuple[Array, Array]], count: int, height: int, width: int) -> list[Component] | None:
    """Pack components, the largest first, each into the first block that has room; ``None`` if one has none."""
    room = np.tile([height, width], (count, 1))
    bins: list[Component] = [([], []) for _ in range(count)]
    for rows, cols in components:
        fits = np.flatnonzero((room >= [len(rows), len(cols)]).all(1))
        if not len(fits):
            return None
        room[fits[0]] -= [len(rows), len(cols)]
        bins[fits[0]][0].append(rows)
        bins[fits[0]][1].append(cols)
    return bins


def _filled(bins: list[list[Array]], size: int) -> Array:
    """The members of each block in ascending order, after what belongs to none has filled them up to equal numbers."""
    members = [np.concatenate(b) if b else np.zeros(0, np.int64) for b in bins]
    rest = np.setdiff1d(np.arange(size), np.concatenate(members))
    each = size // len(bins)
    ends = np.cumsum([each - len(m) for m in members])
    filled = zip(members, np.split(rest, ends[:-1]), strict=True)
    return np.concatenate([np.sort(np.concatenate(pair)) for pair in filled])
