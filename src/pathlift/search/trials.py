"""Evaluations of a search, the best of them, and the limit that they are held to."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan
from typing import Any, Literal

from pathlift.ir.errors import UsageError
from pathlift.search.gp import Mean
from pathlift.search.kernels import Kernel

Named = Literal["max", "average", "base"]
"""Kernels that have a name."""


@dataclass(frozen=True)
class Limit:
    """A second quantity that must not be too large, with a Gaussian process of its own.

    Parameters
    ----------
    most
        The largest value that is allowed.
    kernel
        As in `Optimizer`; it may have other symmetries than the function's.
    mean
        A model of the quantity that is known beforehand, as in `GaussianProcess`.
    """

    most: float
    kernel: Named | Kernel = "max"
    mean: Mean | None = None


@dataclass(frozen=True)
class Trial:
    """One evaluation.

    Attributes
    ----------
    x : tuple
        The values of the variables.
    y : float
        What the function returned; NaN if it failed.
    limited : float
        The quantity that is limited; NaN where nothing is, and if the function failed.
    error : str
        Why it failed; empty if it did not.
    """

    x: tuple[Any, ...]
    y: float
    limited: float = nan
    error: str = ""


@dataclass(frozen=True)
class SearchResult:
    """All evaluations of a search, in their order.

    Parameters
    ----------
    trials
        One per evaluation.
    most
        What the limited quantity may be at most.
    """

    trials: tuple[Trial, ...]
    most: float = inf

    @property
    def best(self) -> Trial:
        """The trial of the least value within the limit; of equal ones the first.

        Raises
        ------
        UsageError
            PL1539 if there is none.
        """
        found = [trial for trial in self.trials if not trial.error and not trial.limited > self.most]
        if not found:
            failed = sum(bool(trial.error) for trial in self.trials)
            last = next((f", the last of them: {t.error}" for t in reversed(self.trials) if t.error), "")
            raise UsageError(
                "1539", f"none of {len(self.trials)} evaluations gave a value that is allowed; {failed} failed{last}"
            )
        return min(found, key=lambda trial: trial.y)

    @property
    def x(self) -> tuple[Any, ...]:
        """The values of the variables in the best trial."""
        return self.best.x

    @property
    def y(self) -> float:
        """The value of the best trial."""
        return self.best.y


__all__ = ["Limit", "Named", "SearchResult", "Trial"]
