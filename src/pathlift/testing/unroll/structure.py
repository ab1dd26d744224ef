"""Rearrangements: index arrays, no neurons."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from pathlift.ir.types import Array, Ints
from pathlift.testing.unroll.net import Net, Signal


def _reshaped(a: Array, shape: Ints) -> Array:
    return a.reshape([a.shape[i] if t == 0 else t for i, t in enumerate(shape)])


def _flattened(a: Array, axis: int) -> Array:
    return a.reshape(prod(a.shape[:axis]), prod(a.shape[axis:]))


def _sliced(a: Array, axes: Ints, starts: Ints, ends: Ints, steps: Ints) -> Array:
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        # ONNX clamps: an end far below −extent means "through the first element" when walking backwards.
        stop = None if step < 0 and end < -a.shape[axis] else end
        a = np.moveaxis(np.moveaxis(a, axis, 0)[start:stop:step], 0, axis)
    return a


def _split(net: Net, x: Signal, *, axis: int = 0, parts: Ints) -> list[Signal]:
    cuts = np.cumsum(parts)[:-1]
    pieces = zip(np.split(x.ids, cuts, axis), np.split(x.coef, cuts, axis), strict=True)
    return [Signal(ids, coef) for ids, coef in pieces]


def _concat(net: Net, *xs: Signal, axis: int) -> Signal:
    return Signal(np.concatenate([x.ids for x in xs], axis), np.concatenate([x.coef for x in xs], axis))


def _pad(net: Net, x: Signal, *, pads: Ints, value: float = 0.0) -> Signal:
    n = len(x.shape)
    pairs = list(zip(pads[:n], pads[n:], strict=True))
    crop = tuple(slice(max(0, -b), size - max(0, -e)) for size, (b, e) in zip(x.shape, pairs, strict=True))
    x, widths = x.view(lambda a: a[crop]), [(max(0, b), max(0, e)) for b, e in pairs]
    return Signal(np.pad(x.ids, widths, constant_values=net.ONE), np.pad(x.coef, widths, constant_values=value))


def _view(f: Callable[..., Array]) -> Callable[..., Signal]:
    return lambda net, x, **attrs: x.view(lambda a: f(a, **attrs))


RULES: dict[str, Callable[..., Any]] = {
    "Identity": lambda net, x: x,
    "Cast": lambda net, x, *, to: x,
    "Reshape": _view(_reshaped),
    "Flatten": _view(lambda a, axis=1: _flattened(a, axis)),
    "Transpose": _view(lambda a, perm: a.transpose(perm)),
    "Squeeze": _view(lambda a, axes: np.squeeze(a, axes)),
    "Unsqueeze": _view(lambda a, axes: np.expand_dims(a, axes)),
    "Slice": _view(_sliced),
    "Gather": _view(lambda a, axis=0, indices=(): a.take(indices, axis)),
    "Split": _split,
    "Concat": _concat,
    "Pad": _pad,
    "Expand": _view(lambda a, shape: np.broadcast_to(a, np.broadcast_shapes(a.shape, shape))),
    "Tile": _view(lambda a, repeats: np.tile(a, repeats)),
}
