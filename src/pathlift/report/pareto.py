"""Points of a sweep over sparsities, and the Pareto front of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """One pruned network.

    Parameters
    ----------
    criterion
        By which it was pruned; empty for the network as it was.
    sparsity_requested, sparsity
        Of the weights that may go.
    accuracy
        The share of samples of the right class.
    flops
        Of its linear layers, per sample, if zeros cost nothing: 2 for each weight that is none, each time it is used.
    file_bytes, sparse_bytes
        Of its file, with all zeros and with sparse initializers.
    seconds, seconds_quartiles
        Median time of one run, in which zeros cost what other numbers do.
    speedup
        The dense network's time over its own, the median over rounds that both ran in.
    """

    criterion: str
    sparsity_requested: float
    sparsity: float
    accuracy: float
    flops: float
    file_bytes: int
    sparse_bytes: int
    seconds: float
    seconds_quartiles: tuple[float, float]
    speedup: float


def front(points: Sequence[Point]) -> list[bool]:
    """Whether no other point is at least as accurate with fewer operations, or more so with as few."""
    return [
        not any(
            (q.accuracy >= p.accuracy and q.flops < p.flops) or (q.accuracy > p.accuracy and q.flops <= p.flops)
            for q in points
        )
        for p in points
    ]
