"""Times of models that run side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlift.ir.types import Array
    from pathlift.models.session import Session

_WARM_UP = 2


def race(
    sessions: Sequence[Session],
    feeds: Mapping[str, Any],
    device: str,
    runs: int,
    budget: float,
    seed: int,
    progress: Callable[[str, int, int], object] | None,
) -> list[Array]:
    """Time models side by side: in every round, each runs once, in a random order.

    Parameters
    ----------
    sessions
        The models.
    feeds
        Their inputs.
    device
        Where they run: a time ends when it has finished.
    runs
        Rounds, after two that are not timed.
    budget
        Seconds after which no round begins, but for the first five.
    seed
        Of the orders.
    progress
        Told of each round.

    Returns
    -------
    list
        Seconds per round of each model, ``(rounds,)``.
    """
    rng, seconds, start = np.random.default_rng(seed), [list[float]() for _ in sessions], time.perf_counter()
    for i in range(-_WARM_UP, runs):
        if i >= 5 and time.perf_counter() - start > budget:
            break
        if progress is not None:
            progress("round", max(0, i), runs)
        for k in rng.permutation(len(sessions)):
            before = time.perf_counter()
            sessions[k].run(feeds)
            _finish(device)
            if i >= 0:
                seconds[k].append(time.perf_counter() - before)
    return [np.array(times) for times in seconds]


def _finish(device: str) -> None:
    """Wait until a device has done all that is queued."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
