"""The registry of lowerings, one per ONNX operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from pathlift.frontend.lower.node import OnnxNode, Operand

Takes = Literal["real", "movable", "any"]
Lowering = Callable[["OnnxNode"], "Operand | tuple[Operand, ...]"]


GIVE_SHAPE = "--shape gives the extents of inputs; load(file, shapes={…}) fixes them"
"""What helps where an unknown extent is all that is in the way."""


class Refusal(Exception):  # noqa: N818 (no error: it never leaves the lowering)
    """A node stays opaque.

    Parameters
    ----------
    reason
        One clause that says why.
    hint
        What the user can do about it.
    """

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


class Rule(NamedTuple):
    """A lowering, and what its first operand may hold: ``real`` numbers, ``movable`` elements, or ``any``."""

    lower: Lowering
    takes: Takes


LOWERINGS: dict[str, Rule] = {}
REASONS: dict[str, str] = {}
"""Why operators without a lowering stay opaque, where there is more to say than that."""


def lowering(*op_types: str, takes: Takes = "real") -> Callable[[Lowering], Lowering]:
    """Register the decorated function as the lowering of these operators; ``domain.Op`` if the domain is not ONNX's.

    It returns one operand per output of the ONNX node, or raises `Refusal`.

    Parameters
    ----------
    *op_types
        The operators.
    takes
        What the first operand may hold: ``real`` numbers, ``movable`` elements (not strings), or ``any`` value.
    """

    def register(function: Lowering) -> Lowering:
        for op_type in op_types:
            assert op_type not in LOWERINGS, op_type
            LOWERINGS[op_type] = Rule(function, takes)
        return function

    return register


def opaque(reason: str, *op_types: str) -> None:
    """Say why these operators have no lowering."""
    REASONS.update(dict.fromkeys(op_types, reason))
