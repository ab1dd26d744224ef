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
    import pathlift.models.distance as distance
    import pathlift.passes.certificates.ellipsoid as ellipsoid
    import pathlift.passes.certificates.joint as joint

    descend: Any = ellipsoid.descend

    def shortly(plan: Any, start: Any, objective: Any, most: int, left: Any) -> Any:
        return descend(plan, start, objective, min(most, steps), left)

    attacked = partial(distance.largest_difference, restarts=attack, steps=attack, rounds=1)
    with ExitStack() as stack:
        stack.enter_context(patch.object(joint, "STEPS", 5 * steps))
        stack.enter_context(patch.object(ellipsoid, "descend", shortly))
        stack.enter_context(patch.object(distance, "largest_difference", attacked))
        yield
