"""Boxes of x and y that the tensor memory accelerator of Hopper and newer moves between memory and the chip.

The descriptors of tensors are made by the launcher, on the host, rather than by each of thousands of programs: a kernel
then takes them in place of pointers, and needs no memory to write them to. What a box overruns is read as zeros and is
not written, for each dimension alone. So the blocks of a pattern are a dimension, and no box reaches into the next one.
"""

from __future__ import annotations

from pathlift.codegen.schedule import Schedule
from pathlift.ir.kronecker import Pattern

LINE = 16
"""Bytes: addresses and strides are multiples of it, and the rows of a box are as long at least."""
WIDEST = 256
"""The largest extent of a box."""
Box = tuple[list[int], list[int]]


def boxes(pattern: Pattern, schedule: Schedule) -> dict[str, Box]:
    """Return for x and y, in rows, the extents of a sample, and those of a box, whose first is of samples."""
    a, b, c, d = pattern
    features = {"x": (c, schedule.block_k), "y": (b, schedule.block_p)}
    if schedule.template == "batched":
        return {
            name: ([a, extent, d], [schedule.block_n, 1, tile, schedule.group])
            for name, (extent, tile) in features.items()
        }
    return {name: ([a, extent * d], [schedule.block_n, 1, tile]) for name, (extent, tile) in features.items()}


def misfit(pattern: Pattern, schedule: Schedule) -> str:
    """Return why tiles cannot be moved as boxes; empty if they can."""
    size = schedule.form.itemsize
    if schedule.template not in ("dot", "batched"):
        return "it has no descriptors"
    if schedule.form.reads != "rows" or schedule.form.writes != "rows":
        return "descriptors are of x and y in rows"
    if schedule.template == "dot" and schedule.group != pattern.d:
        return f"a box holds features that are neighbours in memory: all {pattern.d} of a group"
    for name, (shape, box) in boxes(pattern, schedule).items():
        if shape[-1] * size % LINE:
            return f"the {shape[-1]} neighbours in memory of {name} are not a multiple of {LINE} bytes"
        if box[-1] * size < LINE:
            return f"the rows of a box of {name} are {box[-1] * size} bytes, below {LINE}"
        if max(box) > WIDEST:
            return f"a box of {name} is {max(box)} wide, beyond {WIDEST}"
    return ""
