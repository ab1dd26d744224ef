"""Times of choices, each a real file, in races with the dense one: robust against what else the machine does."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pathlift.ir.types import Array
from pathlift.models.session import start
from pathlift.models.source import Opened
from pathlift.models.timing import median, race
from pathlift.models.tuning.candidates import Space
from pathlift.models.tuning.knapsack import Choice
from pathlift.models.tuning.trials import Cost, Noise
from pathlift.report.result import Source
from pathlift.runtime.session import CheckedSession

_ROUNDS = 200
_LEAST = 2e-3
"""Seconds of a turn in a race: what takes less runs several times in a row."""
_WALL, _CPU = 0, 1


def both_clocks() -> Array:
    """Return seconds by the wall and of this thread's processor time, ``(2,)``."""
    return np.array([time.perf_counter(), time.thread_time()])


@dataclass(eq=False)
class Contestant:
    """A choice's file, opened.

    Parameters
    ----------
    choice
        What is replaced in it.
    session
        That runs it.
    times
        How often it runs in a turn.
    """

    choice: Choice
    session: CheckedSession
    times: int = 1

    def run(self, feeds: Mapping[str, Any]) -> None:
        """Take a turn."""
        for _ in range(self.times):
            self.session.run(feeds)


@dataclass(frozen=True, eq=False)
class Track:
    """Where choices race.

    Parameters
    ----------
    space
        Of the choices.
    feeds
        What they run on.
    threads, device, seed
        As for `bench`.
    """

    space: Space
    feeds: Mapping[str, Any]
    threads: int = 1
    device: str = "cpu"
    seed: int = 0

    def open(self, choice: Choice) -> Contestant:
        """Write the file of a choice, and open it."""
        graph = self.space.apply(choice)
        executor: Any = "torch" if self.device.startswith("cuda") else "onnxruntime"
        started = start(Opened(graph, Source(), graph), self.device, threads=self.threads, executor=executor)
        return Contestant(choice, CheckedSession(*started))

    @cached_property
    def dense(self) -> tuple[Contestant, Contestant]:
        """The dense file, twice."""
        return self.open(self.space.dense), self.open(self.space.dense)

    def race(
        self,
        contestants: Sequence[Contestant],
        seconds: float,
        progress: Callable[[str, int, int], object] | None = None,
    ) -> tuple[list[Cost], Noise]:
        """Time contestants in turns, beside the dense file and once more the dense file, which says what noise is.

        One thread is timed by its processor time: waiting for a busy machine is no work. Others are timed by the wall.

        Parameters
        ----------
        contestants
            Opened files.
        seconds
            After which no round begins, but for the first five.
        progress
            Told of each round.
        """
        times = max(1, math.ceil(_LEAST / max(self._once(self.dense[0]), 1e-9)))
        runners = [*self.dense, *contestants]
        for runner in runners:
            runner.times = times
        found = race(
            runners, self.feeds, self.device, _ROUNDS, seconds, self.seed, progress, clock=both_clocks
        )  # fmt: skip
        clock = _CPU if self.threads == 1 and self.device == "cpu" else _WALL
        first, second, *rest = [t[:, clock] / times for t in found]
        whole, repeat = median(first, self.seed), median(second / first, self.seed)
        busy = float(np.median(found[0][:, _WALL] / np.maximum(found[0][:, _CPU], 1e-12)))
        noise = Noise(
            math.hypot(repeat.value - 1, repeat.deviation), whole.value, whole.low, whole.high,
            busy if clock == _CPU else None,
        )  # fmt: skip
        return [Cost(*median(t / first, self.seed)[:3]) for t in rest], noise

    def _once(self, contestant: Contestant) -> float:
        contestant.session.run(self.feeds)
        before = time.perf_counter()
        contestant.session.run(self.feeds)
        return time.perf_counter() - before
