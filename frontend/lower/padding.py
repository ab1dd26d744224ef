"""Pad in all its modes: constants are appended, mirrored and repeated values are gathered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pathlift.frontend.lower.node import Ints, OnnxNode, Operand
from pathlift.frontend.lower.registry import Refusal, lowering

if TYPE_CHECKING:
    from pathlift.ir.graph import Value

# Where the value at a position outside 0 … n−1 comes from.
_SOURCES: dict[str, Callable[[int, int], int]] = {
    "reflect": lambda i, n: abs(i) if i < n else 2 * (n - 1) - i,
    "edge": lambda i, n: min(max(i, 0), n - 1),
    "wrap": lambda i, n: i % n,
}


@lowering("Pad")
def pad(node: OnnxNode) -> Operand:
    """Pad both ends of axes."""
    x = node.input(0)
    rank = len(node.dims(x))
    begins, ends, value = _amounts(node, rank)
    mode = node.text("mode", "constant")
    if mode == "constant":
        return node.result("Pad", x, pads=(*begins, *ends), value=value)
    if mode not in _SOURCES or min(*begins, *ends, 0) < 0:
        raise Refusal(f"mode {mode}" if mode not in _SOURCES else f"cropping in mode {mode}")
    changed = [axis for axis in range(rank) if begins[axis] or ends[axis]]
    for axis in changed:
        indices = _indices(node, x, axis, mode, begins[axis], ends[axis])
        x = (node.result if axis == changed[-1] else node.emit)("Gather", x, axis=axis, indices=indices)
    return x


def _amounts(node: OnnxNode, rank: int) -> tuple[Ints, Ints, float]:
    """Return the pads at the begin and at the end of every axis, and the value."""
    reason = "its pads or its value are computed from data"
    if node.version < 11:
        pads, value, axes = node.integers("pads"), node.real("value", 0.0), None
    else:
        pads, value, axes = node.settled(1, reason), node.scalar(2, 0.0, reason), node.axes(3)
    axes = tuple(range(rank)) if axes is None else tuple(a % max(rank, 1) for a in axes)
    if len(pads) != 2 * len(axes):
        raise Refusal(f"{len(pads)} pads for {len(axes)} axes")
    begins, ends = dict(zip(axes, pads, strict=False)), dict(zip(axes, pads[len(axes) :], strict=True))
    return tuple(begins.get(a, 0) for a in range(rank)), tuple(ends.get(a, 0) for a in range(rank)), value


def _indices(node: OnnxNode, x: Operand | Value, axis: int, mode: str, begin: int, end: int) -> Ints:
    size = node.dims(x)[axis]
    if not isinstance(size, int):
        raise Refusal(f"mode {mode} along an axis of unknown extent", "give the input's shape")
    if size == 0 or (mode == "reflect" and max(begin, end) >= size):
        raise Refusal(f"mode {mode} wider than the input")
    return tuple(_SOURCES[mode](i, size) for i in range(-begin, size + end))
