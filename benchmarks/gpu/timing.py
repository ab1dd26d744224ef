"""Timing on a graphics card: contestants in the same rounds, in random order, with a cold cache."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

Call = Callable[[], object]
_FLUSHED = 2**28
"""Bytes that are written before each call: several times the second-level cache, and time for what is launched next."""


@dataclass
class Clock:
    """Measures calls on a card by its events; on a CPU, by the processor's clock.

    Parameters
    ----------
    device
        ``cuda`` or ``cpu``.
    seed
        Of the order within rounds.
    """

    device: str
    seed: int = 0
    _random: random.Random = field(init=False)
    _flush: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._flush = torch.empty(_FLUSHED if self.device == "cuda" else 1, dtype=torch.uint8, device=self.device)

    def race(self, contestants: Mapping[str, Call], rounds: int, budget: float) -> dict[str, list[float]]:
        """Time contestants.

        Parameters
        ----------
        contestants
            What to time, by name; each was called before.
        rounds
            Each is timed once in a round, in random order.
        budget
            Seconds after which a contestant leaves, though not before its third round.

        Returns
        -------
        dict
            Seconds by name; index i is round i of all of them.
        """
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for index in range(rounds):
            order = [name for name in contestants if index < 3 or sum(seconds[name]) < budget]
            self._random.shuffle(order)
            for name, found in zip(order, self._round([contestants[name] for name in order]), strict=True):
                seconds[name].append(found)
        return seconds

    def median(self, call: Call, rounds: int = 5) -> float:
        """The median seconds of a call, of which one before is not timed."""
        call()
        return sorted(self.race({"": call}, rounds, 1.0)[""])[rounds // 2]

    def _round(self, calls: list[Call]) -> list[float]:
        if self.device == "cpu":
            return [_elapsed(call) for call in calls]
        events = []
        for call in calls:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # torch has no types for it
            self._flush.fill_(self._random.randrange(256))
            start.record()
            call()
            end.record()
            events.append((start, end))
        torch.cuda.synchronize()
        return [start.elapsed_time(end) / 1e3 for start, end in events]


def _elapsed(call: Call) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def captured(call: Call, device: str) -> Call:
    """Return the replay of a call as a CUDA graph, so that launches cost next to nothing; results are thrown away."""
    if device == "cpu":
        call()
        return call
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch has no types for it
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            call()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay
