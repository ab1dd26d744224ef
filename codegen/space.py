"""The space of schedules: per template, the tiles worth trying, without those that a card has no room for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod

from pathlift.codegen.chains import refine
from pathlift.codegen.fits import misfit
from pathlift.codegen.predict import accumulators, shared_memory
from pathlift.codegen.schedule import Form, Schedule
from pathlift.ir.cost import GraphicsCard
from pathlift.ir.kronecker import Pattern

_SMALLEST_K = 16
"""Inputs that a product takes at least, in every version of Triton and type of element."""
_MOST_MERGED = 8
"""Merging more neighbours multiplies the work by as much, which is more than it saves."""


def space(patterns: Sequence[Pattern], form: Form, samples: int, card: GraphicsCard) -> Iterator[Schedule]:
    """Yield schedules that fit patterns and a card.

    Parameters
    ----------
    patterns
        Of a factor, or of two that are fused.
    form
        What is computed.
    samples
        Rows of the input: larger tiles are left out.
    card
        Where it runs.
    """
    for template in {1: ("decode", "dot", "batched"), 2: ("chain",)}.get(len(patterns), ()):
        for schedule in _SPACES[template](patterns, form, samples):
            if not misfit(patterns, schedule) and _has_room(patterns, schedule, card):
                yield schedule


def gradients(pattern: Pattern, form: Form, card: GraphicsCard) -> Iterator[Schedule]:
    """Yield schedules of the gradient of a factor's non-zeros; parameters are those of `space`."""
    for p, k in itertools.product(_up_to(pattern.b, (16, 32, 64, 128)), _up_to(pattern.c, (16, 32, 64, 128))):
        for n, group, warps, stages in ((32, 8, 8, 2), (64, 1, 4, 3), (32, 1, 4, 2), (64, 1, 8, 3)):
            if group > 1 and max(p, k) > 32:
                continue
            schedule = Schedule("gradient", form, n, p, k, group, warps, stages)
            if not misfit((pattern,), schedule) and _has_room((pattern,), schedule, card):
                yield schedule


def _has_room(patterns: Sequence[Pattern], schedule: Schedule, card: GraphicsCard) -> bool:
    if schedule.descriptors and card.capability < 90:
        return False
    if schedule.template == "decode":
        return True
    # Three tf32 products hold the parts of their operands besides, and so does arithmetic without tensor cores.
    roomy = schedule.form.itemsize < 4 or schedule.form.precision == "tf32"
    most = (128 if roomy else 64) // (1 if card.capability >= 90 or roomy else 2)
    return accumulators(schedule) <= most and shared_memory(patterns, schedule) <= card.shared_memory


def _dot(patterns: Sequence[Pattern], form: Form, samples: int) -> Iterator[Schedule]:
    (p,) = patterns
    for group in (g for g in _divisors(p.d) if g <= _MOST_MERGED):
        smooth = group == p.d and form.reads == form.writes == "rows"
        for n, rows, k, left in itertools.product(
            _up_to(samples, (16, 32, 64, 128)),
            _up_to(p.b * group, (16, 32, 64, 128)),
            _up_to(p.c * group, (16, 32, 64)),
            (False, True),
        ):
            for warps, stages, descriptors in ((4, 3, False), (8, 3, False), (4, 4, False), *[(4, 3, True)] * smooth):
                yield Schedule("dot", form, n, rows, k, group, warps, stages, left, descriptors)


def _batched(patterns: Sequence[Pattern], form: Form, samples: int) -> Iterator[Schedule]:
    (p,) = patterns
    for group, n, rows, k, left in itertools.product(
        (g for g in (4, 8, 16) if p.d % g == 0),
        _up_to(samples, (16, 32, 64)),
        _up_to(p.b, (16, 32, 64)),
        _up_to(p.c, (16, 32)),
        (False, True),
    ):
        if k > 16 and form.itemsize == 4 and form.precision != "tf32":
            continue  # the parts of operands spill
        for warps, stages, descriptors in ((4, 3, False), (8, 3, False), (8, 3, True)):
            yield Schedule("batched", form, n, rows, k, group, warps, stages, left, descriptors)


def _decode(patterns: Sequence[Pattern], form: Form, samples: int) -> Iterator[Schedule]:
    (p,) = patterns
    if samples > 16:
        return
    for rows, k, group in itertools.product(_up_to(p.b, (4, 16, 32)), _up_to(p.c, (16, 64, 128)), (1, 4, 16)):
        n = next(size for size in (1, 2, 4, 8, 16) if size >= samples)
        if group == 1 or (p.d > 1 and k * rows * group * n <= 2**14):
            yield Schedule("decode", form, n, rows, k, group, 4, 2)


def _chain(patterns: Sequence[Pattern], form: Form, samples: int) -> Iterator[Schedule]:
    split = refine(*patterns)
    if split is None:
        return
    for n, rows, k, warps in itertools.product(
        _up_to(samples, (16, 32, 64)),
        _up_to(patterns[0].b, (16, 32, 64, 128, 256)),
        _up_to(split.between, (1, 2, 4, 8, 16, 32, 64)),
        (4, 8),
    ):
        if prod(split.inner) * k >= _SMALLEST_K:
            yield Schedule("chain", form, n, rows, k, 1, warps, 2)


_SPACES: dict[str, Callable[[Sequence[Pattern], Form, int], Iterator[Schedule]]] = {
    "dot": _dot,
    "batched": _batched,
    "decode": _decode,
    "chain": _chain,
}


def _up_to(extent: int, sizes: Sequence[int]) -> Iterable[int]:
    """The sizes that an extent fills, and the next one."""
    return [size for i, size in enumerate(sizes) if i == 0 or sizes[i - 1] < extent]


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]
