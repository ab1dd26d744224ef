"""A bootstrap over samples that is paired: one draw of members and of others serves all scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pathlift.ir.types import Array

_ELEMENTS = 2**20
Pair = tuple[Array, Array]
"""Scores of members and of others."""


def auc_draws(
    scores: Sequence[Pair], draws: int, seed: int, progress: Callable[[int, int], object] | None = None
) -> Array:
    """Return the AUC of each score in each draw, ``(scores, draws)``.

    Members and others are drawn apart, with replacement, as many as there are. A draw is a vector of weights, and an
    AUC Σ_i w_i·(W(below i) + W(not above i))/2 over members i, with W the sum of weights of the others: ranks are found
    once, and drawing needs no sort.

    Parameters
    ----------
    scores
        All of the same samples, in the same order.
    draws, seed
        How many, and of what generator.
    progress
        Called with how many draws are done, and how many there are.
    """
    rng = np.random.default_rng(seed)
    members, others = map(len, scores[0])
    plans = [_plan(*pair) for pair in scores]
    found = np.empty((len(scores), draws))
    step = max(1, min(64, _ELEMENTS // (members + others)))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        mine, theirs = _weights(rng, members, size), _weights(rng, others, size)
        for i, (order, low, high) in enumerate(plans):
            below = np.zeros((others + 1, size))
            np.cumsum(theirs[order], axis=0, out=below[1:])
            total = np.einsum("ij,ij->j", mine, below[low])
            total += total if low is high else np.einsum("ij,ij->j", mine, below[high])
            found[i, start : start + size] = total / (2.0 * members * others)
        if progress is not None:
            progress(start + size, draws)
    return found


def _plan(members: Array, others: Array) -> tuple[Array, Array, Array]:
    """The order of the others, and of each member the number of them below it, and not above it."""
    order = np.argsort(others, kind="stable")
    low = np.searchsorted(others[order], members, "left")
    high = np.searchsorted(others[order], members, "right")
    return order, low, low if np.array_equal(low, high) else high


def _weights(rng: np.random.Generator, count: int, size: int) -> Array:
    """How often each sample is drawn, ``(count, size)``."""
    drawn = rng.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
    return np.ascontiguousarray(counts.T.astype(np.float64))


def interval(draws: Array, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of draws."""
    low, high = np.quantile(draws, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)
