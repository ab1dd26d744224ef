"""The meaning of a model on every float, not on the reals alone: what reading it must keep, and what it need not.

Infinities, NaN, signed zeros, subnormal and huge numbers are fed to a model and to what it was turned into; an axis
that a symbol measures is empty, too.

>>> import numpy as np
>>> from pathlift.testing.ieee import difference
>>> difference(np.float32([0.0, 1.0]), np.float32([0.0, np.nan]))
'NaN'
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pathlift.ir.types import Array, float_limits, is_float

ODD = (np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-40, -1e-40, 3e38, -3e38, 1.5, -1.5, 0.5, -2.5, 2.0)

NAN, INFINITY, ROUNDING, ZERO = "NaN", "infinity", "rounding", "sign of zero"
"""In what two results differ."""
_MAXIMUM = "ONNX does not say what the maximum of NaN and a number is"
_ZEROS = "IEEE has no larger one of 0 and −0"
NOT_KEPT: dict[str, tuple[set[str], str]] = {
    "Celu": ({INFINITY, ROUNDING, ZERO}, "it is an Elu of x/alpha, times alpha, each of which may leave the range"),
    "Clip": ({INFINITY}, "a bound that is left out bounds nothing, where ONNX has the largest finite number"),
    "GlobalMaxPool": ({NAN}, _MAXIMUM),
    "Max": ({ZERO}, _ZEROS),
    "MaxPool": ({NAN}, _MAXIMUM),
    "Min": ({ZERO}, _ZEROS),
    "Selu": ({ZERO}, "ONNX Runtime's Elu and Selu differ there"),
    "Where": ({ZERO}, "ONNX Runtime's Where makes −0 a 0"),
}
"""ONNX operators whose lowering does not keep everything: what may differ (NaN: all that it takes part in), and why."""


def odd_feeds(
    feeds: Mapping[str, Array], shapes: Mapping[str, Sequence[Any]], seed: int = 0
) -> Iterator[dict[str, Array]]:
    """Yield feeds like these: all odd, some odd but not NaN, and for each declared symbol, empty where it measures."""
    rng = np.random.default_rng(seed)
    yield {name: _odd(x, rng, ODD, 1.0) for name, x in feeds.items()}
    yield {name: _odd(x, rng, ODD[1:], 0.2) for name, x in feeds.items()}
    for symbol in sorted({d for shape in shapes.values() for d in shape if isinstance(d, str)}):
        empty = {name: tuple(slice(0 if d == symbol else None) for d in shape) for name, shape in shapes.items()}
        yield {name: x[empty.get(name, ())] for name, x in feeds.items()}


def _odd(x: Array, rng: np.random.Generator, numbers: Sequence[float], share: float) -> Array:
    if not is_float(x.dtype):
        return x
    with np.errstate(all="ignore"):
        odd = np.array(numbers).astype(x.dtype)
    return np.where(rng.random(x.shape) < share, rng.choice(odd, x.shape), x)


def assert_kept(before: Any, after: Any, feeds: Mapping[str, Array], op_types: Iterable[str]) -> None:
    """Assert that two ONNX Runtime sessions agree on feeds, except in what the lowering of these operators may change.

    Feeds that the first cannot run have no meaning to keep.
    """
    may_differ = {what for op_type in op_types if op_type in NOT_KEPT for what in NOT_KEPT[op_type][0]}
    if NAN in may_differ and any(is_float(x.dtype) and np.isnan(x).any() for x in feeds.values()):
        return
    try:
        expected = before.run(None, dict(feeds))
    except Exception:  # ONNX Runtime's own errors have no base
        return
    for y, wanted in zip(after.run(None, dict(feeds)), expected, strict=True):
        what = difference(y, wanted)
        assert not what or what in may_differ, f"{what}: {feeds}\n{y}\nis not\n{wanted}"


def difference(actual: Array, expected: Array) -> str:
    """Return in what two results differ that no rounding explains; empty if in nothing."""
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return f"{actual.dtype}{list(actual.shape)}"
    if not is_float(expected.dtype):
        return "" if np.array_equal(actual, expected) else "value"
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    limits = float_limits(expected.dtype)
    with np.errstate(all="ignore"):
        tolerance = 1024 * float(limits.eps) * np.abs(b) + 32 * float(limits.smallest_subnormal)
        finite, apart = np.isfinite(a) & np.isfinite(b), np.abs(a - b) > tolerance
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return NAN
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return INFINITY
    if (apart & finite).any():
        return ROUNDING
    return ZERO if (np.signbit(a) != np.signbit(b))[(a == 0) & (b == 0)].any() else ""
