"""Draws that random nodes are made of: numbers, shapes and axes; and the register of what makes the nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pathlift.ir.types import Array
from pathlift.testing.onnx_models import f32

Rng = np.random.Generator


class Case(NamedTuple):
    """A node: its operands, its attributes, the names of its outputs, and which operand the graph takes."""

    operands: Sequence[Array | None]
    attributes: dict[str, Any] = {}  # noqa: RUF012 (read only)
    outputs: Sequence[str] = ("y0",)
    slot: int = 0


Maker = Callable[[Rng, int], Case]
MAKERS: dict[str, Maker] = {}


def makes(*op_types: str) -> Callable[[Maker], Maker]:
    """Register the decorated function as what makes nodes of these operators, at a given opset."""

    def register(maker: Maker) -> Maker:
        MAKERS.update(dict.fromkeys(op_types, maker))
        return maker

    return register


def ints(rng: Rng, low: int, high: int, n: int) -> list[int]:
    """Return `n` integers, `high` included."""
    return [int(v) for v in rng.integers(low, high + 1, n)]


def one(rng: Rng, *choices: Any) -> Any:
    """Return one of the choices."""
    return choices[int(rng.integers(len(choices)))]


def tensor(rng: Rng, rank: int | None = None, low: int = 1) -> Array:
    """Return a tensor of up to four small axes, at least `low` of them."""
    rank = int(rng.integers(low, 5)) if rank is None else rank
    return f32(rng, *ints(rng, 1, 4, rank))


def broadcast(rng: Rng, shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape that broadcasts against this one."""
    kept = shape[int(rng.integers(0, len(shape) + 1)) :]
    return tuple(one(rng, 1, d, d) for d in kept)


def axis_of(rng: Rng, rank: int) -> int:
    """Return an axis, counted from either end."""
    return int(rng.integers(-rank, rank))


def axes_of(rng: Rng, rank: int, fewest: int = 0) -> list[int]:
    """Return distinct axes, in any order and counted from either end."""
    picked = rng.permutation(rank)[: int(rng.integers(fewest, rank + 1))]
    return [int(a) - rank * int(rng.integers(2)) for a in picked]


def axes_given(opset: int, since: int, axes: list[int]) -> tuple[list[Any], dict[str, Any]]:
    """Return axes as an operand, which they are from opset `since` on, or as an attribute."""
    return ([np.array(axes, np.int64)], {}) if opset >= since else ([], {"axes": axes} if axes else {})
