"""Boxes of x and y that the tensor memory accelerator of Hopper and newer moves between memory and the chip.

Descriptors of tensors are made by the launcher, on the host, rather than by each of thousands of programs: a kernel
takes them in place of pointers, and needs no memory to write them to. What a box overruns is read as zeros and is not
written, for each dimension alone. So the blocks of a pattern are a dimension, and no box reaches into the next one.
"""

from __future__ import annotations

from typing import NamedTuple

from pathlift.codegen.schedule import Schedule
from pathlift.ir.kronecker import Pattern

LINE = 16
"""Bytes: addresses and strides are multiples of it, and the rows of a box are as long at least."""
WIDEST = 256
"""The largest extent of a box."""


class Box(NamedTuple):
    """How an operand in rows is cut: a sample has these extents, its axes after that of samples are put in an order."""

    sample: tuple[int, ...]
    order: tuple[int, ...]
    tile: tuple[int, ...]


def boxes(pattern: Pattern, schedule: Schedule) -> dict[str, Box]:
    """Return the boxes of x and y."""
    a, b, c, d = pattern
    n, sides = schedule.block_n, {"x": (c, schedule.block_k), "y": (b, schedule.block_p)}
    if schedule.template == "batched":
        # Samples are next to neighbours: threads of a warp read eight samples each, from different banks.
        g, order = schedule.group, (1, 2, 0, 3)
        return {name: Box((a, extent, d), order, (1, t, n, g)) for name, (extent, t) in sides.items()}
    return {name: Box((a, extent * d), (0, 1, 2), (n, 1, t)) for name, (extent, t) in sides.items()}


def misfit(pattern: Pattern, schedule: Schedule) -> str:
    """Return why tiles cannot be moved as boxes; empty if they can."""
    size = schedule.form.itemsize
    if schedule.template not in ("dot", "batched"):
        return "it has no descriptors"
    if schedule.form.reads != "rows" or schedule.form.writes != "rows":
        return "descriptors are of x and y in rows"
    if schedule.template == "dot" and schedule.group != pattern.d:
        return f"a box holds features that are neighbours in memory: all {pattern.d} of a group"
    for name, box in boxes(pattern, schedule).items():
        if box.sample[-1] * size % LINE:
            return f"{box.sample[-1]} elements of {name}, neighbours in memory, are not a multiple of {LINE} bytes"
        if box.tile[-1] * size < LINE:
            return f"rows of a box of {name} are {box.tile[-1] * size} bytes, below {LINE}"
        if max(box.tile) > WIDEST:
            return f"a box of {name} is {max(box.tile)} wide, beyond {WIDEST}"
    return ""
