"""Differences of two arrays of any elements: real numbers, integers, Booleans, texts."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from pathlift.ir.types import DTYPE_NAMES, Array, is_float
from pathlift.report.sameness import Difference

_KINDS = {"i": "integers", "u": "integers", "b": "Booleans", "U": "texts", "S": "texts", "O": "texts"}


@dataclass(frozen=True)
class Limits:
    """The largest relative differences that count as none.

    Parameters
    ----------
    real
        Of real numbers.
    discrete
        Of all else.
    """

    real: float
    discrete: float = 0.0

    def of(self, array: object) -> float:
        """Return the limit for an array."""
        return self.real if _kind(array) == "real numbers" else self.discrete


def is_comparable(a: object, b: object) -> bool:
    """Return whether two values are arrays of one kind of elements and of one shape."""
    return not _misfit(a, b)


def difference(a: object, b: object) -> Difference:
    """Compare two values elementwise; NaN equals NaN, and an infinity itself.

    The absolute difference is max|a − b|, the relative one max|a − b| / max|a| over what is finite in a. Both are ∞ if
    one value is NaN or infinite where the other is not, if texts differ, or if there is nothing to compare elementwise.

    Parameters
    ----------
    a, b
        What two models return: arrays. Formats of real numbers may differ, and widths of integers. Real numbers are
        subtracted in float64, integers exactly.
    """
    if reason := _misfit(a, b):
        return Difference(inf, inf, reason=reason)
    x, y = np.asarray(a), np.asarray(b)
    if not x.size:
        return Difference(0.0, 0.0)
    kind = _kind(x)
    if kind == "real numbers":
        distances, size = _real(x.astype(np.float64), y.astype(np.float64))
    elif kind == "texts":
        distances, size = np.where(x.astype(str) == y.astype(str), 0.0, inf), 1.0
    else:
        distances, size = _integers(x, y)
    index = np.unravel_index(int(np.argmax(distances)), x.shape)
    largest = float(distances[index])
    if not largest:
        return Difference(0.0, 0.0)
    place = tuple(map(int, index))
    return Difference(largest, largest / size if size else inf, place, (x[index].item(), y[index].item()))


def _kind(value: object) -> str:
    if not isinstance(value, np.ndarray):
        return ""
    real = value.dtype in DTYPE_NAMES and is_float(value.dtype)
    return "real numbers" if real else _KINDS.get(value.dtype.kind, "")


def _misfit(a: object, b: object) -> str:
    """Why two values cannot be compared elementwise; empty if they can."""
    ours, theirs = _kind(a), _kind(b)
    if not ours or not theirs:
        return "one of them is no tensor"
    if ours != theirs:
        return f"one holds {ours}, the other {theirs}"
    first, second = np.asarray(a).shape, np.asarray(b).shape
    return "" if first == second else f"shapes are {list(first)} and {list(second)}"


def _real(x: Array, y: Array) -> tuple[Array, float]:
    with np.errstate(invalid="ignore", over="ignore"):
        distances = np.abs(x - y)
    distances[(x == y) | (np.isnan(x) & np.isnan(y))] = 0.0  # two infinities have no difference
    distances[np.isnan(distances)] = inf
    return distances, float(np.abs(x[np.isfinite(x)]).max(initial=0.0))


def _integers(x: Array, y: Array) -> tuple[Array, float]:
    """Subtract integers exactly: as numbers without sign, modulo 2^64, the larger minus the smaller is what it is."""
    size = max(abs(int(x.max())), abs(int(x.min())))
    common = np.promote_types(x.dtype, y.dtype)
    if common.kind == "f":  # of 64 bits, with and without a sign
        distances = np.abs(x.astype(object) - y.astype(object))
    else:
        ours, theirs = x.astype(common), y.astype(common)
        distances = np.maximum(ours, theirs).astype(np.uint64) - np.minimum(ours, theirs).astype(np.uint64)
    return distances.astype(np.float64), float(size)
