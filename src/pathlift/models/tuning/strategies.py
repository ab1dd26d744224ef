"""Strategies: which choices to verify next, given what the additive model says and what was found."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, prod
from typing import NamedTuple, Protocol

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.models.tuning.additive import Additive
from pathlift.models.tuning.knapsack import Choice, ranked

_LOOKED_AT = 2000
_MOST = 20_000


class Trial(NamedTuple):
    """A choice that was verified.

    Parameters
    ----------
    choice
        Options of layers.
    ratio
        Its measured cost over that of the dense file; ∞ where it was not measured, since it is not within the limit.
    error
        Measured.
    within
        Whether it is within the limit.
    """

    choice: Choice
    ratio: float
    error: float
    within: bool


class Strategy(Protocol):
    """What proposes choices."""

    @property
    def name(self) -> str:
        """What results call it."""

    def propose(self, model: Additive, history: Sequence[Trial], limit: float, count: int) -> list[Choice]:
        """Return the choices to verify next.

        Parameters
        ----------
        model
            Refitted to the history.
        history
            All that was verified.
        limit
            The most that the error may be.
        count
            The most to return.

        Returns
        -------
        list
            Choices that are not in the history; none where the search is over.
        """


@dataclass(frozen=True)
class Exact:
    """The cheapest choices that the model predicts to be within the limit.

    The search is over once the best choice that may still be within the limit is one that was verified, or once no
    other is predicted to be better than it was found to be, by more than the noise.

    Parameters
    ----------
    noise
        What ratios of repeated measurements differ by.
    """

    noise: float = 0.0
    name: str = "exact"

    def propose(self, model: Additive, history: Sequence[Trial], limit: float, count: int) -> list[Choice]:
        """Return the best ones: first one of each multiset, since the cost of others of it is predicted to be equal."""
        known = {trial.choice: trial for trial in history}
        best = min((t.ratio for t in history if t.within), default=inf)
        fresh = list[Choice]()
        for choice in itertools.islice(best_first(model, limit), _LOOKED_AT):
            if not any(choice):  # the rest is predicted to be no better than the dense file
                break
            trial = known.get(choice)
            if not fresh and trial is not None and trial.within:
                return []
            if trial is None:
                if not fresh and model.ratio(choice) >= best - self.noise:
                    return []
                fresh.append(choice)
        first = {model.counts(choice): choice for choice in reversed(fresh)}
        picked = sorted(first.values(), key=fresh.index)[:count]
        rest = [choice for choice in fresh if choice not in set(picked)]
        return [*picked, *rest[: count - len(picked)]]


@dataclass(frozen=True)
class Random:
    """Choices at random among those that are predicted to be within the limit.

    Layers in a random order get an option each, all alike that still fit.

    Parameters
    ----------
    seed
        Of all that is random.
    """

    seed: int = 0
    name: str = "random"

    def propose(self, model: Additive, history: Sequence[Trial], limit: float, count: int) -> list[Choice]:
        """Return random ones."""
        rng, known = np.random.default_rng((self.seed, len(history))), {trial.choice for trial in history}
        found: dict[Choice, None] = {}
        for _ in range(100 * count):
            choice = self._draw(model, rng, limit)
            if choice not in known and any(choice):
                found[choice] = None
            if len(found) == count:
                break
        return list(found)

    @staticmethod
    def _draw(model: Additive, rng: np.random.Generator, limit: float) -> Choice:
        left, choice = limit**2, [0] * len(model.costs)
        for layer in rng.permutation(len(choice)):
            square = model.squares[layer]
            choice[layer] = int(rng.choice(np.flatnonzero((square <= left) & np.isfinite(square))))
            left -= float(square[choice[layer]])
        return tuple(choice)


@dataclass(frozen=True)
class Exhaustive:
    """All choices, one after another."""

    name: str = "exhaustive"

    def propose(self, model: Additive, history: Sequence[Trial], limit: float, count: int) -> list[Choice]:
        """Return the next ones.

        Raises
        ------
        UsageError
            If there are too many.
        """
        total = prod(map(len, model.costs))
        if total > _MOST:
            raise UsageError(
                "1544", f"there are {total:,} choices, more than {_MOST:,}", hint="--search exact, or fewer --layers"
            )
        known = {trial.choice for trial in history}
        every = itertools.product(*(range(len(c)) for c in model.costs))
        return list(itertools.islice((c for c in every if c not in known and any(c)), count))


def best_first(model: Additive, limit: float) -> Iterator[Choice]:
    """Yield choices that are predicted to be within a limit, the cheapest first; of equal ones the most exact."""
    shares = [np.zeros_like(s) if limit == inf else np.minimum(s / limit**2, 1e3) for s in model.squares]
    costs = [c + 1e-6 * share for c, share in zip(model.costs, shares, strict=True)]
    return ranked(costs, model.squares, limit)


def uniform_first(model: Additive, limit: float) -> Iterator[Choice]:
    """Yield choices of one option for all layers of a signature, in the order of `best_first`."""
    members: dict[int, list[int]] = {}
    for layer, group in enumerate(model.groups):
        members.setdefault(group, []).append(layer)
    costs = [sum((model.costs[i] for i in own), np.zeros(1)) for own in members.values()]
    squares = [sum((model.squares[i] for i in own), np.zeros(1)) for own in members.values()]
    joint = Additive(range(len(members)), costs, squares)
    for choice in best_first(joint, limit):
        options = dict(zip(members, choice, strict=True))
        yield tuple(options[group] for group in model.groups)
