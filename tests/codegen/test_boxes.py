"""Boxes and batches, and the schedules that they fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pathlift.codegen.boxes import boxes
from pathlift.codegen.fits import misfit
from pathlift.codegen.schedule import Form, Schedule
from pathlift.ir.kronecker import Pattern

BATCHED = Schedule("batched", Form(), 64, 32, 16, group=4, descriptors=True)
DOT = Schedule("dot", Form(), 64, 32, 16, descriptors=True)
HALF = Form("float16", "ieee")


@pytest.mark.parametrize(
    "pattern, schedule, how, reason",
    [
        (Pattern(2, 5, 6, 8), BATCHED, {}, ""),
        (Pattern(2, 5, 6, 12), BATCHED, {}, ""),
        (Pattern(2, 5, 6, 6), BATCHED, {"group": 2}, "not a multiple of 16 bytes"),
        (Pattern(2, 5, 6, 8), BATCHED, {"group": 2}, "8 bytes, below 16"),
        (Pattern(2, 5, 6, 12), BATCHED, {"form": HALF}, "not a multiple of 16 bytes"),
        (Pattern(2, 5, 6, 8), BATCHED, {"block_n": 512}, "512 wide, beyond 256"),
        (Pattern(2, 5, 6, 8), BATCHED, {"form": Form(writes="features")}, "x and y in rows"),
        (Pattern(2, 8, 12, 1), DOT, {}, ""),
        (Pattern(2, 4, 6, 2), DOT, {"group": 2}, ""),
        (Pattern(2, 8, 12, 2), DOT, {}, "all 2 of a group"),
        (Pattern(2, 8, 6, 1), DOT, {}, "6 elements of x"),
        (Pattern(2, 6, 8, 1), DOT, {}, "6 elements of y"),
        (Pattern(2, 8, 12, 1), DOT, {"block_p": 2}, "rows of a box of y are 8 bytes"),
    ],
)
def test_what_fits_boxes(pattern: Pattern, schedule: Schedule, how: dict[str, Any], reason: str) -> None:
    found = misfit((pattern,), replace(schedule, **how))
    assert reason in found
    assert bool(reason) == bool(found)


@pytest.mark.parametrize(
    "how, reason",
    [
        ({"group": 1}, "no batch"),
        ({"group": 6}, "no batch"),
        ({"group": 8}, "do not divide"),
        ({"block_k": 4}, "a product needs"),
        ({"form": Form(reads="features", writes="features")}, "'dot'"),
    ],
)
def test_what_fits_batches(how: dict[str, Any], reason: str) -> None:
    assert reason in misfit((Pattern(2, 5, 6, 12),), replace(BATCHED, **{"descriptors": False} | how))


def test_boxes_hold_one_block() -> None:
    assert boxes(Pattern(2, 5, 6, 8), BATCHED)["x"] == ((2, 6, 8), (1, 2, 0, 3), (1, 16, 64, 4))
    assert boxes(Pattern(2, 8, 12, 1), DOT)["y"] == ((2, 8), (0, 1, 2), (64, 1, 32))
