"""Races of files: which clock counts, what noise is, and what is measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.models.tuning.latency import Contestant, Track

SECONDS = {"dense": 1.0, "twin": 1.0, "half": 0.5}


class Ran:
    """A session that counts its runs."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, feeds: Any) -> None:
        self.runs += 1


def raced(monkeypatch: pytest.MonkeyPatch, *, threads: int = 1, shift: float = 0.0, wall: float = 3.0) -> Any:
    """The race of one file that takes half of the processor time, and a third of the wall time, of the dense one."""
    dense, twin, half = (Contestant((0,), Ran()) for _ in range(3))  # type: ignore[arg-type]  # no more is used of it
    track = Track(None, {}, threads)  # type: ignore[arg-type]  # nothing is opened
    track.__dict__["dense"] = (dense, twin)

    def race(runners: Any, *_: Any, clock: Any) -> list[np.ndarray]:
        assert [*runners] == [dense, twin, half]
        assert clock().shape == (2,)
        for runner in runners:
            runner.run({})
        own = [np.ones(9), np.full(9, 1 + shift), np.full(9, 0.5)]
        walls = [wall * own[0], wall * own[1], wall / 3 * own[0]]
        return [np.stack([w, t], axis=1) * half.times for w, t in zip(walls, own, strict=True)]

    monkeypatch.setattr("pathlift.models.tuning.latency.race", race)
    return (*track.race([half], 1.0), half)


def test_one_thread_is_timed_by_its_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    (cost,), noise, _ = raced(monkeypatch)
    assert cost == pytest.approx((0.5, 0.5, 0.5))
    assert (noise.seconds, noise.wall_over_cpu) == pytest.approx((1.0, 3.0))


def test_several_threads_are_timed_by_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    (cost,), noise, _ = raced(monkeypatch, threads=2)
    assert cost == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert (noise.seconds, noise.wall_over_cpu) == (3.0, None)


def test_noise_is_what_a_file_differs_from_itself_by(monkeypatch: pytest.MonkeyPatch) -> None:
    assert raced(monkeypatch)[1].deviation == 0
    assert raced(monkeypatch, shift=-0.04)[1].deviation == pytest.approx(0.04)


def test_what_is_short_runs_several_times_in_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    half = raced(monkeypatch)[2]
    assert half.times > 10
    assert half.session.runs == half.times
