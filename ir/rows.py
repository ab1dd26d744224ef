"""Rows of a tensor, in blocks: what acts on elements alone is computed block by block, not all at once."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from numpy.typing import NDArray

Rows = slice | tuple[()] | NDArray[Any]
"""Some rows, as an index along the first axis; ``()`` is all of a tensor without axes."""

AT_ONCE = 2**16
"""Elements of a block: few enough for a processor's cache in float64, enough for numpy not to notice."""


def blocks(shape: tuple[int, ...], at_once: int = AT_ONCE) -> Iterator[slice | tuple[()]]:
    """Cut a tensor into blocks of rows of about `at_once` elements, but at least a row."""
    if not shape:
        yield ()
        return
    step = max(1, at_once * shape[0] // max(1, prod(shape)))
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def rows_of(x: NDArray[Any], rows: Rows, rank: int) -> NDArray[Any]:
    """Return those rows of an array that broadcasts to a tensor of this rank."""
    selected: NDArray[Any] = x[rows] if x.ndim == rank and rank and x.shape[0] > 1 else x
    return selected
