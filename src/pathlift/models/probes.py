"""Inputs to try two models on: random ones, and those where rounding, clipping and small terms show."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from math import log10
from typing import Any

import numpy as np

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.extents import address
from pathlift.ir.graph import Graph
from pathlift.ir.types import DTYPE_NAMES, Array, TensorType
from pathlift.passes.sizes import Extents, check_sizes, resolve_inputs

Feeds = Mapping[str, Array]
Signature = Mapping[str, tuple[np.dtype[Any], Extents]]
"""Element type and shape of every input, by name."""

_BATCH = 2
_REACH = 6.0
_NATIVE = {"f64", "f32", "f16", "i64", "i32", "i16", "i8", "u64", "u32", "u16", "u8", "bool"}


def signature(graph: Graph, sizes: Mapping[str, int], memory_limit: int) -> Signature:
    """Choose a shape for every input: a first axis that is symbolic or unknown gets 2, others are in `sizes`.

    Raises
    ------
    UnsupportedError
        If an input is no tensor, or of a type that NumPy does not have; names it.
    UsageError
        If an extent is missing, or the model cannot run on these shapes.
    UnsafeModelError
        If a value would take more than `memory_limit` bytes.
    """
    types: dict[str, TensorType] = {}
    for node in map(graph.__getitem__, graph.inputs):
        name, type_ = node.names[0], node.types[0]
        if not isinstance(type_, TensorType) or type_.dtype is None or DTYPE_NAMES[type_.dtype] not in _NATIVE:
            raise UnsupportedError("0395", f"input {name!r} is {type_}, and no values for it can be made with NumPy")
        types[name] = type_
    firsts = {name: type_.shape[0] for name, type_ in types.items() if type_.shape}
    batch = {address(name, 0, dim): _BATCH for name, dim in firsts.items() if not isinstance(dim, int)}
    shapes = resolve_inputs(graph, {**batch, **sizes})
    check_sizes(graph, shapes, memory_limit)
    return {name: (type_.dtype, shapes[name]) for name, type_ in types.items() if type_.dtype is not None}


class Probes:
    """Inputs of one signature, the same for the same seed.

    Floats are scaled from 1e-6 to 1e6, and no further than the square root of what their type holds: what overflows in
    one step says nothing. Integers may be indices, hence 0 or 1; those of eight bits take any value.

    Parameters
    ----------
    signature
        Of the inputs.
    seed
        Of all that is random.
    """

    def __init__(self, signature: Signature, seed: int) -> None:
        self._signature, self._rng = signature, np.random.default_rng(seed)
        ranges = [log10(np.finfo(dtype).max) / 2 for dtype, _ in signature.values() if dtype.kind == "f"]
        self._decades = min([_REACH, *ranges])

    def __iter__(self) -> Iterator[tuple[str, Feeds]]:
        """Yield each kind of input once, with its name."""
        yield "normal", self._feeds(self._rng.standard_normal)
        yield "uniform on [0, 1]", self._feeds(self._rng.random)
        yield "zeros", {name: np.zeros(shape, dtype) for name, (dtype, shape) in self._signature.items()}
        yield "ones", {name: np.ones(shape, dtype) for name, (dtype, shape) in self._signature.items()}
        yield "alternating signs", self._feeds(_alternating)
        yield "one spike per sample", self._feeds(self._spikes)
        yield "channels of different scales", self._feeds(self._channels)
        for third in (1, -1, 2, -2, 3, -3):
            decades = self._decades * third / 3
            yield f"normal × {10**decades:.2g}", self._feeds(functools.partial(self._scaled, decades))

    def near(self, feeds: Feeds) -> Feeds:
        """Return inputs that differ from `feeds` in some elements, and a little in scale."""
        rng, limit = self._rng, 10.0 ** (self._decades + 1)
        moved = {}
        for name, values in feeds.items():
            if values.dtype.kind != "f":
                moved[name] = values
                continue
            wide = values.astype(np.float64)
            chosen = rng.random(wide.shape) < 10.0 ** rng.uniform(-2, 0)
            step = chosen * rng.standard_normal(wide.shape) * (np.abs(wide).max(initial=0.0) or 1.0)
            scale = 10.0 ** rng.uniform(-1, 1)
            moved[name] = np.asarray(np.clip((wide + step) * scale, -limit, limit)).astype(values.dtype)
        return moved

    def nudged(self, feeds: Feeds, step: float) -> Feeds:
        """Return inputs whose every float is larger or smaller by a factor of 1 ± `step`."""
        return {
            name: (x.astype(np.float64) * (1 + step * self._rng.choice([-1.0, 1.0], x.shape))).astype(x.dtype)
            if x.dtype.kind == "f"
            else x
            for name, x in feeds.items()
        }

    def _feeds(self, draw: Callable[[Extents], Any]) -> Feeds:
        return {
            name: np.asarray(draw(shape) if dtype.kind == "f" else self._integers(dtype, shape)).astype(dtype)
            for name, (dtype, shape) in self._signature.items()
        }

    def _scaled(self, decades: float, shape: Extents) -> Array:
        return np.asarray(self._rng.standard_normal(shape) * 10.0**decades)

    def _integers(self, dtype: np.dtype[Any], shape: Extents) -> Array:
        if dtype.kind != "b" and dtype.itemsize == 1:
            limits = np.iinfo(dtype)
            return self._rng.integers(limits.min, limits.max, shape, endpoint=True)
        return self._rng.integers(0, 2, shape)

    def _spikes(self, shape: Extents) -> Array:
        values = np.zeros(shape)
        if values.size:
            samples = values.reshape(shape[0] if shape else 1, -1)
            places = self._rng.integers(0, samples.shape[1], len(samples))
            signs = self._rng.choice([-1.0, 1.0], len(samples))
            samples[np.arange(len(samples)), places] = signs * 10.0 ** (self._decades / 2)
        return values

    def _channels(self, shape: Extents) -> Array:
        axis = min(1, len(shape) - 1)
        scales = 10.0 ** self._rng.uniform(
            -self._decades, self._decades, [n if i == axis else 1 for i, n in enumerate(shape)]
        )
        return self._rng.standard_normal(shape) * scales


def _alternating(shape: Extents) -> Array:
    return np.asarray(1.0 - 2.0 * (np.indices(shape).sum(axis=0) % 2))
