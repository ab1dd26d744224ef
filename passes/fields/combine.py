"""Maps without weights on fields: pools, averages, interpolation, sums, axis by axis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from pathlift.ir.primitives.base import OrderStatistic, SeparableMap
from pathlift.ir.primitives.taps import Taps
from pathlift.ir.types import Array
from pathlift.passes.fields.field import Field, Labels, classes
from pathlift.passes.fields.power import power
from pathlift.passes.fields.scaled import Scaled
from pathlift.passes.fields.semiring import Semiring


def apply_separable(f: SeparableMap, x: Field, semiring: Semiring) -> Field:
    """Apply a map with fixed coefficients (average pool, mean, resize): they are edges too."""
    axes, rank = f.mixed_axes(x.shape), len(f.shape(x.shape, None))
    for axis in axes:
        x = _combined(x, axis % x.rank, f.taps(axis, x.shape[axis]), semiring)
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
    return Field(x.value.moved(lambda t: t.squeeze(axes)), tuple(x.labels[i] for i in kept))


def _combined(x: Field, axis: int, taps: Taps, semiring: Semiring) -> Field:
    sources, coefficients, labels = _tap_classes(x.labels[axis], taps)
    edges = None if coefficients is None else _edges(coefficients, semiring)
    held = x.value.m.shape[axis]
    if sources.shape[1] > held and (edges is None or isinstance(edges.e, int)):
        sources, edges = _merged(sources, edges, held, semiring)  # a class that is read several times is read once
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
    """Powers of fixed coefficients, in float64."""
    edges = power(torch.from_numpy(coefficients), semiring.power, torch.float64)
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
    index = torch.from_numpy(sources.flatten()).to(value.m.device)
    split = (*value.m.shape[:axis], out, k, *value.m.shape[axis + 1 :])
    taken = value.taken(axis, index).moved(lambda t: t.reshape(split))
    if edges is not None:
        along = (out, k, *[1] * (value.rank - axis - 1))
        factors = edges.cast(value.m.dtype).moved(lambda t: t.reshape(along).to(value.m.device))
        taken = taken.times(factors)
    return taken.over(axis + 1, semiring)
