"""Acquisition functions, and where in a space they are largest.

Sources: Jones, Schonlau, Welch, "Efficient Global Optimization of Expensive Black-Box Functions" (1998), for the
expected improvement; Srinivas et al. (arXiv 0912.3995) for confidence bounds; Gelbart, Snoek, Adams (arXiv 1403.5607)
for limits.
"""

from __future__ import annotations

from collections.abc import Callable
from math import erfc, pi, sqrt

import numpy as np

from pathlift.search.space import Array, Space

ENUMERATED = 65_536
"""Points of the largest space all of whose points are looked at."""
_DRAWN, _STARTS, _MOVES = 512, 10, 20
"""Points drawn in larger spaces, how many of the best are followed, and moves from each in a round."""
_WIDTHS = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
"""Widths of the moves, round after round, over the intervals of the variables."""

_FAR = 40.0
"""Deviations beyond which a probability is 0 in float64."""
Score = Callable[[Array], Array]


def expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Return E[max(0, best - f)] where f is Gaussian: by how much a minimum is expected to fall below `best`.

    Parameters
    ----------
    mean, deviation
        Of the function at each point, shape ``(n,)``.
    best
        The least value so far.

    Returns
    -------
    Array
        Shape ``(n,)``; where the deviation is 0, max(0, best - mean).
    """
    gain = best - mean
    z = np.clip(np.divide(gain, deviation, out=np.zeros_like(gain), where=deviation > 0), -_FAR, _FAR)
    density = np.exp(-(z**2) / 2) / sqrt(2 * pi)
    improved = np.maximum(gain * normal_cdf(z) + deviation * density, 0.0)
    return np.where(deviation > 0, improved, np.maximum(gain, 0.0))


def confidence_bound(mean: Array, deviation: Array, beta: float) -> Array:
    """Return ``√beta * deviation - mean``: minus the lower confidence bound of a function to be minimized.

    Parameters
    ----------
    mean, deviation
        Of the function at each point, shape ``(n,)``.
    beta
        How much it explores.
    """
    return sqrt(beta) * deviation - mean


def exploration(dimension: int, evaluations: int) -> float:
    """Return the `beta` of arXiv 2509.25051's public code after some evaluations: ½ d log(2n)."""
    return 0.5 * dimension * float(np.log(2 * max(evaluations, 1)))


def probability_below(mean: Array, deviation: Array, limit: float) -> Array:
    """Return how probable it is that a Gaussian quantity is at most `limit`, shape ``(n,)``."""
    gain = limit - mean
    z = np.clip(np.divide(gain, deviation, out=np.zeros_like(gain), where=deviation > 0), -_FAR, _FAR)
    return np.where(deviation > 0, normal_cdf(z), (gain >= 0).astype(float))


def normal_cdf(z: Array) -> Array:
    """Return Φ(z), to full relative precision where it is small, too."""
    return np.array([erfc(-value / sqrt(2)) / 2 for value in z.tolist()])


def maximize(score: Score, space: Space, *, seen: Array, near: Array, rng: np.random.Generator) -> Array:
    """Return the point of a space where `score` is largest, as far as is seen.

    All points of a finite space of up to 65,536 are looked at, one per orbit of its symmetries. In larger ones, points
    are drawn, and the best of them and of `near` are followed by random moves, smaller ones round by round.

    Parameters
    ----------
    score
        From points, shape ``(n, variables)``, to one number each.
    space
        Where to look.
    seen
        Points not to return again, canonical, shape ``(m, variables)``, unless there is no other.
    near
        Points to start from, too.
    rng
        What draws; not used where all points are looked at.
    """
    if space.size <= ENUMERATED:
        points = space.representatives
        fresh = _unseen(points, seen)
        points = fresh if len(fresh) else points
        return np.array(points[np.argmax(score(points))])
    points = _unseen(space.canonical(np.concatenate([space.sample(_DRAWN, rng), near])), seen)
    scores = score(points)
    for width in _WIDTHS:
        best = np.argsort(-scores, kind="stable")[:_STARTS]
        moved = space.canonical(space.neighbours(np.repeat(points[best], _MOVES, axis=0), width, rng))
        moved = _unseen(moved, seen)
        points, scores = points[best], scores[best]
        if len(moved):
            points, scores = np.concatenate([points, moved]), np.concatenate([scores, score(moved)])
    return np.array(points[np.argmax(scores)])


def _unseen(points: Array, seen: Array) -> Array:
    known = {tuple(point) for point in seen.tolist()}
    return points[[tuple(point) not in known for point in points.tolist()]] if known else points


__all__ = ["confidence_bound", "expected_improvement", "exploration", "maximize", "probability_below"]
