"""Blocks of rows: all of a tensor, once, and no more at a time than asked for."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from pathlift.ir.rows import blocks, rows_of
from pathlift.ir.types import Param

SHAPES = [(), (0,), (7,), (5, 3), (3, 0), (4, 2, 3), (1, 40)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("at_once", [1, 6, 1000])
def test_blocks_are_all_rows_once(shape: tuple[int, ...], at_once: int) -> None:
    met, row = np.zeros(shape, int), prod(shape[1:])
    for rows in blocks(shape, at_once):
        met[rows] += 1
        assert met[rows].size <= max(at_once, row)
    assert (met == 1).all()


def test_rows_of_what_broadcasts() -> None:
    rows, whole = slice(1, 3), np.arange(12).reshape(4, 3)
    assert rows_of(whole, rows, 2).tolist() == whole[1:3].tolist()
    for x in (whole[:1], np.arange(3), np.array(5)):  # every row reads all of it
        assert rows_of(x, rows, 2) is x
    assert rows_of(np.arange(4), rows, 1).tolist() == [1, 2]
    assert rows_of(np.array(5), (), 0) == 5


@pytest.mark.parametrize("shape", [*SHAPES, (300, 700)], ids=str)
@pytest.mark.parametrize("stride", [1, 3, 64, 100_003])
def test_every_so_many_elements(shape: tuple[int, ...], stride: int) -> None:
    values = np.arange(prod(shape), dtype=np.float32).reshape(shape)
    for param in (Param.of(values), Param.by_rows(values.dtype, shape, lambda rows: values[rows])):
        found = param.every(stride)
        assert found.dtype == values.dtype
        assert found.tolist() == values.reshape(-1)[::stride].tolist()
