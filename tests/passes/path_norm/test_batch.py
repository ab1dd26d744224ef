"""Batches of fixed extent are told from axes whose rows have to do with each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Value
from pathlift.passes.path_norm.path_norm import PathNorm

Start = Callable[..., tuple[Builder, Value]]


@pytest.mark.parametrize(
    ("rows", "batch"), [((0, 1), True), ((0, 0), False), ((1, 1), False), ((1, 0), False)], ids=str
)
def test_samples_that_others_reach_are_no_batch(start: Start, rows: tuple[int, int], batch: bool) -> None:
    """All rows of the output have the norm 3, whichever row of the input each is."""
    b, x = start(2, 3)
    result = PathNorm().run(b.finish(b.op("Gather", x, axis=0, indices=rows)))
    assert result.norms[0].value == (3.0 if batch else 6.0)
    assert ("is read as a batch" in result.assumptions[0]) == batch


@pytest.mark.parametrize("factor", [1.0, 1.0 + 2.0**-30, -1.0, 0.0])
def test_rows_of_other_norms_are_no_batch_however_little_they_differ(start: Start, factor: float) -> None:
    b, x = start(2, 3)
    result = PathNorm().run(b.finish(b.op("Mul", x, b.param([[1.0], [factor]]))))
    assert result.norms[0].value == (3.0 if abs(factor) == 1 else 3.0 + 3 * factor)


def test_extents_that_differ_are_no_batch(start: Start) -> None:
    b, x = start(2, 3)
    y = b.input("y", (3, 2), "f64")
    assert PathNorm().run(b.finish(b.op("Relu", x), b.op("Relu", y))).norms[0].value == 12.0


def test_an_output_without_the_batch_is_none_of_one(start: Start) -> None:
    b, x = start(2, 3)
    summed = b.op("ReduceSum", x, axes=(0,), keepdims=False)
    assert PathNorm().run(b.finish(b.op("Relu", x), summed)).norms[0].value == 12.0
