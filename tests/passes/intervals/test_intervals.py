"""Steps that are not affine, over boxes."""

from __future__ import annotations

from fractions import Fraction
from math import inf

import pytest
import torch

from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.intervals import bilinear_box, intervals
from pathlift.passes.tape.steps import Bilinear, Within
from pathlift.passes.tape.tape import Tape


def box(low: object, high: object) -> Box:
    return Box(*(torch.as_tensor(x, dtype=torch.float64) for x in (low, high)))


def inner(n: int) -> Bilinear:
    return Bilinear("p", (0, 1), ((n,), (n,)), (1,), lambda x, y: (x * y).sum(-1, keepdim=True), n)


def test_sums_of_products_in_which_float64_loses_something() -> None:
    for x, y in (([1e16, 1.0, -1e16], [1.0, 1.0, 1.0]), ([0.1] * 1000, [0.1] * 1000), ([5e-324] * 9, [0.5] * 9)):
        exact = sum((Fraction(a) * Fraction(b) for a, b in zip(x, y, strict=True)), Fraction(0))
        for found in (
            bilinear_box(inner(len(x)), box(x, x), box(y, y)),
            bilinear_box(inner(len(x)), box(y, y), box(x, x)),
        ):
            assert found.low.item() <= exact <= found.high.item()


def test_sums_of_products_reach_their_corners() -> None:
    step, x = inner(2), box([0.0, 0.0], [2.0, 2.0])
    assert bilinear_box(step, x, x).high.item() == pytest.approx(8.0)
    assert bilinear_box(step, box([-2.0, -2.0], [2.0, 2.0]), x).low.item() == pytest.approx(-8.0)


def test_unbounded_operands_leave_products_unknown() -> None:
    tape = Tape({"x": (2,), "y": (2,)}, (inner(2),), {"z": 2})
    found = intervals(tape, [box([0.0, 0.0], [inf, 1.0])] * 2)[-1]
    assert (found.low.item(), found.high.item()) == (-inf, inf)


def test_theorems_bound_what_boxes_do_not() -> None:
    tape = Tape({"x": (2,)}, (Within("w", (0,), ((2,),), (2,), 0.0, 1.0),), {"y": 1})
    found = intervals(tape, [box([-inf, 0.25], [0.5, 2.0])])[-1]
    assert found.low.tolist() == [0.0, 0.25]
    assert found.high.tolist() == [0.5, 1.0]
