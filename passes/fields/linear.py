"""Linear maps with weights on fields: every one is a batch of matrix products.

The inputs that a window of a (transposed) convolution reads are gathered once per class of windows; what is left, as
for any contraction, is ``(group, out, in) × (batch, group, in, position)``. It is done by a matrix product, never by
a fast convolution: those subtract, and the certified upper bound rests on sums of non-negative products.

Where weights or inputs span more than a float's range, exponents move into the weights: each output row r gets the
exponent E_r = max over its weights of (exponent of the weight + exponent of the input channel it multiplies), and its
weights become m_w · 2^(e_w + e_x − E_r) ≤ 1. Where even that would lose small terms, because positions of one channel
or inputs of one row lie too far apart, the product is formed term by term, with an exponent for each output.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.base import LinearMap
from pathlift.ir.primitives.maps import Contract, Conv, ConvTranspose
from pathlift.ir.types import Array
from pathlift.passes.fields.bits import EMPTY, pow2
from pathlift.passes.fields.field import Field, Labels, classes
from pathlift.passes.fields.scaled import Scaled, fits
from pathlift.passes.fields.semiring import Semiring

Tensor = torch.Tensor
Probe = Callable[[Tensor], Tensor]

_CHUNK = 2**22
"""Elements of gathered windows that are held at once."""
_DEPTH = -400
"""How far below the largest factor of its kind a factor may be: their product is still a normal number."""


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
    y = _multiplied(product, w.moved(product.matrix), semiring)
    if probe is not None:
        y = replace(y, m=probe(y.m))
    return Field(y.moved(product.restore), product.labels)


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
    # In float64 also for float32 mantissas: it reaches much further before terms have to be formed one by one.
    x, w = x.spread().cast(torch.float64), w.spread().cast(torch.float64)
    if (aligned := _aligned(x, w)) is None:
        y = _term_by_term(p, w, x, semiring)
    else:
        weights, inputs, rows = aligned
        y = Scaled.per_element(_matmul(weights, inputs, p.windows, semiring), rows.unsqueeze(0))
    return replace(y.cast(dtype), roundings=x.roundings + roundings + 3).compact()


def _aligned(x: Scaled, w: Scaled) -> tuple[Tensor, Tensor, Tensor] | None:
    """Weights, inputs and exponents of rows, with all exponents moved into the weights; ``None`` if terms are lost."""
    e = x.exponents()
    channels = e.amax((0, 2), keepdim=True) if e.numel() else e.new_zeros(1, e.shape[1], 1)
    groups, _, fan_in = w.m.shape
    sources = channels.reshape(groups, 1, -1).repeat_interleave(fan_in * groups // e.shape[1], 2)
    terms = torch.where(w.m > 0, w.exponents() + sources, EMPTY)
    rows = terms.amax(2, keepdim=True)
    lost = torch.where((w.m > 0) & (sources > EMPTY // 2), terms - rows, 0).amin() < _DEPTH
    if bool(lost) or bool(torch.where(x.m > 0, e - channels, 0).amin() < _DEPTH):
        return None
    return w.m * pow2(terms - rows, w.m.dtype), x.m * pow2(e - channels, x.m.dtype), rows


def _term_by_term(p: _Product, w: Scaled, x: Scaled, semiring: Semiring) -> Scaled:
    """The product with exponents for every term: first the largest one of each output, then the sum below it."""
    batch, channels, _ = x.m.shape
    groups, _, fan_in = w.m.shape
    if p.windows is not None:
        taps, windows = p.windows.shape
        index = torch.where(p.windows == x.m.shape[2], -1, p.windows).reshape(-1)
        x = x.taken(2, index).moved(lambda t: t.reshape(batch, channels * taps, windows))
    x = x.moved(lambda t: t.reshape(batch, groups, fan_in, t.shape[2]))
    we, xe = w.exponents(), x.exponents()
    top = torch.full((batch, *w.m.shape[:2], x.m.shape[3]), 2 * EMPTY, dtype=torch.int64, device=w.m.device)
    for i in range(fan_in):
        top = torch.maximum(top, we[..., i : i + 1] + xe[..., i : i + 1, :])
    total = w.m.new_zeros(top.shape)
    for i in range(fan_in):
        shift = pow2(we[..., i : i + 1] + xe[..., i : i + 1, :] - top, w.m.dtype)
        total = semiring.plus(total, w.m[..., i : i + 1] * x.m[..., i : i + 1, :] * shift)
    return Scaled.per_element(total, top)


def _matmul(w: Tensor, x: Tensor, windows: Tensor | None, semiring: Semiring) -> Tensor:
    """``(g, out, in) × (batch, channels, position)``, window by window; ``(batch, g, out, window)``."""
    groups = w.shape[0]
    batch, channels, positions = x.shape
    if windows is None:
        return _grouped(w, x.reshape(batch, groups, channels // groups, positions), semiring)
    x = torch.nn.functional.pad(x, (0, 1))
    taps = windows.shape[0]
    parts = []
    step = max(1, _CHUNK // max(1, batch * channels * taps))
    for part in torch.split(windows, step, 1):
        gathered = x.index_select(2, part.reshape(-1))
        gathered = gathered.reshape(batch, groups, channels * taps // groups, part.shape[1])
        parts.append(_grouped(w, gathered, semiring))
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
    return _Product(
        x.value.moved(lambda t: t.reshape(batch, channels, prod(held))),
        _flat_windows([rows for rows, _ in axes], held, x.value.m.device),
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
    xs, ws, out = f.letters(x.rank)
    if len(set(xs)) < len(xs) or len(set(ws)) < len(ws):
        raise UnsupportedError("0313", f"the contraction {f.equation!r} takes a diagonal")
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

    order = groups + summed + free

    def columns(t: Tensor) -> Tensor:
        return arranged(t, xs, order).expand([extents[c] for c in order]).reshape(1, sizes[0] * sizes[2], sizes[3])

    return _Product(
        x.value.moved(columns),
        None,
        matrix,
        restore,
        tuple(x.labels[xs.index(c)] if c in free else None for c in out),
    )
