"""Tuning: the schedules that the cost model likes best, compiled, and timed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from pathlift.codegen.cache import Measured, Measurement
from pathlift.codegen.schedule import Form, Schedule
from pathlift.codegen.select import Choice, bucket, key, may_be_dense, ranked, select
from pathlift.ir.cost import GraphicsCard
from pathlift.ir.kronecker import Pattern

MOST_TIMED = 8
_ALIKE = 2
_HOPELESS = 3.0
"""What is predicted to take so many times the best prediction is not tried."""


def tune(
    patterns: Sequence[Pattern],
    form: Form,
    samples: int,
    card: GraphicsCard,
    measure: Callable[[Schedule | None], float],
    measured: Measured,
    *,
    compiles: Callable[[Schedule], bool] = lambda schedule: True,
) -> Choice:
    """Find the fastest schedule by measuring, unless that was done before.

    Parameters
    ----------
    patterns, form, samples, card
        As for `select`.
    measure
        Returns the seconds that a schedule takes, or the dense product for ``None``; infinity if it does not run.
    measured
        Where the result is looked up, and kept.
    compiles
        Whether a schedule, compiled, has room in registers and shared memory.

    Returns
    -------
    Choice
        The fastest of at most eight kernels, and of the dense product where that may stand for them.
    """
    patterns, samples = tuple(patterns), bucket(samples)
    here = key(patterns, form, samples, card)
    if measured.get(here) is None:
        times: dict[Schedule | None, float] = {}
        for schedule in candidates(patterns, form, samples, card):
            if len(times) < MOST_TIMED and compiles(schedule):
                times[schedule] = measure(schedule)
        if may_be_dense(form):
            times[None] = measure(None)
        best = min(times, key=times.__getitem__, default=None)
        if math.isfinite(times.get(best, math.inf)):
            measured.put(here, Measurement(best, times[best]))
    return select(patterns, form, samples, card, measured)


def candidates(patterns: Sequence[Pattern], form: Form, samples: int, card: GraphicsCard) -> Iterator[Schedule]:
    """Yield schedules worth timing, best predictions first: of those that differ in little, two only."""
    options, seen = ranked(tuple(patterns), form, samples, card), Counter[object]()
    for schedule, cost in options:
        kind = (schedule.template, schedule.group, schedule.weights_left, schedule.descriptors)
        if seen[kind] < _ALIKE and cost.seconds <= _HOPELESS * options[0][1].seconds:
            seen[kind] += 1
            yield schedule
