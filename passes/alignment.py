"""Linear maps on scaled tensors: where it matters, exponents move into the weights, aligned per output row."""

from __future__ import annotations

import functools
from math import prod

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.maps import Contract, Conv, ConvTranspose
from pathlift.ir.primitives import LinearMap
from pathlift.passes.scaled import Scaled, Tensor, plain_power, pow2, power, power_roundings


def apply_linear(f: LinearMap, x: Scaled, w: Tensor, q: float) -> Scaled:
    """Apply a linear map with weights ``|w|**q`` to a scaled input.

    Parameters
    ----------
    f
        A map with weights.
    x
        The input.
    w
        The weights as they are, float64.
    q
        Exponent, > 0.

    Returns
    -------
    Scaled
        Exponents vary along the axes that the weights have in the output (the output channels).
    """
    dtype = x.m.dtype
    plain = plain_power(w, q, dtype) if x.is_moderate() else None
    if plain is None:
        return apply_aligned(f, x, power(w, q, dtype))
    # The usual case: one exponent for the whole input loses nothing, and the weights stay untouched.
    x = x.aligned(range(x.rank))
    y = f(x.m, plain)
    rows = [n if i in _row_axes(f, y.ndim) else 1 for i, n in enumerate(y.shape)]
    fan_in = w.numel() // max(1, prod(rows))
    e = x.e.reshape([1] * y.ndim).expand(rows)
    return Scaled(y, e, x.roundings + fan_in + 1 + power_roundings(q, dtype)).normalized()


def apply_aligned(f: LinearMap, x: Scaled, w: Scaled) -> Scaled:
    """Apply a linear map whose weights, or whose input's channels, span more than a float's range.

    Each output row r gets the exponent E_r = max over its weights of (exponent of the weight + exponent of the
    input it multiplies), and its weights become m_w · 2^(e_w + e_x − E_r) ≤ 1: the largest term of a row is about 1,
    whatever the magnitudes of the others.

    Parameters
    ----------
    f
        A map with weights.
    x, w
        Input and weights, non-negative; `w` with one exponent per element.

    Returns
    -------
    Scaled
        Exponents vary along the axes that the weights have in the output (the output channels).
    """
    x = x.aligned(_free_axes(f, x.rank)).normalized()  # so that no product with a weight underflows unnoticed
    e, rows = _exponents(f, x, w)
    y = f(x.m, w.m * pow2(e, w.m.dtype))
    fan_in = w.m.numel() // max(1, rows.numel())
    return Scaled(y, rows, x.roundings + w.roundings + fan_in + 1).normalized()


@functools.singledispatch
def _free_axes(f: LinearMap, rank: int) -> tuple[int, ...]:
    """The axes of the input that the weights do not have."""
    raise UnsupportedError("0313", f"path-norm has no rule for the linear map {type(f).__name__}")


@_free_axes.register(Conv)
@_free_axes.register(ConvTranspose)
def _(f: Conv | ConvTranspose, rank: int) -> tuple[int, ...]:
    return (0, *range(2, rank))


@_free_axes.register(Contract)
def _(f: Contract, rank: int) -> tuple[int, ...]:
    letters = _letters(f, rank)[0]
    return tuple(i for i, letter in enumerate(letters) if letter not in f.terms[1])


@functools.singledispatch
def _row_axes(f: LinearMap, rank: int) -> tuple[int, ...]:
    """The axes of an output of this rank that the weights have."""
    raise UnsupportedError("0313", f"path-norm has no rule for the linear map {type(f).__name__}")


@_row_axes.register(Conv)
@_row_axes.register(ConvTranspose)
def _(f: Conv | ConvTranspose, rank: int) -> tuple[int, ...]:
    return (1,)


@_row_axes.register(Contract)
def _(f: Contract, rank: int) -> tuple[int, ...]:
    _, ws, out = f.terms
    ellipsis = rank - len(out.replace(".", ""))
    letters = out.replace(".", "0" * ellipsis)
    return tuple(i for i, letter in enumerate(letters) if letter in ws)


@functools.singledispatch
def _exponents(f: LinearMap, x: Scaled, w: Scaled) -> tuple[Tensor, Tensor]:
    """Return the aligned weights' exponents (≤ 0, in the shape of `w`) and the rows' (in the output's rank)."""
    raise UnsupportedError("0313", f"path-norm has no rule for the linear map {type(f).__name__}")


@_exponents.register
def _(f: Conv, x: Scaled, w: Scaled) -> tuple[Tensor, Tensor]:
    out, per_group, *kernel = w.m.shape
    split = w.e.reshape(f.groups, out // f.groups, per_group, *kernel)
    sources = x.e.expand(1, x.m.shape[1], *x.e.shape[2:]).reshape(f.groups, 1, per_group, *[1] * len(kernel))
    e = split + sources
    row = e.amax([*range(2, e.ndim)], keepdim=True)
    return (e - row).reshape(w.m.shape), row.reshape(1, out, *[1] * len(kernel))


@_exponents.register
def _(f: ConvTranspose, x: Scaled, w: Scaled) -> tuple[Tensor, Tensor]:
    channels, per_group, *kernel = w.m.shape
    split = w.e.reshape(f.groups, channels // f.groups, per_group, *kernel)
    sources = x.e.expand(1, channels, *x.e.shape[2:]).reshape(f.groups, -1, 1, *[1] * len(kernel))
    e = split + sources
    row = e.amax([1, *range(3, e.ndim)], keepdim=True)
    return (e - row).reshape(w.m.shape), row.reshape(1, per_group * f.groups, *[1] * len(kernel))


@_exponents.register
def _(f: Contract, x: Scaled, w: Scaled) -> tuple[Tensor, Tensor]:
    ws = f.terms[1]
    xs, out = _letters(f, x.rank)
    e = w.e + _arranged(x.e, xs, ws)
    summed = [i for i, letter in enumerate(ws) if letter not in out]
    row = e.amax(summed, keepdim=True) if summed else e
    return e - row, _arranged(row, ws, out)


def _letters(f: Contract, rank: int) -> tuple[str, str]:
    """The letters of the input's and the output's axes, with the ellipsis spelled out in digits."""
    xs, _, out = f.terms
    ellipsis = "".join(map(str, range(rank - len(xs.replace(".", "")))))
    return xs.replace(".", ellipsis), out.replace(".", ellipsis)


def _arranged(e: Tensor, letters: str, wanted: str) -> Tensor:
    """Bring axes into the order `wanted`: those that are missing get extent 1, those not wanted have extent 1."""
    kept = [letters.index(letter) for letter in wanted if letter in letters]
    dropped = [i for i in range(len(letters)) if i not in kept]
    ordered = e.permute(*kept, *dropped)
    extents = iter(ordered.shape)
    return ordered.reshape([next(extents) if letter in letters else 1 for letter in wanted])
