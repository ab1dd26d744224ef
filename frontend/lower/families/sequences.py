"""Sequences that are put together and taken apart at constant positions: their elements are operands as any other.

A node that makes a sequence is carried, and what its elements are is remembered (`Lowerer.sequences`); one that takes
elements out of it reads these, so that the sequence is dead, unless something else needs it.
"""

from __future__ import annotations

from itertools import accumulate

from pathlift.frontend.fold import Constant
from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.registry import GIVE_SHAPE, Refusal, lowering
from pathlift.ir.types import Ints, Param

Elements = tuple[Operand, ...]
MOST_PARTS = 10_000


def _made(node: OnnxNode, elements: Elements) -> Operand:
    """Carry the node, and remember what its sequence consists of."""
    node.require_read()
    (sequence,) = node.lowerer.opaque(node, "a sequence is no tensor")
    node.lowerer.sequences[sequence] = elements
    return sequence


def _elements(node: OnnxNode) -> Elements:
    """Return the elements of the first operand."""
    x = node.input(0)
    if isinstance(x, Constant) or x not in node.lowerer.sequences:
        raise Refusal("a sequence whose elements are not known")
    return node.lowerer.sequences[x]


def _position(node: OnnxNode, slot: int, count: int, *, most: int | None = None) -> int:
    """Return a constant position among `count` ones, or up to `most`; it may count from the end."""
    (position,) = node.settled(slot, "a position that is computed from data")
    if not -count <= position <= (count - 1 if most is None else most):
        raise Refusal(f"position {position} of {count}")
    return position + count if position < 0 else position


@lowering("SequenceConstruct", "SequenceEmpty", takes="any")
def sequence_construct(node: OnnxNode) -> Operand:
    """Its operands."""
    return _made(node, tuple(x for x in node.operands if x is not None))


@lowering("SplitToSequence", takes="movable", ignores=["keepdims"])
def split_to_sequence(node: OnnxNode) -> Operand:
    """The parts of a Split: of the given sizes, of one size (the last may be smaller), or of one element each."""
    x, dims, given = node.input(0), node.dims(node.input(0)), node.optional(1)
    axis = node.integer("axis") % max(len(dims), 1)
    parts = (1,) if given is None else node.settled(1, "its parts are computed from data")
    if given is None or not node.type(given).shape:
        if not isinstance(size := dims[axis], int):
            raise Refusal("an unknown extent is split", GIVE_SHAPE)
        if parts[0] < 1 or size > parts[0] * MOST_PARTS:
            raise Refusal(f"an extent of {size} in parts of {parts[0]}")
        parts = tuple(min(parts[0], size - start) for start in range(0, size, parts[0]))
    pieces = _parted(node, x, axis, parts)
    if given is None and not node.integer("keepdims", 1):
        pieces = tuple(_without(node, piece, axis) for piece in pieces)
    return _made(node, pieces)


def _parted(node: OnnxNode, x: Operand, axis: int, parts: Ints) -> Elements:
    if not isinstance(x, Constant):
        names = [node.fresh(f"part{i}") for i in range(len(parts))]
        attrs = {"axis": axis, "parts": parts}
        return node.lowerer.emit(node.node, "Split", (x,), names, attrs, last=False)
    before, after = x.param.shape[:axis], x.param.shape[axis + 1 :]
    if sum(parts) != x.param.shape[axis]:
        raise Refusal(f"parts {list(parts)} of an extent of {x.param.shape[axis]}")
    places = [(slice(None),) * axis + (slice(end - n, end),) for n, end in zip(parts, accumulate(parts), strict=True)]
    return tuple(
        node.derive(x, "part", lambda a, at=at: a[at], (*before, n, *after), axis, at[-1].start)  # type: ignore[misc] # mypy cannot infer a lambda's default
        for n, at in zip(parts, places, strict=True)
    )


def _without(node: OnnxNode, x: Operand, axis: int) -> Operand:
    if not isinstance(x, Constant):
        return node.emit("Squeeze", x, axes=(axis,))
    return node.reshaped(x, (*x.param.shape[:axis], *x.param.shape[axis + 1 :]))


@lowering("SequenceInsert", takes="any")
def sequence_insert(node: OnnxNode) -> Operand:
    """One more element, at the end if no position is given."""
    elements = _elements(node)
    end = len(elements)
    at = end if node.optional(2) is None else _position(node, 2, end, most=end)
    return _made(node, (*elements[:at], node.input(1), *elements[at:]))


@lowering("SequenceErase", takes="any")
def sequence_erase(node: OnnxNode) -> Operand:
    """One element less, the last if no position is given."""
    elements = _elements(node)
    at = len(elements) - 1 if node.optional(1) is None else _position(node, 1, len(elements))
    return _made(node, (*elements[:at], *elements[at + 1 :]))


@lowering("SequenceAt", takes="any")
def sequence_at(node: OnnxNode) -> Operand:
    """One of the elements."""
    elements = _elements(node)
    return elements[_position(node, 1, len(elements))]


@lowering("SequenceLength", takes="any")
def sequence_length(node: OnnxNode) -> Operand:
    """How many there are."""
    return Constant(node.names[0], Param.of(len(_elements(node)), "i64"))


@lowering("ConcatFromSequence", takes="any")
def concat_from_sequence(node: OnnxNode) -> Operand:
    """All elements, joined, along a new axis if asked for."""
    elements, axis = _elements(node), node.integer("axis")
    if not elements:
        raise Refusal("an empty sequence is joined")
    if node.integer("new_axis"):
        axis %= len(node.dims(elements[0])) + 1
        elements = tuple(node.emit("Unsqueeze", x, axes=(axis,)) for x in elements)
    return elements[0] if len(elements) == 1 else node.result("Concat", *elements, axis=axis)
