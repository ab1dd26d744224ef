"""A Bayesian optimizer: asked for points, told values, and the loop of both over a black box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import inf, isfinite, nan
from typing import Any, Literal

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.search.acquisition import (
    Score,
    confidence_bound,
    expected_improvement,
    exploration,
    maximize,
    probability_below,
)
from pathlift.search.gp import GaussianProcess, Mean, Variance
from pathlift.search.kernels import AverageKernel, Kernel, MaxKernel, base_kernel
from pathlift.search.space import LARGEST, Array, Space
from pathlift.search.trials import Limit, Named, SearchResult, Trial

KERNELS: dict[str, Callable[[Space], Kernel]] = {"max": MaxKernel, "average": AverageKernel, "base": base_kernel}
Acquisition = Literal["ei", "ucb"]


class Optimizer:
    """A minimizer that proposes where to evaluate a function next: `ask`, evaluate, `tell`, and again.

    The first points spread over the space at random; then a Gaussian process is fitted to what was told, and asked
    where a smaller value is to be expected. What is asked depends on the seed and on which evaluations were told, not
    on their order, nor, without `mean`, on which point of an orbit was told. `ask` changes nothing, and `tell` takes
    any point of the space, asked for or not.

    Evaluations may fail, which is told as NaN, an infinity, or a number beyond 1e100. They say nothing of the values
    elsewhere; the acquisition is weighed by the probability that an evaluation succeeds, from a Gaussian process over
    which ones have failed (1) or not (0), as that of being below ½. Until one has succeeded, points are random.

    Parameters
    ----------
    space
        Where to search, and the symmetries of the function.
    kernel
        ``"max"`` and ``"average"`` know the symmetries of the space, ``"base"`` does not; or a `Kernel`, lengths of
        which are fitted.
    acquisition
        Expected improvement (``"ei"``), or an upper confidence bound of minus the function (``"ucb"``), which explores
        more the more was evaluated.
    starts
        How many points are random.
    seed
        Of whatever is random.
    mean
        A model of the function that is known beforehand, as in `GaussianProcess`. It need have no symmetry.
    limit
        A second quantity that must not be too large; the acquisition is weighed by the probability of that.
    variance
        As in `GaussianProcess`.

    Raises
    ------
    UsageError
        PL1538 if one of these is none of its values.
    """

    def __init__(
        self,
        space: Space,
        *,
        kernel: Named | Kernel = "max",
        acquisition: Acquisition = "ei",
        starts: int = 6,
        seed: int = 0,
        mean: Mean | None = None,
        limit: Limit | None = None,
        variance: Variance = "full",
    ) -> None:
        _check("space", space, isinstance(space, Space), "a Space")
        _check("acquisition", acquisition, acquisition in ("ei", "ucb"), "'ei', or 'ucb'")
        _check("variance", variance, variance in ("full", "nystrom"), "'full', or 'nystrom'")
        for name, value, least in (("starts", starts, 1), ("seed", seed, 0)):
            _check(name, value, isinstance(value, int) and value >= least, f"a whole number from {least} on")
        self.space, self.acquisition, self.starts, self.seed, self.variance = space, acquisition, starts, seed, variance
        self.kernel, self.mean, self.limit = _kernel(space, kernel), mean, limit
        spaces = {self.kernel.space}
        if limit is not None:
            _check("limit", limit.most, isinstance(limit.most, int | float) and isfinite(limit.most), "a finite number")
            self._limit_kernel = _kernel(space, limit.kernel)
            spaces.add(self._limit_kernel.space)
        known = mean is not None or (limit is not None and limit.mean is not None)
        # One point per orbit is enough only where nothing in the search can tell points of an orbit apart.
        self._searched = space.without_symmetries() if known or len(spaces) > 1 else self.kernel.space
        self._points: list[Array] = []
        self.trials: list[Trial] = []

    def ask(self) -> tuple[Any, ...]:
        """Return the values of the variables where the function should be evaluated next."""
        searched = self._searched
        rng = np.random.default_rng([self.seed, len(self.trials)])
        seen = searched.canonical(np.array(self._points).reshape(-1, searched.dimension))
        if len(self.trials) < self.starts:
            known = {tuple(point) for point in seen.tolist()}
            for point in searched.sample(self.starts, np.random.default_rng(self.seed)):
                if tuple(searched.canonical(point[None])[0].tolist()) not in known:
                    return searched.decode(point)
        order = np.lexsort((*np.array([[t.y, t.limited] for t in self.trials]).T, *seen.T))
        score, near = self._score(order, rng)
        near = searched.canonical(near) if len(near) else seen[:0]
        return searched.decode(maximize(score, searched, seen=seen, near=near, rng=rng))

    def _score(self, order: Any, rng: np.random.Generator) -> tuple[Score, Array]:
        """Return what is to be largest, and the best points so far; random numbers if no evaluation has succeeded."""
        trials, points = [self.trials[i] for i in order], np.array(self._points)[order]
        failed = np.array([bool(trial.error) for trial in trials])
        if failed.all():
            return (lambda x: rng.random(len(x))), points[:0]
        succeeded = points[~failed]
        values, limited = np.array([[t.y, t.limited] for t in trials if not t.error]).T
        process = self._fit(self.kernel, succeeded, values, self.mean)
        expected, _ = process.predict(succeeded)
        near = succeeded[np.argsort(expected, kind="stable")[:5]]
        conditions, allowed = [], np.ones(len(values), dtype=bool)
        if failed.any():
            conditions.append((self._fit(self.kernel, points, failed.astype(float)), 0.5))
        if self.limit is not None:
            conditions.append((self._fit(self._limit_kernel, succeeded, limited, self.limit.mean), self.limit.most))
            allowed = limited <= self.limit.most
        best = float(expected[allowed].min()) if allowed.any() else inf
        beta = exploration(self.space.dimension, len(points))

        def score(x: Array) -> Array:
            probable = [probability_below(*quantity.predict(x), most) for quantity, most in conditions]
            if best == inf:  # nothing to improve on: first something that is within the limit
                worth = np.ones(len(x))
            elif self.acquisition == "ei":
                worth = expected_improvement(*process.predict(x), best)
            else:
                worth = confidence_bound(*process.predict(x), beta)
                if probable:  # only what is not negative can be weighed
                    worth = np.maximum(worth + values.max(), 0.0)
            return reduce(np.multiply, probable, worth)

        return score, near

    def _fit(self, kernel: Kernel, points: Array, values: Array, mean: Mean | None = None) -> GaussianProcess:
        return GaussianProcess.fit(kernel, points, values, mean=mean, variance=self.variance)

    def tell(self, x: Sequence[Any], y: float, limited: float = nan, *, error: str = "") -> Trial:
        """Take a value into account, and return it as a trial.

        Parameters
        ----------
        x
            The values of the variables.
        y
            The function there. NaN, or an infinity, if it failed.
        limited
            The quantity that is limited.
        error
            Why it failed.

        Raises
        ------
        UsageError
            PL1533 if `x` is no point of the space, PL1537 if `y` or `limited` is no number.
        """
        point = self.space.encode(x)
        numbers = [_number(y), _number(limited)]
        needed = numbers[: 1 if self.limit is None else 2]
        if error or not all(abs(number) <= LARGEST for number in needed):
            said = ", ".join(f"{number:g}" for number in needed)
            trial = Trial(self.space.decode(point), nan, nan, error or f"the function returned {said}")
        else:
            trial = Trial(self.space.decode(point), needed[0], numbers[1])
        self._points.append(point)
        self.trials.append(trial)
        return trial

    @property
    def result(self) -> SearchResult:
        """What was found so far."""
        return SearchResult(tuple(self.trials), inf if self.limit is None else self.limit.most)


def minimize(
    function: Callable[[tuple[Any, ...]], Any],
    space: Space,
    *,
    evaluations: int,
    kernel: Named | Kernel = "max",
    acquisition: Acquisition = "ei",
    starts: int = 6,
    seed: int = 0,
    mean: Mean | None = None,
    limit: Limit | None = None,
    variance: Variance = "full",
    log: Callable[[Trial], object] | None = None,
) -> SearchResult:
    """Minimize a function that is slow to evaluate, over a space of numbers and choices.

    An evaluation that raises an exception, or returns NaN or an infinity, has failed; the search goes on (`Optimizer`).
    Interrupts are not held up: what was evaluated before is in what `log` was given.

    Parameters
    ----------
    function
        From a tuple of values, one per variable, to a number; with `limit`, to two: the second is limited.
    space, kernel, acquisition, starts, seed, mean, limit, variance
        As in `Optimizer`.
    evaluations
        How often to evaluate, in all.
    log
        Is given each trial at once.

    Returns
    -------
    SearchResult
        All trials, and the best.

    Raises
    ------
    UsageError
        PL1537 if the function returns what is no number, PL1538 if an argument is none of its values.

    Examples
    --------
    >>> space = Space((Real(-2, 2), Real(-2, 2)), (Exchangeable((0, 1), signs=True),))
    >>> found = minimize(lambda x: (x[0] ** 2 - 1) ** 2 + (x[1] ** 2 - 1) ** 2, space, evaluations=25)
    >>> found.y < 0.01
    True
    """
    whole = isinstance(evaluations, int) and evaluations > 0
    _check("evaluations", evaluations, whole, "a whole number from 1 on")
    optimizer = Optimizer(
        space, kernel=kernel, acquisition=acquisition, starts=starts, seed=seed, mean=mean, limit=limit,
        variance=variance,
    )  # fmt: skip
    for _ in range(evaluations):
        x = optimizer.ask()
        try:
            value = function(x)
        except Exception as failure:  # whatever a black box raises; interrupts are no Exception
            trial = optimizer.tell(x, nan, error=f"{type(failure).__name__}: {failure}")
        else:
            y, limited = (value, nan) if limit is None else _pair(value)
            trial = optimizer.tell(x, y, limited)
        if log is not None:
            log(trial)
    return optimizer.result


def _kernel(space: Space, kernel: object) -> Kernel:
    if isinstance(kernel, Kernel):
        _check("kernel", kernel, kernel.space.variables == space.variables, "a kernel over the variables of the space")
        return kernel
    _check("kernel", kernel, isinstance(kernel, str) and kernel in KERNELS, f"a Kernel, or one of {', '.join(KERNELS)}")
    return KERNELS[str(kernel)](space)


def _pair(value: Any) -> tuple[Any, Any]:
    """Return what a function of two quantities returned, or a value that is refused as no number."""
    try:
        first, second = value
    except (TypeError, ValueError):
        return value, None
    return first, second


def _number(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond float64
        return inf
    except (TypeError, ValueError):
        raise UsageError(
            "1537", f"the function returned {value!r}, which is no number", hint="with a limit it returns two numbers"
        ) from None


def _check(name: str, value: object, fits: bool, expected: str) -> None:
    if not fits:
        raise UsageError("1538", f"{name} {value!r}: expected {expected}")


__all__ = ["Optimizer", "minimize"]
