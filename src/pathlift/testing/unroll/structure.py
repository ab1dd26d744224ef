"""Rearrangements: index arrays, no neurons."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from pathlift.ir.types import Array
from pathlift.testing.unroll.net import Ints, Net, Signal


def reshaped(a: Array, shape: Ints) -> Array:
    return a.reshape([a.shape[i] if t == 0 else t for i, t in enumerate(shape)])


def flattened(a: Array, axis: int) -> Array:
    return a.reshape(prod(a.shape[:axis]), prod(a.shape[axis:]))


def sliced(a: Array, axes: Ints, starts: Ints, ends: Ints, steps: Ints) -> Array:
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        # ONNX clamps: an end far below −extent means "through the first element" when walking backwards.
        stop = None if step < 0 and end < -a.shape[axis] else end
        a = np.moveaxis(np.moveaxis(a, axis, 0)[start:stop:step], 0, axis)
    return a


def split(net: Net, x: Signal, *, axis: int = 0, parts: Ints) -> list[Signal]:
    cuts = np.cumsum(parts)[:-1]
    pieces = zip(np.split(x.ids, cuts, axis), np.split(x.coef, cuts, axis), strict=True)
    return [Signal(ids, coef) for ids, coef in pieces]


def concat(net: Net, *xs: Signal, axis: int) -> Signal:
    return Signal(np.concatenate([x.ids for x in xs], axis), np.concatenate([x.coef for x in xs], axis))


def pad(net: Net, x: Signal, *, pads: Ints, value: float = 0.0) -> Signal:
    n = len(x.shape)
    x = x.view(lambda a: a[tuple(slice(max(0, -b), s - max(0, -e)) for s, b, e in zip(a.shape, pads[:n], pads[n:], strict=True))])  # fmt: skip  # noqa: E501
    widths = [(max(0, b), max(0, e)) for b, e in zip(pads[:n], pads[n:], strict=True)]
    return Signal(np.pad(x.ids, widths, constant_values=net.ONE), np.pad(x.coef, widths, constant_values=value))


def view(f: Callable[..., Array]) -> Callable[..., Signal]:
    return lambda net, x, **attrs: x.view(lambda a: f(a, **attrs))
