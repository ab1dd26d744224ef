"""Tapes that agree step by step, and those that do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.views import Pad, Transpose
from pathlift.passes.tape.affine import Moved, Sum
from pathlift.passes.tape.steps import Within
from pathlift.passes.tape.tape import Tape, check_agreement

CPU = torch.device("cpu")


def test_values_are_numbered_after_the_inputs() -> None:
    tape = Tape({"x": (2,), "y": (2,)}, (Sum("s", (0, 1), ((2,), (2,)), (2,)),), {"z": 2})
    assert [i for i, _ in tape.numbered()] == [2]
    assert tape.shapes == [(2,)] * 3
    assert tape.run([torch.ones(2), torch.ones(2)])[2].tolist() == [2.0, 2.0]


def test_tapes_differ_in_numbers_alone() -> None:
    added = Sum("s", (0, 1), ((2, 2), (2, 2)), (2, 2))
    moved = Moved("m", (2,), ((2, 2),), (2, 2), Transpose((0, 1)), CPU)
    held = Within("w", (3,), ((2, 2),), (2, 2), 0.0, 1.0)
    tape = Tape({"x": (2, 2), "y": (2, 2)}, (added, moved, held), {"z": 4})
    check_agreement(tape, tape)
    check_agreement(tape, replace(tape, inputs={"x": (2, 2), "y": (2, 2)}))
    for other in (
        replace(tape, steps=(replace(added, inputs=(1, 1)), moved, held)),
        replace(tape, steps=(added, replace(moved, view=Transpose((1, 0))), held)),
        replace(tape, steps=(added, replace(moved, view=Pad((0, 0, 0, 0), 1.0)), held)),
        replace(tape, steps=(added, moved, replace(held, high=2.0))),
        replace(tape, steps=(added, moved)),
        replace(tape, steps=(added, held, moved)),
        replace(tape, inputs={"x": (2, 2)}),
        replace(tape, outputs={"z": 3}),
    ):
        with pytest.raises(UnsupportedError, match="PL1369"):
            check_agreement(tape, other)
