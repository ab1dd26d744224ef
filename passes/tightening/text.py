"""Boxes of inputs as text: ``x=0:1;z=-1:1``, or ``0:1`` for every element of every input."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

import torch

from pathlift.ir.errors import UsageError
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.sizes import Extents

_HINT = "domain='x=0:1;z=-1:1', or '0:1' for all inputs"


def read_box(text: str, shapes: Mapping[str, Extents]) -> Domain:
    """Read a box.

    Parameters
    ----------
    text
        One interval for all inputs, or one for each of them, separated by semicolons.
    shapes
        Of the inputs, by name, as `pathlift.passes.sizes.resolve_inputs` returns them.

    Raises
    ------
    UsageError
        PL1474, if the text is no box; PL1476, if it is not one of these inputs.
    """
    items = [item.strip() for item in text.split(";") if item.strip()]
    sides: dict[str, tuple[float, float]] = {}
    for item in items:
        name, equals, interval = item.rpartition("=")
        if name in sides or (not equals and len(items) > 1):
            raise UsageError("1474", f"the domain {text!r} says {item!r} beside other things", hint=_HINT)
        sides[name] = _interval(interval)
    if not sides:
        raise UsageError("1474", "tightening needs a domain of the inputs", hint=_HINT)
    if "" in sides:
        sides = dict.fromkeys(shapes, sides[""])
    check_inputs(sides, shapes)
    ends = [
        {n: torch.full((1, *shape[1:]), sides[n][i], dtype=torch.float64) for n, shape in shapes.items()}
        for i in (0, 1)
    ]
    return Domain(ends[0], ends[1])


def check_inputs(named: Mapping[str, object], shapes: Mapping[str, Extents]) -> None:
    """Check that a domain is one of these inputs.

    Raises
    ------
    UsageError
        PL1476, if one is missing, or there is no such input.
    """
    if missing := [name for name in shapes if name not in named]:
        raise UsageError("1476", f"the domain says nothing of input {missing[0]!r}", hint=_HINT)
    if unknown := [name for name in named if name not in shapes]:
        raise UsageError("1476", f"there is no input {unknown[0]!r}", hint=f"inputs: {', '.join(shapes)}")


def _interval(text: str) -> tuple[float, float]:
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        raise UsageError("1474", f"{text!r} is no interval", hint=_HINT) from None
    if not (isfinite(low) and isfinite(high) and low <= high):
        raise UsageError("1474", f"{text!r} is no finite interval", hint=_HINT)
    return low, high
