"""Bayesian optimization of what the additive model leaves: interactions of layers, if there are some."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite, log

import numpy as np

from pathlift.models.tuning.additive import Additive
from pathlift.models.tuning.knapsack import Choice
from pathlift.models.tuning.strategies import Exact, Random, Trial, best_first
from pathlift.search.acquisition import expected_improvement, probability_below
from pathlift.search.gp import GaussianProcess
from pathlift.search.kernels import MaxKernel
from pathlift.search.space import Array, Space
from pathlift.search.space import Choice as Variable
from pathlift.search.symmetry import Exchangeable

_LEAST = 3
"""Trials that a process is fitted to at least."""
_BEYOND = 1.3
"""Times the limit: the additive model may overestimate an error."""
_LOOKED_AT, _DRAWN = 1000, 200


@dataclass(frozen=True)
class Bayes:
    """The choices of the largest expected improvement, times the probability to be within the limit.

    Two Gaussian processes model what measurements differ from the additive model by: one the ratio, alike for layers of
    one signature in any order (the max kernel of exchangeable choices), one the logarithm of the error, per layer.

    Parameters
    ----------
    noise
        What ratios of repeated measurements differ by: a search ends where less than a tenth of it is expected.
    seed
        Of choices that are looked at besides the best ones.

    Notes
    -----
    Kernel: arXiv 2509.25051; expected improvement with limits: arXiv 1403.5607.
    """

    noise: float = 0.0
    seed: int = 0
    name: str = "bayes"

    def propose(self, model: Additive, history: Sequence[Trial], limit: float, count: int) -> list[Choice]:
        """Return the best ones; those of the additive model while there are fewer than three trials."""
        timed = [t for t in history if isfinite(t.ratio)]
        sized = [t for t in history if 0 < t.error < inf and 0 < model.error(t.choice) < inf]
        if min(len(timed), len(sized)) < _LEAST:
            return Exact(self.noise).propose(model, history, limit, count)
        known = {t.choice for t in history}
        pool = [c for c in self._pool(model, history, limit) if c not in known and any(c)]
        if not pool:
            return []
        space = self._space(model)
        points = np.array(pool, dtype=float)
        ratio = GaussianProcess.fit(
            MaxKernel(space), *_data(timed, [t.ratio for t in timed]), mean=lambda x: _each(x, model.ratio)
        )
        error = GaussianProcess.fit(
            MaxKernel(space.without_symmetries()), *_data(sized, [log(t.error) for t in sized]),
            mean=lambda x: np.log(_each(x, model.error)),
        )  # fmt: skip
        best = min([1.0, *(t.ratio for t in timed if t.within)])
        score = expected_improvement(*ratio.predict(points), best)
        if limit < inf:
            score = score * probability_below(*error.predict(points), log(limit))
        order = np.argsort(-score, kind="stable")[:count]
        return [pool[i] for i in order if score[i] > 0.1 * self.noise]

    def _pool(self, model: Additive, history: Sequence[Trial], limit: float) -> list[Choice]:
        first = itertools.islice(best_first(model, _BEYOND * limit), _LOOKED_AT)
        drawn = Random(self.seed).propose(model, history, _BEYOND * limit, _DRAWN)
        return [c for c in dict.fromkeys([*first, *drawn]) if 0 < model.error(c) < inf]

    @staticmethod
    def _space(model: Additive) -> Space:
        groups: dict[int, list[int]] = {}
        for layer, group in enumerate(model.groups):
            groups.setdefault(group, []).append(layer)
        alike = tuple(Exchangeable(tuple(members)) for members in groups.values() if len(members) > 1)
        return Space(tuple(Variable(tuple(range(len(c)))) for c in model.costs), alike)


def _data(trials: Sequence[Trial], values: Sequence[float]) -> tuple[Array, Array]:
    return np.array([t.choice for t in trials], dtype=float), np.array(values)


def _each(points: Array, function: Callable[[Choice], float]) -> Array:
    return np.array([function(tuple(map(int, x))) for x in points])
