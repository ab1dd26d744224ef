"""Choosing a schedule: what was measured, or else what is predicted to be fastest; dense, where that is faster."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from pathlift.codegen.predict import dense, predict, traffic
from pathlift.codegen.schedule import Form, Schedule
from pathlift.codegen.space import space
from pathlift.ir.cost import Cost, GraphicsCard
from pathlift.ir.kronecker import Pattern


@dataclass(frozen=True)
class Choice:
    """How a layer runs.

    Parameters
    ----------
    schedule
        Of its kernel; ``None`` if it runs dense.
    cost
        Predicted for it.
    dense
        Predicted for the dense product.
    reason
        One line: why this one.
    """

    schedule: Schedule | None
    cost: Cost
    dense: Cost
    reason: str


def bucket(samples: int) -> int:
    """Round a number of samples up to a power of two: schedules are chosen for these."""
    return 1 << max(samples - 1, 0).bit_length()


@functools.lru_cache(maxsize=4096)
def ranked(
    patterns: tuple[Pattern, ...], form: Form, samples: int, card: GraphicsCard
) -> tuple[tuple[Schedule, Cost], ...]:
    """Return schedules with what they are predicted to cost, the fastest first; of equals, the smallest tiles."""
    costs = {s: predict(patterns, s, samples, card) for s in space(patterns, form, samples, card)}
    return tuple(sorted(costs.items(), key=lambda item: (item[1].seconds, _size(item[0]))))


@functools.lru_cache(maxsize=4096)
def select(patterns: tuple[Pattern, ...], form: Form, samples: int, card: GraphicsCard) -> Choice:
    """Choose by the cost model alone.

    Parameters
    ----------
    patterns
        Of the factor; of two that are fused, as they multiply.
    form
        What is computed.
    samples
        Rows of the input.
    card
        Where it runs.
    """
    options, wide = ranked(patterns, form, samples, card), dense(patterns, form, samples, card)
    if not options:
        return Choice(None, wide, wide, f"dense: no kernel has room on {card.name}")
    schedule, cost = options[0]
    # With explicit zeros, what is infinite would spread as NaN: that is no option where IEEE arithmetic is asked for.
    strict = form.itemsize == 4 and form.precision == "ieee"
    if wide.seconds < cost.seconds and not strict:
        return Choice(None, wide, wide, f"dense: {_times(wide)} predicted, {_times(cost)} by the best kernel")
    return Choice(schedule, cost, wide, f"{_bound(patterns, cost, form, samples, card)}; dense: {_times(wide)}")


def _size(schedule: Schedule) -> tuple[int, str]:
    return schedule.block_n * schedule.block_p * schedule.group, str(schedule)


def _bound(patterns: Sequence[Pattern], cost: Cost, form: Form, samples: int, card: GraphicsCard) -> str:
    """What the kernel's time is made of."""
    least = traffic(patterns, form, samples) / card.bandwidth
    share = 100 * least / cost.seconds
    return f"{_times(cost)} predicted, of which memory takes {share:.0f} %"


def _times(cost: Cost) -> str:
    return f"{1e6 * cost.seconds:.1f} µs"
