"""Assumptions of templates about patterns and schedules, checked before anything is rendered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pathlift.codegen import boxes, chains
from pathlift.codegen.architectures import ARCHITECTURES
from pathlift.codegen.schedule import Schedule
from pathlift.ir.errors import UsageError
from pathlift.ir.kronecker import Pattern

MOST = 2**31
"""Offsets within a tile, and of weights, are 32-bit numbers."""
MOST_REGISTERS = 176
"""Of a thread, for tiles: a thread has 255, and needs the others for addresses."""
MOST_SHARED = max(architecture.shared for architecture in ARCHITECTURES.values())
"""Bytes of shared memory of a program, on the cards that have most of it."""
LARGEST = 2**20
"""Elements of a tile, for Triton."""
MOST_HELD = 128
"""Products that a thread keeps in registers; twice as many spill."""


def check(patterns: Sequence[Pattern], schedule: Schedule) -> None:
    """Refuse a schedule that does not fit.

    Raises
    ------
    UsageError
        Says what does not fit.
    """
    if reason := misfit(patterns, schedule):
        text = "".join(map(str, patterns))
        raise UsageError("1435", f"template {schedule.template!r} does not fit {text}: {reason}")


def misfit(patterns: Sequence[Pattern], schedule: Schedule) -> str:
    """Return what does not fit; empty if all does."""
    expected = 2 if schedule.template == "chain" else 1
    if len(patterns) != expected:
        return f"it takes {expected} factor{'s' * (expected > 1)}, not {len(patterns)}"
    if schedule.block_n * max(p.cols for p in patterns) >= MOST or schedule.block_n * patterns[0].rows >= MOST:
        return "a tile of samples spans 2³¹ elements"
    if sum(p.size for p in patterns) * schedule.group >= MOST:
        return "the weights are 2³¹ elements"
    if schedule.descriptors and (reason := boxes.misfit(patterns[0], schedule)):
        return reason
    rule = _RULES.get(schedule.template)
    return rule(patterns, schedule) if rule else "there is no such template"


def _smallest_k(schedule: Schedule) -> int:
    """The least inner extent of a product of tensor cores' tiles."""
    return 8 if schedule.form.itemsize == 4 else 16


def _tensor_cores(p: Pattern, s: Schedule) -> str:
    if p.d % s.group:
        return f"{s.group} neighbours do not divide d = {p.d}"
    if s.block_k < _smallest_k(s):
        return f"a product needs {_smallest_k(s)} inputs at least"
    return ""


def _dot(patterns: Sequence[Pattern], s: Schedule) -> str:
    (p,) = patterns
    if reason := _tensor_cores(p, s):
        return reason
    if s.group > 1 and s.form.precision == "ieee" and s.form.itemsize == 4:
        return "explicit zeros would turn what is not finite into NaN, which ieee rules out"
    return ""


def _chain(patterns: Sequence[Pattern], s: Schedule) -> str:
    if (s.form.reads, s.form.writes) != ("rows", "rows"):
        return "it reads and writes rows of samples, and no features first"
    if s.group > 1 or s.weights_left or s.descriptors:
        return "it has no groups, no weights on the left, and no descriptors"
    tiles = chains.tiling(patterns, s)
    if tiles is None:
        return "the blocks of the two factors do not nest"
    if tiles.inner * s.block_k < _smallest_k(s):
        return f"a product needs {_smallest_k(s)} inputs at least, not {tiles.inner}·{s.block_k}"
    if max(tiles.weights) >= MOST:
        return "the weights are 2³¹ elements, with their padding"
    room = chains.room(patterns, s)
    if room.registers > MOST_REGISTERS:
        return f"its tiles take {room.registers} registers per thread, of {MOST_REGISTERS}"
    if room.shared > MOST_SHARED:
        return f"its tiles take {room.shared} bytes of shared memory, of {MOST_SHARED}"
    return ""


def _batched(patterns: Sequence[Pattern], s: Schedule) -> str:
    if s.group < 2 or s.group & (s.group - 1):
        return f"a group of {s.group} is no batch, which holds 2, 4, 8, … neighbours"
    if s.form.reads == s.form.writes == "features":
        return "neighbours lie apart in features, where 'dot' computes one at a time"
    return _tensor_cores(patterns[0], s)


def _decode(patterns: Sequence[Pattern], s: Schedule) -> str:
    if s.group & (s.group - 1):
        return f"{s.group} neighbours are no power of two"
    if s.block_n * s.group * s.block_p * s.block_k > MOST_HELD * 32 * s.warps:
        return f"each thread would hold more than {MOST_HELD} products"
    return _no_choice(s)


def _gradient(patterns: Sequence[Pattern], s: Schedule) -> str:
    (p,) = patterns
    if s.group & (s.group - 1) or p.d % s.group:
        return f"{s.group} neighbours are no power of two that divides d = {p.d}"
    if s.block_n < _smallest_k(s):
        return f"a product needs {_smallest_k(s)} samples at least"
    if s.group * max(s.block_n * s.block_p, s.block_n * s.block_k, s.block_p * s.block_k) > LARGEST:
        return f"a tile holds more than {LARGEST} elements"
    if s.form.bias or s.form.residual or s.form.activation:
        return "a gradient has no epilogue"
    return _no_choice(s)


def _no_choice(s: Schedule) -> str:
    """Refuse what a template would silently leave undone."""
    return "it has no descriptors, and weights on neither side" if s.descriptors or s.weights_left else ""


_RULES: dict[str, Callable[[Sequence[Pattern], Schedule], str]] = {
    "dot": _dot,
    "batched": _batched,
    "chain": _chain,
    "decode": _decode,
    "gradient": _gradient,
}
