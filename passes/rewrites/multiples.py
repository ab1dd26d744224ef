"""Rows of a matrix that are positive multiples of one another, found without comparing all pairs."""

from __future__ import annotations

import numpy as np

from pathlift.ir.types import Array


def positive_multiples(rows: Array, tolerance: float) -> dict[int, tuple[int, float]]:
    """Find the rows that are positive multiples of an earlier one.

    Parameters
    ----------
    rows
        A matrix of finite numbers, float64.
    tolerance
        How far each element may be from the multiple's, relative to itself.

    Returns
    -------
    dict
        For each such row, the earlier one and the factor. No row is both; a row of zeros is neither.
    """
    found: dict[int, tuple[int, float]] = {}
    if not rows.size:
        return found
    with np.errstate(all="ignore"):  # what overflows has no multiples
        sizes, pivots = np.abs(rows).sum(1), np.abs(rows).argmax(1)
        # Multiples agree in this quotient of sums, up to the tolerance and to rounding; few other rows do.
        signature = rows @ np.random.default_rng(0).choice([-1.0, 1.0], rows.shape[1]) / sizes
        order, slack = np.argsort(signature, kind="stable"), 4 * tolerance + 1e-12
        low = np.searchsorted(signature[order], signature - slack)
        high = np.searchsorted(signature[order], signature + slack, side="right")
        free = sizes > 0
        for j in map(int, np.flatnonzero(free)):
            near = order[low[j] : high[j]]
            near = np.sort(near[free[near] & (near < j)])
            near, factors = _matches(rows, near, rows[j, pivots[near]] / rows[near, pivots[near]], j, tolerance)
            if near.size:
                found[j], free[j] = (int(near[0]), float(factors[0])), False
    return found


def _matches(rows: Array, near: Array, factors: Array, j: int, tolerance: float) -> tuple[Array, Array]:
    """Return the rows that row `j` is a multiple of, among these, and the factors."""
    near, factors = near[factors > 0], factors[factors > 0]
    start, width = 0, 16
    while near.size and start < rows.shape[1]:  # most rows fail at the first few elements
        columns = slice(start, start + width)
        row = rows[j, columns]
        close = (np.abs(row - factors[:, None] * rows[near, columns]) <= tolerance * np.abs(row)).all(1)
        near, factors, start, width = near[close], factors[close], start + width, 8 * width
    return near, factors
