"""Two factors in one kernel: how the result between them splits into independent blocks, and into tiles.

Let h be what the inner factor, (a₂, b₂, c₂, d₂), hands to the outer one, (a₁, b₁, c₁, d₁), in y = K₁·h, h = K₂·x. The
inner factor indexes it by (i₂, p₂, l₂), the outer one by (i₁, k₁, l₁). Where one of a₁, a₂ divides the other, and one
of d₁, d₂ the other, and the quotients divide the extents beside them, both regroup the axes of

    h[i, i', s, l', l]    of extents min(a₁, a₂), max/min, s, max/min, min(d₁, d₂).

Blocks (i, l) are independent. Of the axes i' and l', each is one of blocks for one factor, E₂ for the inner one and E₁
for the outer one, and part of the other factor's products. So a block is two batches of matrix products,

    h[E₂, n, (E₁, s)] = Σₖ x[E₂, n, k]·K₂[E₂, k, (E₁, s)]        y[E₁, n, p] = Σ h[E₁, n, (E₂, s)]·K₁[E₁, (E₂, s), p]

with a transposition between them. Chainable factors (`pathlift.ir.kronecker.is_chainable`) are those where i' is in E₂
and l' in E₁; none of this needs that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import NamedTuple

from pathlift.codegen.schedule import Schedule
from pathlift.ir.kronecker import Pattern

_HELD = 32
"""Registers of a thread that a tile of x may take, to be loaded once for all tiles of s."""
_LINE = 128
"""Bytes of a row of x in a tile, where not all of a block's inputs are."""
_SECTOR = 32
"""Bytes that the caches move at least."""


@dataclass(frozen=True)
class Refinement:
    """How h splits.

    Parameters
    ----------
    common
        Extents of (i, l), the independent blocks.
    outer, inner
        Extents of (i', l') as far as they are blocks of the outer factor, E₁, or of the inner one, E₂; else 1.
    between
        Extent of s.
    """

    common: tuple[int, int]
    outer: tuple[int, int]
    inner: tuple[int, int]
    between: int

    @property
    def batched(self) -> bool:
        """Whether a block is batches of products, and not two products."""
        return prod(self.outer) * prod(self.inner) > 1


def refine(outer: Pattern, inner: Pattern) -> Refinement | None:
    """Return how the result between two factors splits; ``None`` if their blocks do not nest.

    Parameters
    ----------
    outer, inner
        K₁ and K₂: the inner one is applied first.
    """
    if outer.cols != inner.rows or any(max(pair) % min(pair) for pair in ((outer.a, inner.a), (outer.d, inner.d))):
        return None
    common = min(outer.a, inner.a), min(outer.d, inner.d)
    e1 = outer.a // common[0], outer.d // common[1]
    e2 = inner.a // common[0], inner.d // common[1]
    # a₂·b₂·d₂ = a₁·c₁·d₁, so c₁ is a multiple of all of E₂ where b₂ is one of all of E₁, with the same quotient.
    return None if inner.b % prod(e1) else Refinement(common, e1, e2, inner.b // prod(e1))


@dataclass(frozen=True)
class Tiling:
    """The tiles of a chain's kernel; their extents are powers of two.

    Parameters
    ----------
    split
        How h splits.
    outer, inner
        Numbers of blocks, E₁ and E₂, rounded up.
    block_n, block_p, block_s, block_c
        Extents of tiles: samples, outputs of a block, s, and inputs of a block.
    tiles_p, tiles_s, tiles_c
        Numbers of tiles. With one tile of inputs, it is loaded once for all of s.
    """

    split: Refinement
    outer: int
    inner: int
    block_n: int
    block_p: int
    block_s: int
    block_c: int
    tiles_p: int
    tiles_s: int
    tiles_c: int

    @property
    def blocks(self) -> int:
        """Independent blocks."""
        return prod(self.split.common)

    @property
    def weights(self) -> tuple[int, int]:
        """Elements that the packed factors take, of the outer and of the inner one."""
        between = self.blocks * self.outer * self.inner * self.tiles_s * self.block_s
        return between * self.tiles_p * self.block_p, between * self.tiles_c * self.block_c


def tiling(patterns: Sequence[Pattern], schedule: Schedule) -> Tiling | None:
    """Return the tiles of a schedule; ``None`` if the blocks of the two factors do not nest."""
    outer, inner = patterns
    split = refine(outer, inner)
    if split is None:
        return None
    e1, e2 = _power(prod(split.outer)), _power(prod(split.inner))
    tiles_s = ceil(split.between / schedule.block_k)
    room = 4 * 32 * schedule.warps * _HELD // (e2 * schedule.block_n * schedule.form.itemsize)
    all_c = _power(inner.c)
    block_c = max(16, all_c if tiles_s > 1 and all_c <= room else min(all_c, _LINE // schedule.form.itemsize))
    sizes = schedule.block_n, schedule.block_p, schedule.block_k, block_c
    return Tiling(split, e1, e2, *sizes, ceil(outer.b / schedule.block_p), tiles_s, ceil(inner.c / block_c))


def _power(extent: int) -> int:
    """Round up to a power of two."""
    return 1 << (extent - 1).bit_length()


class Room(NamedTuple):
    """What tiles take on the chip, roughly.

    Parameters
    ----------
    registers
        Of a thread, 32 bits each.
    shared
        Bytes of a program's shared memory.
    """

    registers: int
    shared: int


def room(patterns: Sequence[Pattern], schedule: Schedule) -> Room:
    """Estimate the room that tiles take: those of x, h, the sums and both weights. The blocks must nest."""
    t = _tiled(patterns, schedule)
    size, stages, threads = schedule.form.itemsize, schedule.stages, 32 * schedule.warps
    s, e = t.inner * t.block_s, t.outer * t.inner
    x, h, acc = t.inner * t.block_n * t.block_c, t.outer * t.block_n * s, t.outer * t.block_n * t.block_p
    w1, w2 = t.outer * t.block_p * s, e * t.block_s * t.block_c
    # Three products of tf32 parts hold both parts of their operands; full precision needs as much.
    parts = 2 if size == 4 and schedule.form.precision != "tf32" else 1
    first = h + parts * size * (x + w2) // 4 + acc * (t.tiles_s > 1)
    second = acc + parts * size * (h + w1) // 4
    if t.tiles_c > 1:
        shared = max(stages * (x + w2), h + w1)
    else:
        shared = x + stages * (w1 + w2) if t.tiles_s > 1 else max(x + w2, h + w1)
    return Room(max(first, second) // threads, shared * size)


class Work(NamedTuple):
    """What a chain's kernel does.

    Parameters
    ----------
    flops
        Operations, with those on padding, and with h once per tile of outputs.
    cached
        Bytes that programs move through the second-level cache: every tile of outputs reads x, every tile of samples
        weights.
    programs
        How many there are.
    """

    flops: int
    cached: int
    programs: int


def work(patterns: Sequence[Pattern], schedule: Schedule, samples: int) -> Work:
    """Return what a kernel does for so many samples. The blocks must nest."""
    t, size = _tiled(patterns, schedule), schedule.form.itemsize
    tiles_n = ceil(samples / t.block_n)
    between = t.outer * t.inner * t.tiles_s * t.block_s
    each = between * (t.tiles_c * t.block_c + t.block_p)
    programs = tiles_n * t.blocks * t.tiles_p
    # Features of common blocks are interleaved: a program reads one, and the cache moves all of a sector.
    wasted = min(t.split.common[1], _SECTOR // size)
    x = samples * patterns[1].cols * t.tiles_p * (t.tiles_s if t.tiles_c > 1 else 1)
    y = samples * patterns[0].rows * (1 + schedule.form.residual)
    return Work(2 * programs * t.block_n * each, size * (wasted * (x + y) + programs * each), programs)


def _tiled(patterns: Sequence[Pattern], schedule: Schedule) -> Tiling:
    found = tiling(patterns, schedule)
    assert found is not None, "blocks of the factors nest: fits.check"
    return found
