"""Ops that pick elements at constant places: Slice, Split, Gather, and Pad, which also mirrors and repeats them."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from pathlift.frontend.fold import Constant
from pathlift.frontend.lower.families.structure import reshape_target
from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.registry import GIVE_SHAPE, Refusal, lowering, opaque
from pathlift.frontend.lower.rows import Rows
from pathlift.ir.graph import Value
from pathlift.ir.types import Ints

MAX_INDICES = 1_000_000
"""Longer lists of constant indices stay with ONNX: as attributes they would be slow to handle."""
DYNAMIC_INDICES = "data-dependent indices"
END = 2**63 - 1

# Where the value at a position outside 0 … n−1 comes from.
_SOURCES: dict[str, Callable[[int, int], int]] = {
    "reflect": lambda i, n: abs(i) if i < n else 2 * (n - 1) - i,
    "edge": lambda i, n: min(max(i, 0), n - 1),
    "wrap": lambda i, n: i % n,
}

opaque(DYNAMIC_INDICES, "GatherElements", "ScatterElements", "Scatter", "Compress")


@lowering("Slice", takes="movable")
def slice_(node: OnnxNode) -> Operand:
    """Ranges along axes; an end that is the input's own unknown extent is no bound."""
    x, reason = node.input(0), "its bounds are computed from data"
    if node.version < 10:
        starts, ends, steps = node.integers("starts"), node.integers("ends"), None
        axes = node.axes(None)
    else:
        starts, axes = node.settled(1, reason), node.axes(3)
        steps = node.settled(4, reason) if node.optional(4) is not None else None
        ends = _ends(node, x, axes)
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(axes) == len(starts) == len(ends) == len(steps) or 0 in steps:
        raise Refusal("its starts, ends, axes and steps do not fit each other")
    if any(a < 0 for a in axes):
        axes = tuple(node.axis(a, len(node.dims(x))) for a in axes)
    return node.result("Slice", x, axes=axes, starts=starts, ends=ends, steps=steps)


def _ends(node: OnnxNode, x: Operand, axes: Ints | None) -> Ints:
    reason = "its bounds are computed from data"
    ends = node.extents(2)
    if ends is None or all(isinstance(e, int) for e in ends):
        return node.settled(2, reason)
    dims = node.dims(x)
    axes = tuple(range(len(ends))) if axes is None else axes
    known = [
        e if isinstance(e, int) else END if e is not None and dims[a] == e else None
        for e, a in zip(ends, axes, strict=True)
    ]
    if None in known:
        raise Refusal(reason)
    return tuple(e for e in known if e is not None)


@lowering("Split", takes="movable")
def split(node: OnnxNode) -> tuple[Value, ...]:
    """Consecutive parts, given as an attribute or an input, or equal ones."""
    x, dims = node.input(0), node.dims(node.input(0))
    axis = node.axis(node.integer("axis"), len(dims))
    parts = node.axes(1, "split")
    if parts is None:
        size, count = dims[axis], node.integer("num_outputs", len(node.names))
        if not isinstance(size, int):
            raise Refusal("an unknown extent is split", GIVE_SHAPE)
        if count != len(node.names):
            raise Refusal(f"{count} parts for {len(node.names)} outputs")
        if node.version < 18 and size % count:
            raise ValueError(f"an extent of {size} does not split into {count} equal parts")
        part = -(-size // count)
        parts = (part,) * (count - 1) + (size - part * (count - 1),)
    if len(parts) != len(node.names) or min(parts) < 0 or (isinstance(dims[axis], int) and sum(parts) != dims[axis]):
        raise Refusal(f"parts {list(parts)} of an extent of {dims[axis]}")
    return node.results("Split", x, axis=axis, parts=parts)


@lowering("Gather", takes="movable")
def gather(node: OnnxNode) -> Operand:
    """Constant indices of any rank along one axis."""
    x, indices, axis = node.input(0), node.input(1), node.integer("axis")
    if isinstance(indices, Value) and (rows := node.lowerer.rows.get(indices)) is not None:
        return _strided(node, rows)
    if not isinstance(indices, Constant):
        embedding = "embedding lookup: " if isinstance(x, Constant) else ""
        raise Refusal(f"{embedding}{DYNAMIC_INDICES}")
    dims, shape = node.dims(x), indices.param.shape
    if prod(shape) > MAX_INDICES:
        raise Refusal(f"more than {MAX_INDICES} indices")
    axis = node.axis(axis, len(dims))
    picked, size = indices.ints(), dims[axis]
    if isinstance(size, int):
        picked = [i + size if i < 0 else i for i in picked]
    elif min(picked, default=0) < 0:
        raise Refusal("a negative index into an unknown extent", GIVE_SHAPE)
    attrs = {"axis": axis, "indices": tuple(picked)}
    if len(shape) == 1:
        return node.result("Gather", x, **attrs)
    if not shape:
        return node.result("Squeeze", node.emit("Gather", x, **attrs), axes=(axis,))
    target = reshape_target((*dims[:axis], *shape, *dims[axis + 1 :]), kept=axis)
    return node.result("Reshape", node.emit("Gather", x, **attrs), shape=target)


def _strided(node: OnnxNode, rows: Rows) -> Operand:
    """Constant places within each sample, where the whole batch is flat: how PyTorch spells strided views."""
    flat = node.producer(0)
    if flat is None or flat.node.domain or flat.op_type != "Reshape" or len(node.dims(node.input(0))) != 1:
        raise Refusal(DYNAMIC_INDICES)
    x = flat.input(0)
    batch, *rest = node.dims(x)
    size = prod(d if isinstance(d, int) else 0 for d in rest)
    inside = 0 < rows.first.size <= MAX_INDICES and rows.first.min() >= 0 and rows.first.max() < size
    if (batch, size) != (rows.count, rows.step) or not inside:
        raise Refusal(DYNAMIC_INDICES)
    samples = node.emit("Flatten", x, axis=1)
    picked = node.emit("Gather", samples, axis=1, indices=tuple(rows.first.reshape(-1).tolist()))
    return node.result("Reshape", picked, shape=(0, *rows.first.shape))


@lowering("Pad")
def pad(node: OnnxNode) -> Operand:
    """Pad both ends of axes."""
    x = node.input(0)
    rank = len(node.dims(x))
    begins, ends, value = amounts(node, rank)
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


def amounts(node: OnnxNode, rank: int) -> tuple[Ints, Ints, float]:
    """Return the pads at the begin and at the end of every axis, and the value."""
    reason = "its pads or its value are computed from data"
    if node.version < 11:
        pads, value, axes = node.integers("pads"), node.real("value", 0.0), None
    else:
        pads, value, axes = node.settled(1, reason), node.scalar(2, 0.0, reason), node.axes(3)
    axes = tuple(range(rank)) if axes is None else tuple(node.axis(a, rank) for a in axes)
    if len(pads) != 2 * len(axes):
        raise Refusal(f"{len(pads)} pads for {len(axes)} axes")
    begins, ends = dict(zip(axes, pads, strict=False)), dict(zip(axes, pads[len(axes) :], strict=True))
    return tuple(begins.get(a, 0) for a in range(rank)), tuple(ends.get(a, 0) for a in range(rank)), value


def _indices(node: OnnxNode, x: Operand, axis: int, mode: str, begin: int, end: int) -> Ints:
    size = node.dims(x)[axis]
    if not isinstance(size, int):
        raise Refusal(f"mode {mode} along an axis of unknown extent", GIVE_SHAPE)
    if size == 0 or (mode == "reflect" and max(begin, end) >= size):
        raise Refusal(f"mode {mode} wider than the input")
    return tuple(_SOURCES[mode](i, size) for i in range(-begin, size + end))
