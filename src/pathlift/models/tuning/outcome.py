"""Aims and outcomes of a tuning: what it looks for, and what it has found."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pathlift.models.tuning.additive import Additive
from pathlift.models.tuning.knapsack import Choice
from pathlift.models.tuning.trials import Cost, Noise, Quality


@dataclass(frozen=True)
class Aim:
    """What is looked for.

    Parameters
    ----------
    objective
        latency, bytes or flops.
    limit
        The most that the outputs may be off.
    max_drop
        The most that the accuracy may fall; ``None`` for any.
    budget
        Seconds, from the first measurement on.
    verify
        How many choices are verified in a round.
    seed
        Of all that is random.
    """

    objective: str
    limit: float
    max_drop: float | None
    budget: float
    verify: int
    seed: int


@dataclass(frozen=True)
class Verified:
    """A choice, what was predicted of it, and what was found.

    Parameters
    ----------
    choice
        Options of layers.
    predicted_ratio, predicted_error
        By the additive model before this choice was looked at.
    cost
        Measured; ``None`` where it was not, since the choice is not within the limit.
    quality
        Measured.
    within
        Whether it is within the limit.
    """

    choice: Choice
    predicted_ratio: float
    predicted_error: float
    cost: Cost | None
    quality: Quality
    within: bool


@dataclass(eq=False)
class Outcome:
    """What a tuning found.

    Parameters
    ----------
    model
        Refitted to all that was verified.
    verified
        In the order in which they were.
    finalists
        The best of these and the baselines that are within the limit, as they were in a last race.
    best
        The best of the finalists; ``None`` if none is within the limit.
    baselines
        Choices by name: the best uniform one, the best of as many random ones, and the one that `ks fit` makes.
    predicted
        Ratio and error of the choices that the model takes for the best, for several limits.
    noise
        Root mean square over races.
    dense, accuracy
        The dense file in the last race, and its accuracy.
    method
        Which strategies were used.
    in_time
        Whether the time did not end before a choice was verified.
    """

    model: Additive
    verified: dict[Choice, Verified] = field(default_factory=dict)
    finalists: dict[Choice, Verified] = field(default_factory=dict)
    best: Verified | None = None
    baselines: dict[str, Choice] = field(default_factory=dict)
    predicted: list[tuple[float, float]] = field(default_factory=list)
    noise: float = 0.0
    dense: Noise | None = None
    accuracy: float | None = None
    method: str = ""
    in_time: bool = True

    @property
    def rms(self) -> float | None:
        """Root mean square difference of measured and predicted ratios; ``None`` if none was measured."""
        rest = [v.cost.ratio - v.predicted_ratio for v in self.verified.values() if v.cost is not None]
        return float(np.sqrt(np.mean(np.square(rest)))) if rest else None
