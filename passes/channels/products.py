"""Linear maps with weights as products of a matrix and a vector of cells: which cells each weight joins.

A rescaling multiplies a weight by the factor of the cell it leads to and divides it by that of the cell it reads.
Both are arrays that broadcast to the weights. Positions do not matter: a kernel is the sum of its taps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.base import LinearMap
from pathlift.ir.primitives.maps import Contract, Conv, ConvTranspose
from pathlift.ir.types import Array, Ints
from pathlift.passes.channels.cells import DisjointSets
from pathlift.passes.channels.maps import CellMap


@dataclass(frozen=True)
class ChannelProduct:
    """What a linear map does to channels.

    Parameters
    ----------
    equation
        Of an einsum of the cells read, and of the weights: ``"gi,goi->go"``.
    matrix
        Shape in which weights enter it, after the axes behind have been summed.
    summed
        How many trailing axes of the weights are summed: taps of a kernel.
    read
        The cells read, in the shape of the equation's first operand.
    over
        The same, as an array that broadcasts to the weights.
    into
        Turns an array of the equation's result into one that broadcasts to the weights,
    result
        and into one that broadcasts to the output.
    out
        Shape of the equation's result.
    rows
        An axis of the matrix that only the result has, and which of the result's it is; ``None`` if there is none.
    """

    equation: str
    matrix: Ints
    summed: int
    read: Array
    over: Array
    into: Callable[[Array], Array]
    result: Callable[[Array], Array]
    out: Ints
    rows: tuple[int, int] | None


@functools.singledispatch
def channel_product(f: LinearMap, x: CellMap, w: Ints, cells: DisjointSets) -> ChannelProduct:
    """Read a linear map as a product; ties the cells that share weights.

    Raises
    ------
    UnsupportedError
        If there is no rule for it, or an extent is not known.
    """
    raise UnsupportedError("0331", f"there is no rule for a {type(f).__name__}")


def parallel_axes(f: LinearMap, rank: int) -> list[int]:
    """Return the axes of an input of this rank along which every place has weights and results of its own: groups."""
    if isinstance(f, Conv | ConvTranspose):
        return [1] if f.groups > 1 else []
    if isinstance(f, Contract):
        xs, ws, out = f.letters(rank)
        return [axis for axis, letter in enumerate(xs) if letter in ws and letter in out]
    return []


def _channels(x: CellMap, count: int, cells: DisjointSets) -> Array:
    """The cells along axis 1, all positions of a channel tied."""
    kept = x.cells
    for axis in range(kept.ndim):
        if axis != 1:
            kept = cells.tied(kept, axis)
    return np.broadcast_to(kept.reshape(-1), (count,))


def _channelwise(rank: int) -> Callable[[Array], Array]:
    return lambda y: y.reshape(1, -1, *[1] * (rank - 2))


@channel_product.register
def _(f: Conv, x: CellMap, w: Ints, cells: DisjointSets) -> ChannelProduct:
    g, taps = f.groups, [1] * (len(w) - 2)
    out, inside = w[0] // g, w[1]
    read = _channels(x, g * inside, cells).reshape(g, inside)
    over = read.reshape(1, inside, *taps) if g == 1 else read.repeat(out, 0).reshape(w[0], inside, *taps)
    return ChannelProduct(
        "gi,goi->go", (g, out, inside), len(taps), read, over, lambda y: y.reshape(-1, 1, *taps), _channelwise(len(w)),
        (g, out), (1, 1),
    )  # fmt: skip


@channel_product.register
def _(f: ConvTranspose, x: CellMap, w: Ints, cells: DisjointSets) -> ChannelProduct:
    g, taps = f.groups, [1] * (len(w) - 2)
    inside, out = w[0] // g, w[1]
    read = _channels(x, w[0], cells).reshape(g, inside)

    def into(y: Array) -> Array:
        return y.reshape(1, out, *taps) if g == 1 else y.repeat(inside, 0).reshape(w[0], out, *taps)

    return ChannelProduct(
        "gi,gio->go", (g, inside, out), len(taps), read, read.reshape(-1, 1, *taps), into, _channelwise(len(w)),
        (g, out), (2, 1),
    )  # fmt: skip


@channel_product.register
def _(f: Contract, x: CellMap, w: Ints, cells: DisjointSets) -> ChannelProduct:
    xs, ws, out = f.letters(len(x.dims))
    if len(set(xs)) < len(xs) or len(set(ws)) < len(ws):
        raise UnsupportedError("0331", "there is no rule for a diagonal")
    extents = dict(zip(ws, w, strict=True))
    read = x.cells
    for axis, letter in enumerate(xs):  # the same weights act at every position of an axis that is not theirs
        if letter not in ws:
            read = cells.tied(read, axis)
    shared = [letter for letter in xs if letter in ws]
    read = np.broadcast_to(
        read.reshape([n for n, letter in zip(read.shape, xs, strict=True) if letter in ws]),
        [extents[letter] for letter in shared],
    )
    rows = [letter for letter in out if letter in ws]

    def among(y: Array, letters: list[str], axes: str) -> Array:
        """Lay an array whose axes are `letters` along others; those it has not get extent 1."""
        order = sorted(range(len(letters)), key=lambda i: axes.index(letters[i]))
        sizes = {letters[i]: y.shape[i] for i in order}
        return y.transpose(order).reshape([sizes.get(letter, 1) for letter in axes])

    return ChannelProduct(
        f"{''.join(shared)},{ws}->{''.join(rows)}",
        w,
        0,
        read,
        among(read, shared, ws),
        lambda y: among(y, rows, ws),
        lambda y: among(y, rows, out),
        tuple(extents[letter] for letter in rows),
        next(((ws.index(a), rows.index(a)) for a in rows if a not in shared), None),
    )
