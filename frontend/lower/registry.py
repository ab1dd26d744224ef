"""The registry of lowerings, one per ONNX operator."""

from __future__ import annotations

from collections.abc import Callable, Collection
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
    """A lowering.

    Parameters
    ----------
    lower
        The function.
    takes
        What its first operand may hold: ``real`` numbers, ``movable`` elements, or ``any`` value.
    ignores
        Attributes that change nothing of what it reads.
    """

    lower: Lowering
    takes: Takes
    ignores: frozenset[str]


LOWERINGS: dict[str, Rule] = {}
REASONS: dict[str, str] = {}
"""Why operators without a lowering stay opaque, where there is more to say than that."""


def lowering(*op_types: str, takes: Takes = "real", ignores: Collection[str] = ()) -> Callable[[Lowering], Lowering]:
    """Register the decorated function as the lowering of these operators; ``domain.Op`` if the domain is not ONNX's.

    It returns one operand per output of the ONNX node, or raises `Refusal`. An attribute of the node that it neither
    reads nor ignores is refused: it may mean something.

    Parameters
    ----------
    *op_types
        The operators.
    takes
        What the first operand may hold: ``real`` numbers, ``movable`` elements (not strings), or ``any`` value.
    ignores
        Attributes that change nothing of what the function reads.
    """

    def register(function: Lowering) -> Lowering:
        for op_type in op_types:
            assert op_type not in LOWERINGS, op_type
            LOWERINGS[op_type] = Rule(function, takes, frozenset(ignores))
        return function

    return register


def opaque(reason: str, *op_types: str) -> None:
    """Say why these operators have no lowering."""
    REASONS.update(dict.fromkeys(op_types, reason))
