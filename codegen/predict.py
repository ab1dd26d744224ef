"""Costs of kernels on a card: arithmetic with its padding, traffic from memory and from the second-level cache.

A kernel takes as long as the slowest of the three, stretched where its programs do not fill the card evenly. The rest
is rough: it puts schedules in order, and what matters is measured (`pathlift.codegen.tune`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from pathlift.codegen import chains
from pathlift.codegen.render import padded
from pathlift.codegen.schedule import Form, Schedule
from pathlift.ir.cost import Cost, GraphicsCard
from pathlift.ir.kronecker import Pattern

_SECTOR = 32
"""Bytes that the caches move at least."""
_FULL_TILE = 32
"""From tiles of 64×64 on, tensor cores are kept busy: the harmonic mean of the sides, halved."""
_BATCHED = 0.6
"""Rate of batches of products over that of large ones, since Hopper's widest instructions take no batches."""
_LONG = 1024
"""Samples that one program of a gradient sums, or fewer."""
_THREADS, _MOST_PROGRAMS = 2048, 16
"""Of a multiprocessor."""


def predict(patterns: Sequence[Pattern], schedule: Schedule, samples: int, card: GraphicsCard) -> Cost:
    """Return what a kernel costs.

    Parameters
    ----------
    patterns
        Of the factors, as they multiply.
    schedule
        That fits them.
    samples
        Rows of the input.
    card
        Where it runs.

    Returns
    -------
    Cost
        Operations with all padding, bytes from and to memory at least, and seconds.
    """
    flops, cached, programs, efficiency = _WORK[schedule.template](tuple(patterns), schedule, samples)
    bytes_ = traffic(patterns, schedule.form, samples)
    if schedule.template == "decode":
        rate = card.rate(4)
    else:
        rate = card.rate(schedule.form.itemsize, schedule.form.precision) * efficiency
    busy = max(flops / rate, bytes_ / card.bandwidth, cached / card.cache_bandwidth)
    return Cost(flops, bytes_, card.overhead + busy * _unevenness(programs, patterns, schedule, card))


def dense(patterns: Sequence[Pattern], form: Form, samples: int, card: GraphicsCard) -> Cost:
    """Return what the dense product and its epilogue cost, one after the other.

    A library multiplies 32-bit numbers without tf32, unless the form asks for it.
    """
    rows, cols = patterns[0].rows, patterns[-1].cols
    flops = 2 * samples * rows * cols
    bytes_ = form.itemsize * (samples * (rows + cols) + rows * cols)
    rate = card.rate(form.itemsize, "tf32" if form.precision == "tf32" else "ieee")
    after = sum(card.moved(samples * rows, form.itemsize).seconds for _ in range(form.residual + bool(form.activation)))
    return Cost(flops, bytes_, card.overhead + max(flops / rate, bytes_ / card.bandwidth) + after)


def traffic(patterns: Sequence[Pattern], form: Form, samples: int) -> int:
    """Return the bytes that a layer moves at least: its operands and its result, once each."""
    rows, cols = patterns[0].rows, patterns[-1].cols
    around = samples * (rows + cols + rows * form.residual) + rows * form.bias
    return form.itemsize * (around + sum(p.size for p in patterns))


def shared_memory(patterns: Sequence[Pattern], schedule: Schedule) -> int:
    """Return the bytes of shared memory that tiles of operands take, roughly."""
    if schedule.template == "chain":
        return chains.room(patterns, schedule).shared
    height, width, inner = _extents(schedule)
    tiles = (height + width) * inner * _neighbours(schedule)
    return tiles * schedule.form.itemsize * max(schedule.stages - 1, 1)


def accumulators(schedule: Schedule) -> int:
    """Return the 32-bit sums that a thread holds."""
    height, width, _ = _extents(schedule)
    return ceil(height * width * _neighbours(schedule) / (32 * schedule.warps))


def _extents(s: Schedule) -> tuple[int, int, int]:
    """Of a product of tiles: its sides, and what is summed over."""
    if s.template == "gradient":
        return s.block_p, s.block_k, s.block_n
    return s.block_n, s.block_p, s.block_k


def _neighbours(schedule: Schedule) -> int:
    return schedule.group if schedule.template in ("batched", "gradient") else 1


_Work = tuple[int, float, int, float]
"""Operations, bytes through the cache, programs, and the share of the card's rate that tiles allow."""


def _products(patterns: tuple[Pattern, ...], s: Schedule, samples: int) -> _Work:
    """Of `dot` and `batched`."""
    (p,), size, batch = patterns, s.form.itemsize, s.template == "batched"
    merged, neighbours = (1, s.group) if batch else (s.group, 1)
    outputs, inputs, blocks = p.b * merged, p.c * merged, p.a * p.d // merged
    tiles_p, tiles_n = ceil(outputs / s.block_p), ceil(samples / s.block_n)
    flops = 2 * blocks * tiles_n * s.block_n * tiles_p * s.block_p * padded(inputs, s.block_k)
    run = {"rows": inputs * neighbours if s.group == p.d else s.group, "features": s.block_n}
    wasted_x, wasted_y = (max(1.0, _SECTOR / (run[layout] * size)) for layout in (s.form.reads, s.form.writes))
    x, y = samples * p.cols * wasted_x * tiles_p, samples * p.rows * wasted_y * (1 + s.form.residual)
    weights = blocks * outputs * inputs * tiles_n
    return (
        flops,
        size * (x + y + weights),
        tiles_n * tiles_p * blocks // neighbours,
        _efficiency(s.block_n, s.block_p, batch),
    )


def _efficiency(height: int, width: int, batch: bool) -> float:
    side = height * width / (height + width)
    return min(1.0, side / _FULL_TILE) * (_BATCHED if batch else 1.0)


def _chain(patterns: tuple[Pattern, ...], s: Schedule, samples: int) -> _Work:
    split = chains.refine(*patterns)
    return *chains.work(patterns, s, samples), _efficiency(s.block_n, s.block_p, split is not None and split.batched)


def _decode(patterns: tuple[Pattern, ...], s: Schedule, samples: int) -> _Work:
    (p,), tiles_n = patterns, ceil(samples / s.block_n)
    blocks = p.a * ceil(p.d / s.group) * ceil(p.b / s.block_p)
    flops = 2 * p.a * p.d * padded(p.b, s.block_p) * padded(p.c, s.block_k) * tiles_n * s.block_n
    run = _SECTOR if p.d == 1 else s.group * s.form.itemsize
    around = samples * (p.cols * ceil(p.b / s.block_p) + p.rows) * max(1.0, _SECTOR / run)
    return flops, s.form.itemsize * (p.size * tiles_n + around), blocks * tiles_n, 1.0


def _gradient(patterns: tuple[Pattern, ...], s: Schedule, samples: int) -> _Work:
    (p,), size = patterns, s.form.itemsize
    tiles_p, tiles_k, blocks = ceil(p.b / s.block_p), ceil(p.c / s.block_k), p.a * p.d // s.group
    flops = 2 * p.a * p.d * tiles_p * s.block_p * tiles_k * s.block_k * padded(samples, s.block_n)
    contiguous = {"rows": s.group if p.d > 1 else s.block_k, "features": s.block_n}
    wasted_x, wasted_y = (max(1.0, _SECTOR / (contiguous[at] * size)) for at in (s.form.reads, s.form.writes))
    moved = samples * (p.cols * wasted_x * tiles_p + p.rows * wasted_y * tiles_k)
    programs = tiles_p * tiles_k * blocks * ceil(samples / _LONG)
    return flops, size * moved, programs, _efficiency(s.block_p, s.block_k, s.group > 1)


_WORK = {"gradient": _gradient, "dot": _products, "batched": _products, "decode": _decode, "chain": _chain}


def _unevenness(programs: int, patterns: Sequence[Pattern], schedule: Schedule, card: GraphicsCard) -> float:
    """How much longer the last, half-empty round of programs makes it."""
    fitting = min(
        card.shared_memory // max(shared_memory(patterns, schedule), 1),
        _THREADS // (32 * schedule.warps),
        _MOST_PROGRAMS,
    )
    slots = card.multiprocessors * max(fitting, 1)
    if programs >= slots:
        return ceil(programs / slots) * slots / programs
    return max(1.0, card.multiprocessors / programs)  # half the programs keep the memory as busy, fewer do not
