"""Ops that rearrange elements and compute nothing."""

from __future__ import annotations

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.errors import GraphError
from pathlift.ir.ops.registry import op
from pathlift.ir.primitives import views
from pathlift.ir.primitives.reshapes import Flatten, Reshape
from pathlift.ir.types import Ints


@op("Identity")
def identity(alg: Algebra[T], x: T) -> T:
    """Its input; dropout at inference time is one."""
    return x


@op("Cast")
def cast(alg: Algebra[T], x: T, *, to: str) -> T:
    """Another floating-point format; read as the same real number."""
    return alg.move((x,), views.Cast(to))


@op("Reshape")
def reshape(alg: Algebra[T], x: T, *, shape: Ints) -> T:
    """Row-major reshape; 0 copies the input's extent, −1 is inferred."""
    return alg.move((x,), Reshape(shape))


@op("Flatten")
def flatten(alg: Algebra[T], x: T, *, axis: int = 1) -> T:
    """Two axes: those before axis, and the rest."""
    return alg.move((x,), Flatten(axis))


@op("Transpose")
def transpose(alg: Algebra[T], x: T, *, perm: Ints) -> T:
    """Permutation of axes."""
    return alg.move((x,), views.Transpose(perm))


@op("Squeeze")
def squeeze(alg: Algebra[T], x: T, *, axes: Ints) -> T:
    """Drop axes of extent 1."""
    return alg.move((x,), views.Squeeze(axes))


@op("Unsqueeze")
def unsqueeze(alg: Algebra[T], x: T, *, axes: Ints) -> T:
    """Insert axes of extent 1."""
    return alg.move((x,), views.Unsqueeze(axes))


@op("Slice")
def slice_(alg: Algebra[T], x: T, *, axes: Ints, starts: Ints, ends: Ints, steps: Ints) -> T:
    """x[start:end:step] along axes."""
    return alg.move((x,), views.Slice(axes, starts, ends, steps))


@op("Gather")
def gather(alg: Algebra[T], x: T, *, axis: int = 0, indices: Ints) -> T:
    """Constant, non-negative indices along an axis."""
    return alg.move((x,), views.Take(axis, indices))


@op("Split")
def split(alg: Algebra[T], x: T, *, axis: int = 0, parts: Ints) -> tuple[T, ...]:
    """Consecutive parts along an axis, one output each; together they are the whole axis."""
    if not parts:
        raise GraphError("0538", "a Split needs at least one part")
    return tuple(alg.move((x,), v) for v in views.split_slices(axis, parts))


@op("Concat")
def concat(alg: Algebra[T], x: T, *rest: T, axis: int) -> T:
    """Join along an axis."""
    return alg.move((x, *rest), views.Concat(axis))


@op("Pad")
def pad(alg: Algebra[T], x: T, *, pads: Ints, value: float = 0.0) -> T:
    """Pad every axis with a constant (crop, where negative): all begins, then all ends."""
    return alg.move((x,), views.Pad(pads, value))


@op("Expand")
def expand(alg: Algebra[T], x: T, *, shape: Ints) -> T:
    """Broadcast against a constant shape."""
    return alg.move((x,), views.Expand(shape))


@op("Tile")
def tile(alg: Algebra[T], x: T, *, repeats: Ints) -> T:
    """Repeat along every axis."""
    return alg.move((x,), views.Tile(repeats))
