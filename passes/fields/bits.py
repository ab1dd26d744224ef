"""Powers of two, built from and read off the bits of floats: exact, whatever the exponent."""

from __future__ import annotations

import torch

Tensor = torch.Tensor

EMPTY = -(2**48)
"""Exponent of a zero: far below any other, so that it never decides an alignment."""
FLOOR = {torch.float64: -900, torch.float32: -60}
"""Next to a term of 1, one below 2^FLOOR is less than a rounding, however many of them there are."""


def exponent_of(values: Tensor) -> Tensor:
    """The exponents k with ``values · 2**-k`` in [1/2, 1), and `EMPTY` for zeros."""
    k = torch.frexp(values.detach()).exponent.long()
    return torch.where(values == 0, EMPTY, k)


def _exact_pow2(k: Tensor, dtype: torch.dtype) -> Tensor:
    """``2**k`` built from bits, within the normal range; 1 for `EMPTY`, whose mantissa is 0 and stays so."""
    bits, bias, word = (52, 1023, torch.int64) if dtype == torch.float64 else (23, 127, torch.int32)
    k = torch.where(k.abs() >= -EMPTY // 2, 0, k)
    return ((k.clamp(1 - bias, bias) + bias) << bits).to(word).view(dtype)


def pow2(k: Tensor, dtype: torch.dtype) -> Tensor:
    """``2**k`` for integer tensors, exactly; 0 for k < `FLOOR`."""
    power = _exact_pow2(k.clamp(min=EMPTY), dtype)
    small = (k < FLOOR[dtype]) & (k > EMPTY // 2)
    return torch.where(small, 0.0, power) if bool(small.any()) else power


def shifted(values: Tensor, k: Tensor) -> Tensor:
    """``values · 2**k`` for any k between floats, in two exact halves: neither factor leaves the normal range."""
    k = torch.where(k.abs() >= -EMPTY // 2, 0, k)
    if k.numel() and int(k.abs().max()) < -FLOOR[values.dtype]:
        return values * _exact_pow2(k, values.dtype)
    half = torch.div(k, 2, rounding_mode="floor")
    return values * _exact_pow2(half, values.dtype) * _exact_pow2(k - half, values.dtype)
