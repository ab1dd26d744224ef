"""Searches that stop after a few steps instead of some seconds: the same on every machine, and short."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

SECONDS = 600.0
"""A budget that is not used up."""


@contextmanager
def few_steps(steps: int = 3, attack: int = 8) -> Iterator[None]:
    """Limit, within the block, how far bounds of differences are searched, and how long their adversary tries.

    Parameters
    ----------
    steps
        Of each descent of multipliers; five times as many of slopes.
    attack
        Starting points, and steps from each, of the adversary.
    """
    from pathlift.models.certificates import distance
    from pathlift.passes.attacks import differences
    from pathlift.passes.ellipsoids.search import Search
    from pathlift.passes.relaxations import climb

    descend: Any = Search.descend

    def shortly(self: Search, objective: Any, passes: int, *more: Any) -> Any:
        return descend(self, objective, min(passes, steps), *more)

    attacked = partial(differences.largest_difference, restarts=attack, steps=attack, rounds=1)
    with ExitStack() as stack:
        stack.enter_context(patch.object(climb, "STEPS", 5 * steps))
        stack.enter_context(patch.object(Search, "descend", shortly))
        stack.enter_context(patch.object(distance, "largest_difference", attacked))
        yield
