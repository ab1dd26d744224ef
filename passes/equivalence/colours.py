"""Colour refinement of the neurons of two networks at once: neurons that correspond always have the same colour.

A neuron's colour is refined by the colours of what it is computed from and of what is computed from it, and by sums of
the weights in between, each times a random number that depends on the other neuron's colour. Sums are real numbers:
they are sorted, for both networks together, and neurons are told apart only where there is a gap between two neighbours
that rounding cannot explain. Neurons that correspond are therefore never told apart, whatever lies between.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from pathlift.ir.rows import blocks, rows_of
from pathlift.ir.types import Array, Param
from pathlift.passes.equivalence.matched_graph import MatchedGraph
from pathlift.passes.equivalence.network import Flow, Network, Weights

COLOURS_SUMMED = (None, 64, 16, 16, 4, 4)
"""How many colours of other neurons each sum is over: many weights' rounding errors hide what tells sums apart."""
SLACK = 4.0
"""Weights are off by up to the tolerance, and as much again through the factors that canonical forms divide by."""


@dataclass(frozen=True, eq=False)
class _Sums:
    """Weights between neurons, ready to be summed.

    Parameters
    ----------
    weights, sizes
        Of either network: per sum, the weights, with axes of extent 1 for taps; and what their errors are relative to,
        signs apart. The same array where both are the same.
    times, over
        As in `Weights`, of the same rank as the arrays.
    """

    weights: tuple[tuple[Array, ...], ...]
    sizes: tuple[tuple[Array, ...], ...]
    times: Array
    over: Array | None


class Refinement:
    """Refines colours of the neurons of two networks.

    Parameters
    ----------
    network
        The neurons, of both.
    a, b
        The weights.
    tolerance
        How well they are known, relative to their sizes.
    """

    def __init__(self, network: Network, a: MatchedGraph, b: MatchedGraph, tolerance: float) -> None:
        self.network, self.tolerance = network, SLACK * tolerance
        self.steps = [step if isinstance(step, Flow) else _prepared(step, (a, b)) for step in network.steps]
        self.initial = np.stack([network.origin, network.origin])

    def refined(self, colours: Array) -> Array | int:
        """Refine colours until nothing changes.

        Parameters
        ----------
        colours
            Integers, ``(2, neurons)``: of the first network's neurons, and of the second's.

        Returns
        -------
        Array or int
            The colours; or a neuron of the first network that has no counterpart in the second.
        """
        palette, before = _Palette(colours.astype(np.int64)), 0
        while before < (distinct := palette.distinct):
            before = distinct
            for sweep in (self._forward, self._backward):
                sweep(palette)
                if (lost := palette.unmatched()) is not None:
                    return lost
        # As many of each in either network.
        return np.searchsorted(np.unique(palette.colours[0]), palette.colours).astype(np.int32)

    def _forward(self, palette: _Palette) -> None:
        for step in self.steps:
            if isinstance(step, Flow):
                palette.split_by_neighbours(step.target, step.source, step.role)
            else:
                palette.split_by_sums(step, step.times, step.over, self.tolerance)

    def _backward(self, palette: _Palette) -> None:
        for step in reversed(self.steps):
            if isinstance(step, Flow):
                palette.split_by_neighbours(step.source, step.target, step.role)
            elif step.over is not None:
                palette.split_by_sums(step, step.over, step.times, self.tolerance)


class _Palette:
    """The colours of neurons, in two rows."""

    def __init__(self, colours: Array) -> None:
        self.colours = colours
        self.next = int(colours.max(initial=-1)) + 1

    @property
    def distinct(self) -> int:
        """How many colours there are."""
        ordered = np.sort(self.colours, axis=None)
        return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + bool(ordered.size)

    def unmatched(self) -> int | None:
        """The first neuron of the first network whose colour is not as frequent in the second."""
        if np.array_equal(*np.sort(self.colours)):
            return None
        distinct, inverse = np.unique(self.colours, return_inverse=True)
        a, b = inverse.reshape(self.colours.shape)
        ours, theirs = (np.bincount(row, minlength=distinct.size) for row in (a, b))
        wrong = np.flatnonzero(ours[a] != theirs[a])
        return int(wrong[0]) if wrong.size else None

    def split_by_neighbours(self, neurons: Array, others: Array, roles: Array) -> None:
        """Tell neurons apart by the colours of others, role by role."""
        distinct, inverse = np.unique(neurons, return_inverse=True)
        sums = np.zeros((2, distinct.size), np.uint64)
        for row in range(2):
            np.add.at(sums[row], inverse, _hash(self.colours[row][others], roles))
        self._split(distinct, sums, None)

    def split_by_sums(self, sums: _Sums, neurons: Array, others: Array | None, tolerance: float) -> None:
        """Tell neurons apart by sums of weights."""
        distinct = np.unique(neurons)
        for k in range(len(COLOURS_SUMMED)):
            noise = (None, None) if others is None else _noise(self.colours[:, others], k)
            totals = np.stack([_summed(sums.weights[row][k], neurons, noise[row]) for row in range(2)])
            sizes = np.stack([_summed(sums.sizes[row][k], neurons, noise[row], magnitudes=True) for row in range(2)])
            self._split(distinct, totals, tolerance * sizes)

    def _split(self, neurons: Array, values: Array, errors: Array | None) -> None:
        """Give neurons of one colour new ones, where their values are farther apart than the errors permit."""
        old, flat = self.colours[:, neurons].reshape(-1), values.reshape(-1)
        order = np.lexsort((flat, old))
        old, flat = old[order], flat[order]
        if errors is None:
            apart = flat[1:] != flat[:-1]
        else:
            sorted_errors = errors.reshape(-1)[order]
            # Not "farther than": where a weight is infinite, differences are NaN, and tell nothing apart.
            with np.errstate(invalid="ignore"):
                apart = flat[1:] - flat[:-1] > sorted_errors[1:] + sorted_errors[:-1]
        starts = np.r_[True, apart | (old[1:] != old[:-1])]
        colours = np.empty(order.size, np.int64)
        colours[order] = self.next + np.cumsum(starts) - 1
        self.next = int(colours.max(initial=self.next)) + 1
        self.colours[:, neurons] = colours.reshape(2, -1)


def _prepared(w: Weights, sides: tuple[MatchedGraph, MatchedGraph]) -> _Sums:
    rank = len(sides[0].param(w.key).shape)
    times, over = (None if x is None else x.reshape((1,) * (rank - x.ndim) + x.shape) for x in (w.times, w.over))
    assert times is not None
    shape = np.broadcast_shapes(times.shape, () if over is None else over.shape)
    taps = tuple(i for i, n in enumerate(shape) if n == 1)
    weights = tuple(_without_taps(side.param(w.key), taps) for side in sides)
    sizes = tuple(_sizes(side.sizes[w.key], taps, known) for side, known in zip(sides, weights, strict=True))
    return _Sums(weights, sizes, times, over)


def _without_taps(param: Param, taps: tuple[int, ...]) -> tuple[Array, ...]:
    """Reduce axes along which all weights join the same neurons: once to a sum, then to one weight at random."""
    extents = tuple(n if axis in taps else 1 for axis, n in enumerate(param.shape))
    if prod(extents) <= 1:
        return (param.numpy(),) * len(COLOURS_SUMMED)
    if extents[0] > 1:
        return _reduced(param.numpy(), extents)
    shape = tuple(1 if axis in taps else n for axis, n in enumerate(param.shape))
    results = tuple(np.empty(shape) for _ in COLOURS_SUMMED)
    for rows in blocks(param.shape):
        for result, values in zip(results, _reduced(param.rows(rows), extents), strict=True):
            result[rows] = values
    return results


def _reduced(values: Array, extents: tuple[int, ...]) -> tuple[Array, ...]:
    taps, count = tuple(axis for axis, n in enumerate(extents) if n > 1), prod(extents)
    rng = np.random.default_rng(count)
    results = [(values * rng.uniform(0.5, 1.0, extents)).sum(taps, keepdims=True)]
    for tap in rng.integers(0, count, len(COLOURS_SUMMED) - 1):
        place = np.unravel_index(tap, extents)
        results.append(
            values[tuple(slice(i, i + 1) if n > 1 else slice(None) for n, i in zip(extents, place, strict=True))]
        )
    return tuple(results)


def _sizes(param: Param, taps: tuple[int, ...], weights: tuple[Array, ...]) -> tuple[Array, ...]:
    """Reduce the sizes of weights alike, but hold none that are the weights' own magnitudes."""
    if weights[0].shape == param.shape:
        own = all(np.array_equal(np.abs(weights[0][rows]), np.abs(param.rows(rows))) for rows in blocks(param.shape))
        return weights if own else (np.abs(param.numpy()),) * len(weights)
    sizes = _without_taps(param, taps)
    pairs = zip(weights, sizes, strict=True)
    return tuple(known if np.array_equal(np.abs(known), np.abs(size)) else size for known, size in pairs)


def _summed(values: Array, neurons: Array, noise: Array | None, *, magnitudes: bool = False) -> Array:
    """Sum, for each neuron, the values around it, each times a number that belongs to the other neuron."""
    distinct, inverse = np.unique(neurons, return_inverse=True)
    inverse, total = inverse.reshape(neurons.shape), np.zeros(distinct.size)
    for rows in blocks(values.shape):
        part = np.abs(values[rows]) if magnitudes else values[rows]
        to, by = (None if x is None else rows_of(x, rows, values.ndim) for x in (inverse, noise))
        assert to is not None
        total += np.bincount(to.reshape(-1), _summed_block(part, to, by).reshape(-1), distinct.size)
    return total


def _summed_block(values: Array, neurons: Array, noise: Array | None) -> Array:
    if noise is not None and _apart(neurons, noise):
        axes = [i for i, n in enumerate(noise.shape) if n > 1]
        if axes:
            return np.asarray(np.tensordot(values, noise.squeeze(), (axes, range(len(axes)))))
        return np.asarray(values * noise.reshape(()))
    total = values if noise is None else values * noise
    return np.asarray(total.sum(tuple(i for i, n in enumerate(neurons.shape) if n == 1), keepdims=True))


def _apart(a: Array, b: Array) -> bool:
    """Whether two arrays extend along different axes."""
    return not any(m > 1 and n > 1 for m, n in zip(a.shape, b.shape, strict=True))


def _hash(*parts: Array) -> Array:
    """Mix integers into 64 bits, as SplitMix64 does."""
    x = np.zeros(parts[0].shape, np.uint64)
    for part in parts:
        x = x + part.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return x


def _noise(colours: Array, k: int) -> Array:
    """Random numbers in [1/2, 1) for some of the colours, and 0 for the others."""
    distinct, inverse = np.unique(colours, return_inverse=True)
    bits = _hash(distinct, np.full(distinct.shape, k))
    noise = (bits >> np.uint64(12)).astype(np.float64) * 2.0**-53 + 0.5
    most = COLOURS_SUMMED[k]
    if most is not None and most < distinct.size:
        noise[np.argpartition(bits, most)[most:]] = 0.0
    return noise[inverse].reshape(colours.shape)
