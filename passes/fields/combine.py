"""Maps without weights on fields: pools, averages, interpolation, sums, axis by axis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives import OrderStatistic, SeparableMap
from pathlift.ir.taps import Taps
from pathlift.ir.types import Array
from pathlift.passes.fields.bits import EMPTY, pow2
from pathlift.passes.fields.field import Field, Labels, classes
from pathlift.passes.fields.power import power
from pathlift.passes.fields.scaled import Scaled, fits
from pathlift.passes.fields.semiring import Semiring

_VANISHING = -500
"""A coefficient this many octaves below the largest one of its map is no longer told from zero."""


def apply_separable(f: SeparableMap, x: Field, semiring: Semiring) -> Field:
    """Apply a map with fixed coefficients (average pool, mean, resize): they are edges too.

    Raises
    ------
    UnsupportedError
        If powers of the coefficients differ by more than the format holds.
    """
    axes, rank = f.mixed_axes(x.shape), len(f.shape(x.shape, None))
    for axis in axes:
        x = _combined(x, axis, f.taps(axis, x.shape[axis]), semiring)
    return _squeezed(x, axes, rank)


def apply_pools(s: OrderStatistic, x: Field, semiring: Semiring) -> Field:
    """Replace every output of an order statistic by its whole pool (padding excluded)."""
    axes, rank = s.mixed_axes(x.rank), len(s.shape(x.shape))
    for axis in axes:
        x = _combined(x, axis, Taps(s.pools(axis, x.shape[axis])), semiring)
    return _squeezed(x, axes, rank)


def _squeezed(x: Field, axes: tuple[int, ...], rank: int) -> Field:
    """Drop reduced axes, if the result is to have fewer."""
    if x.rank == rank:
        return x
    kept = [i for i in range(x.rank) if i not in axes]
    e = x.value.e if isinstance(x.value.e, int) else x.value.e.squeeze(axes)
    return Field(replace(x.value, m=x.value.m.squeeze(axes), e=e), tuple(x.labels[i] for i in kept))


def _combined(x: Field, axis: int, taps: Taps, semiring: Semiring) -> Field:
    sources, coefficients, labels = _tap_classes(x.labels[axis], taps)
    edges = None if coefficients is None else _edges(coefficients, semiring)
    held = x.value.m.shape[axis]
    if sources.shape[1] > held:  # some class is read several times: once, and as often, is less work
        sources, edges = _merged(sources, edges, held, semiring)
    value = _applied(x.value, axis, sources, edges, semiring)
    return Field(value, tuple(labels if i == axis else s for i, s in enumerate(x.labels)))


def _tap_classes(labels: Labels, taps: Taps) -> tuple[Array, Array | None, Labels]:
    """The distinct rows of taps in terms of the input's classes, and the class of each output position."""
    sources, coefficients = taps.sources, taps.coefficients
    if labels is not None:
        sources = np.where(sources < 0, -1, labels[sources])
    if len(taps.sources) > 1 and taps.sources.strides[0] == 0:  # all outputs read the same
        return sources[:1], None, np.zeros(len(sources), np.int64)
    if coefficients is None:
        rows, found = classes(sources)
        return rows, None, found
    rows, found = classes(np.concatenate([sources, coefficients], 1))
    k = sources.shape[1]
    return rows[:, :k].astype(np.int64), rows[:, k:], found


def _edges(coefficients: Array, semiring: Semiring) -> Scaled:
    """Powers of fixed coefficients, in float64 under one exponent."""
    edges = power(torch.from_numpy(coefficients), semiring.power, torch.float64)
    if not isinstance(edges.e, int):
        present = edges.e[edges.e > EMPTY // 2]
        top = int(present.max())
        if int(present.min()) - top < _VANISHING:
            reason = f"the coefficients of this map vanish at q = {semiring.power:g}"
            raise UnsupportedError("0317", reason, hint="a smaller q")
        edges = Scaled.of(edges.m * pow2(edges.e - top, torch.float64), top, edges.roundings)
    return replace(edges.settled(), roundings=edges.roundings + 8 + int(semiring.power))


def _merged(sources: Array, edges: Scaled | None, held: int, semiring: Semiring) -> tuple[Array, Scaled]:
    """Edges from one class to one output, combined."""
    weights = np.ones(sources.shape) if edges is None else edges.m.numpy()
    matrix = np.zeros((len(sources), held + 1))
    semiring.ufunc.at(matrix, (np.arange(len(sources))[:, None], sources), weights)  # −1 is the last column
    roundings = (edges.roundings if edges else 0) + semiring.additions(sources.shape[1])
    merged = Scaled.of(torch.from_numpy(matrix[:, :held]), 0 if edges is None else edges.e, roundings)
    return np.broadcast_to(np.arange(held), (len(sources), held)), merged


def _applied(value: Scaled, axis: int, sources: Array, edges: Scaled | None, semiring: Semiring) -> Scaled:
    out, k = sources.shape
    dtype, device = value.m.dtype, value.m.device
    index = torch.from_numpy(sources.flatten()).to(device)

    def combined(v: Scaled) -> torch.Tensor:
        taken = v.taken(axis, index).m
        taken = taken.reshape(*taken.shape[:axis], out, k, *taken.shape[axis + 1 :])
        if edges is not None:
            taken = taken * edges.m.to(taken).reshape(out, k, *[1] * (v.rank - axis - 1))
        return semiring.over(taken, axis + 1)

    low, high, shift = (edges.low, edges.high, edges.e) if edges is not None else (0, 0, 0)
    assert isinstance(shift, int)
    roundings = value.roundings + semiring.additions(k) + (edges.roundings + 2 if edges is not None else 0)
    for _ in range(2):
        bounds = value.low + low, value.high + high + semiring.growth(k)
        if isinstance(value.e, int) and fits(dtype, *bounds):
            return Scaled(combined(value), value.e + shift, roundings, *bounds)
        value = value.settled()
    # In float64 also for float32 mantissas, whose range the coefficients could leave.
    value = value.spread().aligned([axis]).normalized()
    y = Scaled(combined(replace(value, m=value.m.double())), value.exponents() + shift).normalized()
    return Scaled(y.m.to(dtype), y.e, roundings + 1).normalized().compact()
