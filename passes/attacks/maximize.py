"""The maximum of an objective over a box, as far as it is found within some seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pathlift.passes.attacks.domain import Domain, Point
from pathlift.passes.attacks.search import Objective, Search, chunks
from pathlift.passes.attacks.strategies import SHARES

Tensor = torch.Tensor
RESTARTS, STEPS, ROUNDS = 64, 100, 10
PATIENCE = 2
"""Rounds without a larger value after which the search ends."""
RESERVE = 0.1
"""The share of the time that is kept for evaluating the best points one by one."""


@dataclass(frozen=True, eq=False)
class Found:
    """The largest values that were found, one per objective.

    Parameters
    ----------
    value
        ``(objectives,)``, float64: each is what the objective is at its inputs, in a batch of one. -inf where no finite
        value was seen.
    inputs
        By name, ``(objectives, *shape)``, float64: where each is reached, in the box.
    """

    value: Tensor
    inputs: Mapping[str, Tensor]

    def point(self, index: int) -> dict[str, Tensor]:
        """Return the inputs of one objective, ``(1, *shape)``."""
        return {name: x[index : index + 1] for name, x in self.inputs.items()}


def maximize(
    objective: Objective,
    domain: Domain,
    *,
    budget: float,
    seed: int = 0,
    restarts: int = RESTARTS,
    steps: int = STEPS,
    rounds: int = ROUNDS,
    starts: Point | None = None,
    numbers: int | None = None,
    enough: float | None = None,
) -> Found:
    """Look for the largest values of objectives over a box; nothing is proved of what is not found.

    The search ends when its rounds are over, or the time. In the first case it depends on the seed alone.

    Parameters
    ----------
    objective
        Takes inputs by name, ``(batch, *shape)``, float64, and returns ``(batch, objectives)``; differentiable by
        torch's autograd, or flat to the methods that need gradients. Values of a candidate may not depend on others.
    domain
        The box.
    budget
        Seconds. An evaluation that has begun is not interrupted.
    seed
        Of the random numbers; not negative.
    restarts, steps
        Starting points per objective, and steps from each, in a round.
    rounds
        How often all methods take their turn, at most; each round starts from what is found by then, and after two that
        find nothing larger there are no more.
    starts
        Points to begin with, ``(count, *shape)``; clipped to the box.
    numbers
        How many numbers are computed for one candidate, about, which says how many fit into memory at once; by default
        16 times those of an input.
    enough
        The search ends once some objective is above this.

    Returns
    -------
    Found
        What is largest among points that are evaluated one by one at the end.
    """
    began = time.monotonic()
    search = Search(objective, domain, numbers or 16 * domain.elements)
    end = began + budget * (1 - RESERVE)
    for part in chunks(domain.flat(starts), search.at_once) if starts is not None else ():
        search.values(part)
    idle = 0
    for done in range(rounds):
        if idle == PATIENCE or time.monotonic() >= end or _is_enough(search, enough):
            break
        before = search.best.clone()
        _round(search, end, (seed, done), restarts, steps, enough)
        idle = idle + 1 if torch.equal(search.best, before) else 0
    return _evaluated_singly(search, began + budget)


def _round(
    search: Search, limit: float, seed: tuple[int, int], restarts: int, steps: int, enough: float | None
) -> None:
    left = sum(SHARES.values())
    for number, (strategy, share) in enumerate(SHARES.items()):
        now = time.monotonic()
        end = now + (limit - now) * share / left
        left -= share
        # Numbers of their own: where the time ended for one method changes nothing in what another draws.
        state = np.random.SeedSequence((*seed, number)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0]))
        for _ in strategy(search, generator, restarts, steps):
            if time.monotonic() >= end or _is_enough(search, enough):
                break


def _is_enough(search: Search, enough: float | None) -> bool:
    return enough is not None and bool((search.best > enough).any())


def _evaluated_singly(search: Search, end: float) -> Found:
    """Evaluate the best points one by one, those of the largest values first, until the time is over.

    Numbers in a batch may differ from those of a batch of one in their last bits, or altogether if the objective mixes
    candidates. Each point counts for every objective, so that none is left without a value.
    """
    fresh = Search(search.objective, search.domain, 1)
    seen = set[bytes]()
    for index in search.ranked().tolist():
        point = search.points[index : index + 1]
        key = point.numpy().tobytes()
        if key not in seen:
            seen.add(key)
            fresh.values(point)
        if time.monotonic() >= end:
            break
    return Found(fresh.best, search.domain.unflat(fresh.points))
