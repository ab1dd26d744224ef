"""Linear maps with weights on fields: every one is a batch of matrix products.

The inputs that a window of a (transposed) convolution reads are gathered once per class of windows; what is left, as
for any contraction, is ``(group, out, in) × (batch, group, in, position)``. It is done by a matrix product, never by
a fast convolution: those subtract, and the certified upper bound rests on sums of non-negative products.

Where weights or inputs span more than a float's range, exponents move into the weights: each output row r gets the
exponent E_r = max over its weights of (exponent of the weight + exponent of the input it multiplies), and its weights
become m_w · 2^(e_w + e_x − E_r) ≤ 1. The largest term of a row is about 1, whatever the magnitudes of the others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.maps import Contract, Conv, ConvTranspose
from pathlift.ir.primitives import LinearMap
from pathlift.ir.types import Array
from pathlift.passes.fields.bits import pow2
from pathlift.passes.fields.field import Field, Labels, classes
from pathlift.passes.fields.scaled import Scaled, fits
from pathlift.passes.fields.semiring import Semiring

Tensor = torch.Tensor
Probe = Callable[[Tensor], Tensor]

_CHUNK = 2**22
"""Elements of gathered windows that are held at once."""


@dataclass(frozen=True)
class _Product:
    """A linear map as a batch of matrix products.

    Parameters
    ----------
    x
        ``(batch, groups · channels, position)``, or ``(batch, groups · in, position)`` without windows.
    windows
        ``(taps, windows)``: the position each tap reads, where the position past the last one is a zero; ``None`` if
        every position is a window.
    matrix
        Turns weights into ``(groups, out, in)``, where ``in`` runs over channels, then taps.
    restore
        Turns ``(batch, groups, out, windows)`` into the shape of the result.
    labels
        Of the result.
    """

    x: Scaled
    windows: Tensor | None
    matrix: Callable[[Tensor], Tensor]
    restore: Callable[[Tensor], Tensor]
    labels: tuple[Labels, ...]


def apply_linear(f: LinearMap, x: Field, w: Scaled, semiring: Semiring, probe: Probe | None = None) -> Field:
    """Apply a linear map.

    Parameters
    ----------
    f
        A map with weights.
    x
        The input.
    w
        The powers of the weights, in the weights' shape.
    semiring
        What becomes of the terms of a row.
    probe
        Applied to the result as ``(batch, group, out, window)``: for the share of each output channel.
    """
    product = _as_product(f, x, tuple(w.m.shape))
    weights = replace(w, m=product.matrix(w.m), e=w.e if isinstance(w.e, int) else product.matrix(w.e))
    y = _multiplied(product, weights, semiring)
    if probe is not None:
        y = replace(y, m=probe(y.m))
    e = y.e if isinstance(y.e, int) else product.restore(y.e.expand(y.m.shape))
    return Field(replace(y, m=product.restore(y.m), e=e), product.labels)


def _multiplied(p: _Product, w: Scaled, semiring: Semiring) -> Scaled:
    fan_in = w.m.shape[-1]
    x, dtype = p.x, p.x.m.dtype
    roundings = w.roundings + semiring.additions(fan_in) + 1
    for _ in range(2):
        if isinstance(x.e, int) and isinstance(w.e, int):
            low, high = x.low + w.low, x.high + w.high + semiring.growth(fan_in)
            if fits(dtype, low, high):
                m = _matmul(w.m, x.m, p.windows, semiring)
                return Scaled(m, x.e + w.e, x.roundings + roundings, low, high)
        x, w = x.settled(), w.settled()
    x, w = _per_channel(x), w.spread()
    groups = w.m.shape[0]
    sources = x.exponents().reshape(groups, 1, -1).repeat_interleave(fan_in * groups // x.m.shape[1], 2)
    e = w.exponents() + sources
    rows = e.amax(2, keepdim=True)
    y = _matmul(w.m * pow2(e - rows, dtype), x.m, p.windows, semiring)
    return Scaled(y, rows.unsqueeze(0), x.roundings + roundings).normalized().compact()


def _per_channel(x: Scaled) -> Scaled:
    """One exponent per channel, and mantissas whose product with a weight does not underflow unnoticed."""
    x = x.aligned((0, 2))
    return Scaled(x.m, x.exponents().expand(1, x.m.shape[1], 1), x.roundings).normalized()


def _matmul(w: Tensor, x: Tensor, windows: Tensor | None, semiring: Semiring) -> Tensor:
    """``(g, out, in) × (batch, channels, position)``, window by window; ``(batch, g, out, window)``."""
    groups = w.shape[0]
    batch, channels, _ = x.shape
    if windows is None:
        return _grouped(w, x.reshape(batch, groups, channels // groups, -1), semiring)
    x = torch.nn.functional.pad(x, (0, 1))
    taps = windows.shape[0]
    parts = []
    step = max(1, _CHUNK // max(1, batch * channels * taps))
    for part in torch.split(windows, step, 1):
        gathered = x.index_select(2, part.reshape(-1))
        parts.append(_grouped(w, gathered.reshape(batch, groups, channels * taps // groups, -1), semiring))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 3)


def _grouped(w: Tensor, x: Tensor, semiring: Semiring) -> Tensor:
    if w.shape[0] == x.shape[0] == 1:
        return semiring.matmul(w[0], x[0, 0])[None, None]
    return semiring.matmul(w, x)


@functools.singledispatch
def _as_product(f: LinearMap, x: Field, w: tuple[int, ...]) -> _Product:
    """Describe a map, on this input and weights of this shape, as a batch of matrix products."""
    raise UnsupportedError("0313", f"there is no rule for the linear map {type(f).__name__}")


@_as_product.register
def _(f: Conv, x: Field, w: tuple[int, ...]) -> _Product:
    out, per_group, *kernel = w

    def matrix(weights: Tensor) -> Tensor:
        return weights.reshape(f.groups, out // f.groups, per_group * prod(kernel))

    return _windowed(f, x, out, tuple(kernel), matrix)


@_as_product.register
def _(f: ConvTranspose, x: Field, w: tuple[int, ...]) -> _Product:
    channels, per_group, *kernel = w

    def matrix(weights: Tensor) -> Tensor:
        split = weights.reshape(f.groups, channels // f.groups, per_group, prod(kernel))
        return split.transpose(1, 2).reshape(f.groups, per_group, -1)

    return _windowed(f, x, per_group * f.groups, tuple(kernel), matrix)


def _windowed(
    f: Conv | ConvTranspose, x: Field, out: int, kernel: tuple[int, ...], matrix: Callable[[Tensor], Tensor]
) -> _Product:
    x = x.expanded([1])
    batch, channels, *held = x.value.m.shape
    axes = [_window_classes(x.labels[i + 2], f.taps(i, x.shape[i + 2], k)) for i, k in enumerate(kernel)]
    extents = [len(rows) for rows, _ in axes]
    value = x.value.aligned(range(2, x.rank))
    e = value.e if isinstance(value.e, int) else value.e.reshape(*value.e.shape[:2], 1)
    return _Product(
        replace(value, m=value.m.reshape(batch, channels, prod(held)), e=e),
        _flat_windows([rows for rows, _ in axes], held, value.m.device),
        matrix,
        lambda y: y.reshape(batch, out, *extents),
        (x.labels[0], None, *(labels for _, labels in axes)),
    )


def _window_classes(labels: Labels, taps: Array) -> tuple[Array, Labels]:
    """The distinct windows in terms of the input's classes, and the class of each output position."""
    rows = taps if labels is None else np.where(taps < 0, -1, labels[taps])
    return classes(rows)


def _flat_windows(rows: list[Array], extents: list[int], device: torch.device) -> Tensor | None:
    """Positions in the flattened input, ``(taps, windows)``; ``None`` if each window is the position it is at."""
    if all(r.shape == (n, 1) and np.array_equal(r[:, 0], np.arange(n)) for r, n in zip(rows, extents, strict=True)):
        return None
    n = len(rows)
    flat, outside = np.zeros((), np.int64), np.zeros((), bool)
    for i, (r, extent) in enumerate(zip(rows, extents, strict=True)):
        position = r.T.reshape([r.T.shape[j // n] if j % n == i else 1 for j in range(2 * n)])
        flat, outside = flat * extent + position, outside | (position < 0)
    windows = np.where(outside, prod(extents), flat).reshape(prod(r.shape[1] for r in rows), -1)
    return torch.from_numpy(np.ascontiguousarray(windows)).to(device)


@_as_product.register
def _(f: Contract, x: Field, w: tuple[int, ...]) -> _Product:
    xs, ws, out = _letters(f, x.rank)
    x = x.expanded(i for i, letter in enumerate(xs) if letter in ws or letter not in out)
    groups = [c for c in ws if c in xs and c in out]
    rows = [c for c in ws if c not in xs and c in out]
    free = [c for c in xs if c not in ws and c in out]
    summed = [c for c in xs + ws if c not in out]  # of either operand alone, or of both
    summed = list(dict.fromkeys(summed))
    extents = dict(zip(ws, w, strict=True)) | dict(zip(xs, x.value.m.shape, strict=True))
    sizes = [prod(extents[c] for c in part) for part in (groups, rows, summed, free)]

    def arranged(t: Tensor, letters: str, order: list[str]) -> Tensor:
        """Axes in this order; those that `t` lacks are broadcast."""
        held = [c for c in order if c in letters]
        t = t.permute([letters.index(c) for c in held])
        return t.reshape([n for c in order for n in ([t.shape[held.index(c)]] if c in held else [1])])

    def matrix(weights: Tensor) -> Tensor:
        full = arranged(weights, ws, groups + rows + summed)
        return full.expand([extents[c] for c in groups + rows + summed]).reshape(sizes[0], sizes[1], sizes[2])

    def restore(y: Tensor) -> Tensor:
        letters = groups + rows + free
        return y.reshape([extents[c] for c in letters]).permute([letters.index(c) for c in out])

    value = x.value.aligned(i for i, c in enumerate(xs) if c in free)
    order = groups + summed + free
    m = arranged(value.m, xs, order).expand([extents[c] for c in order])
    e = value.e
    if not isinstance(e, int):
        e = arranged(e, xs, order).expand([extents[c] if c not in free else 1 for c in order])
        e = e.reshape(1, sizes[0] * sizes[2], 1)
    return _Product(
        replace(value, m=m.reshape(1, sizes[0] * sizes[2], sizes[3]), e=e),
        None,
        matrix,
        restore,
        tuple(x.labels[xs.index(c)] if c in free else None for c in out),
    )


def _letters(f: Contract, rank: int) -> tuple[str, str, str]:
    """The letters of the input's, the weights' and the output's axes, with the ellipsis spelled out in digits."""
    xs, ws, out = f.terms
    ellipsis = "".join(map(str, range(rank - len(xs.replace(".", "")))))
    return xs.replace(".", ellipsis), ws, out.replace(".", ellipsis)
