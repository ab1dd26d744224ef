"""Choosing a schedule: what was measured, or else what is predicted to be fastest; dense, where that is faster."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from pathlift.codegen.cache import Key, Measured
from pathlift.codegen.predict import dense, predict, traffic
from pathlift.codegen.schedule import Form, Schedule
from pathlift.codegen.space import gradients, space
from pathlift.ir.cost import Cost, GraphicsCard
from pathlift.ir.kronecker import Pattern

Ranked = tuple[tuple[Schedule, Cost], ...]


@dataclass(frozen=True)
class Choice:
    """How a layer, or two that are fused, run.

    Parameters
    ----------
    patterns
        Of the factors, as they multiply.
    form
        What is computed.
    schedule
        Of the kernel; ``None`` if the product is dense.
    cost
        Predicted for it; measured seconds, if they were.
    dense
        Predicted for the dense product.
    reason
        One line: why this one.
    """

    patterns: tuple[Pattern, ...]
    form: Form
    schedule: Schedule | None
    cost: Cost
    dense: Cost
    reason: str


def bucket(samples: int) -> int:
    """Round a number of samples up to a power of two: schedules are chosen for these."""
    return 1 << max(samples - 1, 0).bit_length()


def may_be_dense(form: Form) -> bool:
    """Whether a dense product, or merged blocks, may stand for a kernel: explicit zeros turn infinities into NaN."""
    return form.itemsize < 4 or form.precision != "ieee"


@functools.lru_cache(maxsize=1024)
def ranked(patterns: tuple[Pattern, ...], form: Form, samples: int, card: GraphicsCard) -> Ranked:
    """Return schedules with what they are predicted to cost, the fastest first; of equals, the smallest tiles."""
    costs = {s: predict(patterns, s, samples, card) for s in space(patterns, form, samples, card)}
    return tuple(sorted(costs.items(), key=lambda item: (item[1].seconds, _size(item[0]))))


def select(
    patterns: Sequence[Pattern], form: Form, samples: int, card: GraphicsCard, measured: Measured | None = None
) -> Choice:
    """Choose what is fastest, as measured or by the cost model.

    Measurements come from files, which anyone may have written: a schedule counts if it would be tried here, too.

    Parameters
    ----------
    patterns
        Of the factor; of two that are fused, as they multiply.
    form
        What is computed.
    samples
        Rows of the input; rounded up to a power of two.
    card
        Where it runs.
    measured
        Measurements to look into.
    """
    patterns, samples = tuple(patterns), bucket(samples)
    found = measured and measured.get(key(patterns, form, samples, card))
    predicted = _predicted(patterns, form, samples, card)
    if not found or not _is_tried(found.schedule, patterns, form, samples, card):
        return predicted
    cost = Cost(predicted.cost.flops, predicted.cost.bytes, found.seconds)
    what = "dense: " if found.schedule is None else ""
    reason = f"{what}{times(cost)} measured; dense: {times(predicted.dense)} predicted"
    return Choice(patterns, form, found.schedule, cost, predicted.dense, reason)


def _is_tried(
    schedule: Schedule | None, patterns: tuple[Pattern, ...], form: Form, samples: int, card: GraphicsCard
) -> bool:
    """Whether a schedule, or the dense product for ``None``, is one that the card runs, and in a bearable time."""
    if schedule is None:
        return may_be_dense(form)
    return any(schedule == option for option, _ in ranked(patterns, form, samples, card))


@functools.lru_cache(maxsize=4096)
def gradient(pattern: Pattern, form: Form, samples: int, card: GraphicsCard) -> Schedule:
    """Choose how the gradient of a factor's non-zeros is computed; parameters are those of `select`."""
    options = gradients(pattern, form, card)
    return min(options, key=lambda s: (predict((pattern,), s, samples, card).seconds, str(s)))


def key(patterns: Sequence[Pattern], form: Form, samples: int, card: GraphicsCard) -> Key:
    """Return under which key a measurement is kept."""
    return Key(tuple(patterns), form, bucket(samples), card.arch, _triton_version())


@functools.lru_cache(maxsize=4096)
def _predicted(patterns: tuple[Pattern, ...], form: Form, samples: int, card: GraphicsCard) -> Choice:
    options, wide = ranked(patterns, form, samples, card), dense(patterns, form, samples, card)
    if not options:
        return Choice(patterns, form, None, wide, wide, f"dense: no kernel fits {card.name}")
    schedule, cost = options[0]
    if wide.seconds < cost.seconds and may_be_dense(form):
        reason = f"dense: {times(wide)} predicted, {times(cost)} by the best kernel"
        return Choice(patterns, form, None, wide, wide, reason)
    share = 100 * traffic(patterns, form, samples) / card.bandwidth / cost.seconds
    reason = f"{times(cost)} predicted, of which memory traffic takes {share:.0f} %; dense: {times(wide)}"
    return Choice(patterns, form, schedule, cost, wide, reason)


def times(cost: Cost) -> str:
    """Write seconds as microseconds."""
    return f"{1e6 * cost.seconds:.1f} µs"


def _size(schedule: Schedule) -> tuple[int, str]:
    return schedule.block_n * schedule.block_p * schedule.group, str(schedule)


@functools.cache
def _triton_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("triton")
    except PackageNotFoundError:
        return ""
