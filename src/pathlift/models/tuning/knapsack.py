"""Multiple-choice knapsacks: one option per layer, so that costs add up to little and squared errors stay in a limit.

The least cost of the layers from l on, for every rounded budget that is left, is a table; it says exactly what the best
way to go on is worth, so that a search that always expands what may still become cheapest returns choices in order.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from math import inf

import numpy as np

from pathlift.ir.types import Array

Choice = tuple[int, ...]
"""The number of the option of each layer."""
LEVELS = 4000
_BITS = 40


def ranked(costs: Sequence[Array], squares: Sequence[Array], limit: float, *, levels: int = LEVELS) -> Iterator[Choice]:
    """Yield choices within a limit, the cheapest first.

    Parameters
    ----------
    costs
        Per layer, of each option, ``(options,)``; an infinite one is never chosen. They are rounded to 1e-12 of the
        largest: sums are exact then in whatever order, and equal ones are seen to be equal.
    squares
        Per layer, the squared error of each option, ``(options,)``, not negative.
    limit
        The most that the root of their sum may be; infinity for no limit.
    levels
        That limit² is divided into. Squares are rounded up to whole levels, so that no choice breaks the limit; one is
        missed only if it is within layers/levels of limit².

    Yields
    ------
    tuple
        Numbers of options, each choice once. Of equal costs, those of smaller numbers first.

    Notes
    -----
    Multiple-choice knapsack by dynamic programming over budgets: Kellerer, Pferschy, Pisinger, *Knapsack Problems*
    (2004), section 11.5; the enumeration is Lawler's (1972), with exact values of what is left.
    """
    costs, weights = _exact(costs), [_weights(s, limit, levels) for s in squares]
    rest = _least(costs, weights, levels)
    heap: list[tuple[float, Choice, float, int]] = []

    def push(choice: Choice, spent: float, left: int) -> None:
        value = spent + rest[len(choice)][left]
        if value < inf:
            heapq.heappush(heap, (value, choice, spent, left))

    push((), 0.0, levels)
    while heap:
        _, choice, spent, left = heapq.heappop(heap)
        layer = len(choice)
        if layer == len(costs):
            yield choice
            continue
        for option, (cost, weight) in enumerate(zip(costs[layer], weights[layer], strict=True)):
            if weight <= left:
                push((*choice, option), spent + float(cost), left - int(weight))


def _exact(costs: Sequence[Array]) -> list[Array]:
    """Costs as multiples of a power of two, whose sums have no rounding."""
    largest = max((float(np.abs(c[np.isfinite(c)]).max(initial=0.0)) for c in costs), default=0.0)
    unit = 2.0 ** (np.frexp(largest)[1] - _BITS)
    return [np.round(np.asarray(c, np.float64) / unit) * unit for c in costs]


def _weights(squares: Array, limit: float, levels: int) -> Array:
    """Levels that squared errors take, rounded up; those above the limit take more than there are."""
    if limit == inf:
        return np.where(np.isfinite(squares), 0, levels + 1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        shares = np.where(squares == 0, 0.0, np.ceil(squares / limit**2 * levels))
    return np.where(shares <= levels, shares, levels + 1).astype(np.int64)


def _least(costs: Sequence[Array], weights: Sequence[Array], levels: int) -> list[Array]:
    """The least cost of the layers from each one on, ``(levels + 1,)`` by what is left; ∞ where nothing fits."""
    found = [np.zeros(levels + 1)]
    for cost, weight in zip(reversed(costs), reversed(weights), strict=True):
        after, best = found[-1], np.full(levels + 1, inf)
        for c, w in zip(cost, weight, strict=True):
            if w <= levels:
                np.minimum(best[w:], c + after[: levels + 1 - w], out=best[w:])
        found.append(best)
    return found[::-1]
