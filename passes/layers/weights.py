"""Weights that a rewrite may read, and new ones in the element type of the old."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array, Param, is_float


def constant(graph: Graph, value: Value | None) -> Param | None:
    """Return the parameter of real numbers that a value is; ``None`` if it is none, or a caller may replace it."""
    param = None if value is None else graph[value.node].value
    if value is None or param is None or not is_float(param.dtype):
        return None
    # Before version 4 every parameter had to be an input, so that being one says nothing.
    overridable = graph.info.ir_version != 3 and graph.name_of(value) in graph.info.overridable
    return None if overridable else param


def rounded(values: Array, dtype: np.dtype[Any]) -> Array | None:
    """Return float64 values in an element type; ``None`` if one overflows, or loses more than a rounding."""
    with np.errstate(over="ignore", invalid="ignore"):
        stored = values.astype(dtype)
        error = np.abs(stored.astype(np.float64) - values)
        fits = np.isfinite(values) & (error <= epsilon(dtype) * np.abs(values))
    return stored if fits.all() else None


def epsilon(dtype: np.dtype[Any]) -> float:
    """Distance from 1 to the next larger number of an element type: twice the relative error of a rounding."""
    return float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]  # ml_dtypes has no types for it
