"""Times of models that run side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from pathlift.ir.errors import UsageError

if TYPE_CHECKING:
    from pathlift.ir.types import Array

_WARM_UP = 2
_RESAMPLED = 1000


class Runs(Protocol):
    """What is timed: a session, for one."""

    def run(self, feeds: Mapping[str, Any]) -> object:
        """Run once."""


def race(
    sessions: Sequence[Runs],
    feeds: Mapping[str, Any],
    device: str,
    runs: int,
    budget: float,
    seed: int,
    progress: Callable[[str, int, int], object] | None,
    clock: Callable[[], Any] | None = None,
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
    clock
        What times are differences of: seconds, the wall's by default, or an array of those of several clocks.

    Returns
    -------
    list
        Seconds per round of each model, ``(rounds,)``, or ``(rounds, clocks)``.
    """
    read = clock or time.perf_counter
    rng, seconds, start = np.random.default_rng(seed), [list[Any]() for _ in sessions], time.perf_counter()
    for i in range(-_WARM_UP, runs):
        if i >= 5 and time.perf_counter() - start > budget:
            break
        if progress is not None:
            progress("round", max(0, i), runs)
        for k in rng.permutation(len(sessions)):
            before = read()
            sessions[k].run(feeds)
            _finish(device)
            if i >= 0:
                seconds[k].append(read() - before)
    return [np.array(times) for times in seconds]


class Median(NamedTuple):
    """A median over rounds, the 95 % interval of it, and its standard error."""

    value: float
    low: float
    high: float
    deviation: float


def median(values: Array, seed: int) -> Median:
    """Return the median of what rounds gave, ``(rounds,)``, with its error by the bootstrap (1000 resamples)."""
    rng = np.random.default_rng(seed)
    resampled = np.median(values[rng.integers(0, len(values), (_RESAMPLED, len(values)))], axis=1)
    low, high = (float(q) for q in np.quantile(resampled, (0.025, 0.975)))
    return Median(float(np.median(values)), low, high, float(resampled.std()))


def placed(feeds: Mapping[str, Array], device: str) -> Mapping[str, Any]:
    """Bring feeds to a device; the CPU has them."""
    if device == "cpu":
        return feeds
    from pathlift.runtime.ports import as_tensor

    return {name: as_tensor(x).to(device) for name, x in feeds.items()}


def check_device(device: str) -> None:
    """Check that there is a device to time kernels on.

    Raises
    ------
    UsageError
        If there is not.
    """
    if device == "cpu":
        return
    if device.startswith("cuda") and find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            return
    raise UsageError("1546", f"there is no device {device!r} here to time kernels on", hint="--device cpu")


def _finish(device: str) -> None:
    """Wait until a device has done all that is queued."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
