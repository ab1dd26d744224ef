"""Powers of weights, without over- or underflow."""

from __future__ import annotations

import functools
from math import ceil, floor, frexp, ldexp, prod

import torch

from pathlift.passes.fields.bits import EMPTY, exponent_of, shifted
from pathlift.passes.fields.scaled import Scaled, magnitudes

Tensor = torch.Tensor

_MODERATE = {torch.float64: 200, torch.float32: 40}
"""Powers within 2^± this need no exponents of their own: most weights."""


class Scratch:
    """Memory for powers that are used up at once: fresh pages for every layer take longer than the powers."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def like(self, values: Tensor, dtype: torch.dtype) -> Tensor:
        """Uninitialized memory in the shape of `values`; the last one handed out is no longer valid."""
        key, size = (dtype, values.device), prod(values.shape)
        if key not in self._buffers or self._buffers[key].numel() < size:
            self._buffers[key] = torch.empty(size, dtype=dtype, device=values.device)
        return self._buffers[key][:size].view(values.shape)


def power(values: Tensor, q: float, dtype: torch.dtype, scratch: Scratch | None = None) -> Scaled:
    """Return ``|values|**q``; a zero stays one, also where q = 0.

    Parameters
    ----------
    values
        Any real tensor, float32 or float64; all finite.
    q
        Exponent, ≥ 0.
    dtype
        Of the result's mantissas.
    scratch
        If given, the result may live there.
    """
    if q == 0:
        return Scaled((values != 0).to(dtype), 0, 0, 0, 1)
    wide = dtype if q == 1 and values.dtype == torch.float32 else torch.float64
    magnitude = _magnitude(values, wide, scratch)
    low, high = magnitudes(magnitude)
    if max(-low, high) * q > _MODERATE[dtype]:
        return _apart(magnitude, q, dtype)
    if q == 1:
        return Scaled(magnitude.to(dtype), 0, power_roundings(q, dtype), low, high)
    return Scaled(_pow(magnitude, q).to(dtype), 0, power_roundings(q, dtype), floor(low * q) - 1, ceil(high * q) + 1)


def _magnitude(values: Tensor, dtype: torch.dtype, scratch: Scratch | None) -> Tensor:
    if scratch is None or torch.is_grad_enabled():  # a gradient would need the powers once more
        return values.to(dtype).abs()
    buffer = scratch.like(values, dtype)
    return torch.abs(values, out=buffer) if values.dtype == dtype else buffer.copy_(values).abs_()


def _pow(magnitude: Tensor, q: float) -> Tensor:
    """``magnitude**q``; a zero has gradient 0, where q < 1 knows none."""
    if q >= 1 or not magnitude.requires_grad:
        return magnitude**q
    zero = magnitude == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, magnitude) ** q)


def _apart(magnitude: Tensor, q: float, dtype: torch.dtype) -> Scaled:
    """The power with one exponent per element."""
    k = exponent_of(magnitude.double())
    zero = k == EMPTY
    mantissa = shifted(magnitude.double(), -k)
    # The fractional part of k·q decides the mantissa: the leading bits of q make a product that is exact.
    digits, place = frexp(q)
    leading = ldexp(round(ldexp(digits, 40)), place - 40)
    k = torch.where(zero, 0, k).double()
    shift = (k * leading).floor()
    rest = (k * leading - shift) + k * (q - leading)
    if q <= 32:
        m = mantissa if q == 1 else _pow(mantissa, q) * torch.exp2(rest)
    else:  # mantissa**q alone could underflow
        t = torch.where(zero, 0.0, torch.where(zero, 1.0, mantissa).log2() * q)
        whole = t.detach().floor()
        m = torch.where(zero, 0.0, torch.exp2(t - whole) * torch.exp2(rest))
        shift = shift + whole
    scaled = Scaled.per_element(m, shift.long())
    return Scaled(scaled.m.to(dtype), scaled.e, power_roundings(q, dtype))


@functools.cache
def power_roundings(q: float, dtype: torch.dtype) -> int:
    """How many roundings of size u a power may have met; few for small q, in proportion to q beyond 32.

    There absolute errors of 2·q·u in a binary logarithm are relative ones of 2·q·u·ln 2 in the result.
    """
    exact = 0 if q in (0, 1) else 6 if q <= 32 else 6 + 2 * ceil(q)
    return exact + (dtype != torch.float64)
