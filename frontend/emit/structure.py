"""Rearrangements: what the IR holds as attributes, ONNX reads as inputs."""

from __future__ import annotations

from math import copysign

from pathlift.frontend.emit.values import onnx_dtype
from pathlift.frontend.emit.writer import EmissionSite, emits
from pathlift.ir.types import DTYPES, Ints


@emits("Cast")
def cast(at: EmissionSite, x: str, *, to: str) -> None:
    """ONNX numbers its types."""
    at.emit("Cast", x, to=onnx_dtype(DTYPES[to]))


@emits("Reshape", "Expand")
def to_shape(at: EmissionSite, x: str, *, shape: Ints) -> None:
    """The shape is an input."""
    at.emit(at.node.op, x, at.ints(shape, "shape"))


@emits("Squeeze", "Unsqueeze")
def change_rank(at: EmissionSite, x: str, *, axes: Ints) -> None:
    """The axes are an input; left out, those of a Squeeze would be all of extent 1."""
    at.emit(at.node.op, x, at.ints(axes, "axes"))


@emits("Slice")
def slice_(at: EmissionSite, x: str, *, axes: Ints, starts: Ints, ends: Ints, steps: Ints) -> None:
    """Four inputs; steps of one are left out."""
    unit = all(s == 1 for s in steps)
    at.emit(
        "Slice",
        x,
        at.ints(starts, "starts"),
        at.ints(ends, "ends"),
        at.ints(axes, "axes"),
        "" if unit else at.ints(steps, "steps"),
    )


@emits("Gather")
def gather(at: EmissionSite, x: str, *, axis: int, indices: Ints) -> None:
    """The indices are an input."""
    at.emit("Gather", x, at.ints(indices, "indices"), axis=axis)


@emits("Split")
def split(at: EmissionSite, x: str, *, axis: int, parts: Ints) -> None:
    """The extents are an input."""
    at.emit("Split", x, at.ints(parts, "parts"), axis=axis)


@emits("Pad")
def pad(at: EmissionSite, x: str, *, pads: Ints, value: float) -> None:
    """A constant of zero is left out."""
    at.emit("Pad", x, at.ints(pads, "pads"), at.scalar(value, "value") if value or copysign(1, value) < 0 else "")


@emits("Tile")
def tile(at: EmissionSite, x: str, *, repeats: Ints) -> None:
    """The repeats are an input."""
    at.emit("Tile", x, at.ints(repeats, "repeats"))
