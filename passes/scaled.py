"""Non-negative tensors with exponents of their own: no product of weights over- or underflows, in any dtype.

A `Scaled` value is ``m · 2**e`` with a floating tensor ``m ≥ 0`` and an integer tensor ``e`` that broadcasts to it,
ordinarily one exponent per channel. One exponent per tensor would lose mass: nine layers diag(1, 2⁻¹²⁰) followed by
nine layers diag(1, 2¹²⁰) have path-norm 2, and the second channel passes through 2⁻¹⁰⁸⁰.

Multiplications by powers of two are exact. They are constants to autograd, so that gradients of a norm's logarithm
come out right.

Values of one channel share an exponent, so that a position where they are 2⁻⁹⁰⁰ times smaller than elsewhere
underflows. That is recorded (`underflow`) and rounded as the caller asks: down, for a value that is never too large,
or up, for one that is never too small.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import ceil, frexp, ldexp

import torch

Tensor = torch.Tensor

EMPTY = -(2**48)
"""Exponent of a zero: far below any other, so that it never decides an alignment."""

FLOOR = {torch.float64: -900, torch.float32: -60}
"""Smallest power of two that an alignment multiplies by, per dtype of mantissas."""
_LEAST = {torch.float64: 2.0**-100, torch.float32: 2.0**-40}
"""Smallest non-zero mantissa: its product with an aligned weight is still a normal number."""


MODERATE = {torch.float64: 2.0**-200, torch.float32: 2.0**-40}
"""Weights from here to the reciprocal may be multiplied with aligned mantissas as they are."""
SPREAD = {torch.float64: 200, torch.float32: 20}
"""Exponents of one tensor that differ by no more may be aligned without loss."""


@dataclass
class Underflow:
    """How values too small for their channel's exponent are rounded, and whether there were any."""

    up: bool
    happened: bool = False


_UNDERFLOW: ContextVar[Underflow] = ContextVar("underflow")


@contextmanager
def underflow(*, up: bool) -> Iterator[Underflow]:
    """Round what underflows up (or down to zero) within the block, and record whether anything did."""
    record = Underflow(up)
    token = _UNDERFLOW.set(record)
    try:
        yield record
    finally:
        _UNDERFLOW.reset(token)


def _floored(values: Tensor, small: Tensor, least: float) -> Tensor:
    """Round `values` up to `least`, or down to zero, where `small`."""
    if not bool(small.any()):
        return values
    return torch.where(small, least if rounded_up() else 0.0, values)


def rounded_up() -> bool:
    """Record that a value is not accurate where it matters, and return whether it is to be rounded up."""
    record = _UNDERFLOW.get(None) or Underflow(up=True)
    record.happened = True
    return record.up


@dataclass(frozen=True)
class Scaled:
    """The tensor ``m · 2**e``.

    Parameters
    ----------
    m
        Mantissas, ≥ 0, float32 or float64; the largest of each exponent's extent lies in [1/2, 2) or is 0.
    e
        Exponents, int64, of `m`'s rank; each axis has `m`'s extent or 1.
    roundings
        How many relative roundings of size u (the unit roundoff) any term of any element has met; since nothing is
        ever subtracted, the value is accurate to a factor (1 ± u)^roundings.
    """

    m: Tensor
    e: Tensor
    roundings: int = 0

    @classmethod
    def of(cls, values: Tensor, e: Tensor | None = None, roundings: int = 0) -> Scaled:
        """Give non-negative values exponents of their own, one per element (on top of `e`)."""
        k = exponent_of(values)
        return cls(shifted(values, -k), k if e is None else torch.where(k == EMPTY, k, k + e), roundings)

    @classmethod
    def ones(cls, shape: Iterable[int], dtype: torch.dtype, device: torch.device | None = None) -> Scaled:
        """All ones, with a single exponent."""
        m = torch.ones(tuple(shape), dtype=dtype, device=device)
        return cls(m, torch.zeros([1] * m.ndim, dtype=torch.int64, device=device))

    @property
    def rank(self) -> int:
        """The number of axes."""
        return self.m.ndim

    def varying(self) -> list[int]:
        """The axes along which exponents differ."""
        return [i for i, n in enumerate(self.e.shape) if n != 1]

    def aligned(self, axes: Iterable[int]) -> Scaled:
        """The same tensor with a common exponent along `axes` (the largest), so that those can be summed over."""
        gone = [a % self.rank for a in axes if self.e.shape[a] != 1]
        if not gone:
            return self
        e = self.e.amax(gone, keepdim=True)
        return Scaled(self.m * pow2(self.e - e, self.m.dtype), e, self.roundings)

    def is_moderate(self) -> bool:
        """Whether all exponents (but those of zeros) lie close enough for one common exponent."""
        if self.e.numel() <= 1:
            return True
        present = self.e[self.e > EMPTY // 2]
        return not present.numel() or int(present.max() - present.min()) <= SPREAD[self.m.dtype]

    def normalized(self) -> Scaled:
        """The same tensor with the largest mantissa of each exponent's extent in [1/2, 1)."""
        shared = [i for i in range(self.rank) if self.e.shape[i] == 1 and self.m.shape[i] != 1]
        top = self.m.detach()
        k = exponent_of(top.amax(shared, keepdim=True) if shared and top.numel() else top)
        e = torch.where(k == EMPTY, k, self.e + k)
        m = shifted(self.m, -k)
        least = _LEAST[m.dtype]
        if m.numel() and bool(m.detach().amin() < least):
            m = _floored(m, (m > 0) & (m < least), least)
        return Scaled(m, e, self.roundings)

    def per_element(self) -> Scaled:
        """The same tensor with one exponent per element."""
        return Scaled(self.m, self.e.expand(self.m.shape), self.roundings)

    def compressed(self) -> Scaled:
        """The same tensor without an exponent axis along which all exponents agree."""
        e = self.e
        for axis in self.varying():
            first = e.narrow(axis, 0, 1)
            if bool((e == first).all()):
                e = first
        return Scaled(self.m, e, self.roundings)

    def __add__(self, other: Scaled) -> Scaled:
        rank = max(self.rank, other.rank)
        a, b = self.lifted(rank), other.lifted(rank)
        e = torch.maximum(a.e, b.e)
        m = a.m * pow2(a.e - e, a.m.dtype) + b.m * pow2(b.e - e, b.m.dtype)
        # Normalized, or a thousand doublings would overflow the mantissas.
        return Scaled(m, e, max(a.roundings, b.roundings) + 1).normalized()

    def times(self, other: Scaled) -> Scaled:
        """Elementwise product, with broadcasting."""
        rank = max(self.rank, other.rank)
        a, b = self.lifted(rank), other.lifted(rank)
        m = a.m * b.m
        return Scaled(m, a.e + b.e, a.roundings + b.roundings + 1).normalized()

    def lifted(self, rank: int) -> Scaled:
        """The same tensor with leading axes of extent 1, up to this rank."""
        missing = rank - self.rank
        if missing <= 0:
            return self
        lead = (1,) * missing
        return Scaled(self.m.reshape(lead + self.m.shape), self.e.reshape(lead + self.e.shape), self.roundings)

    def first_row(self) -> Scaled:
        """The first element along axis 0."""
        return Scaled(self.m[:1], self.e[:1], self.roundings)

    def total(self) -> tuple[Tensor, int, int]:
        """The sum of all elements, as ``(mantissa, exponent, roundings)``: a scalar tensor and two integers."""
        if not self.m.numel():
            return torch.zeros((), dtype=self.m.dtype), 0, 0
        whole = self.aligned(range(self.rank))
        mantissa = whole.m.double().sum()
        return mantissa, int(whole.e.item()), self.roundings + self.m.numel()

    def log2(self) -> Tensor:
        """Binary logarithm of every element; −inf where it is zero."""
        return torch.where(self.m > 0, self.m.double().log2() + self.e, -torch.inf)


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
    """``2**k`` for integer tensors, exactly; for k < `FLOOR` rounded as `underflow` says."""
    floor = FLOOR[dtype]
    small = (k < floor) & (k > EMPTY // 2)
    return _floored(_exact_pow2(k.clamp(min=EMPTY), dtype), small, 2.0**floor)


def shifted(values: Tensor, k: Tensor) -> Tensor:
    """``values · 2**k`` for any k between floats, in two exact halves: neither factor leaves the normal range."""
    k = torch.where(k.abs() >= -EMPTY // 2, 0, k)
    if k.numel() and int(k.abs().max()) < -FLOOR[values.dtype]:
        return values * _exact_pow2(k, values.dtype)
    half = torch.div(k, 2, rounding_mode="floor")
    return values * _exact_pow2(half, values.dtype) * _exact_pow2(k - half, values.dtype)


def power(values: Tensor, q: float, dtype: torch.dtype) -> Scaled:
    """Return ``|values|**q`` without overflow: one exponent per element.

    Parameters
    ----------
    values
        Any float64 tensor.
    q
        Exponent, > 0.
    dtype
        Of the result's mantissas.
    """
    magnitude = values.abs()
    k = exponent_of(magnitude)
    zero = k == EMPTY
    mantissa = shifted(magnitude, -k)
    # The fractional part of k·q decides the mantissa: the leading bits of q make a product that is exact.
    digits, place = frexp(q)
    leading = ldexp(round(ldexp(digits, 40)), place - 40)
    k = torch.where(zero, 0, k).double()
    shift = (k * leading).floor()
    rest = (k * leading - shift) + k * (q - leading)
    if q <= 32:
        m = mantissa if q == 1 else mantissa**q * torch.exp2(rest)
    else:  # mantissa**q alone could underflow
        t = torch.where(zero, 0.0, mantissa.log2() * q)
        m = torch.where(zero, 0.0, torch.exp2(t - t.floor()) * torch.exp2(rest))
        shift = shift + t.floor()
    scaled = Scaled.of(m, shift.long())
    return Scaled(scaled.m.to(dtype), scaled.e, power_roundings(q, dtype))


def power_roundings(q: float, dtype: torch.dtype) -> int:
    """How many roundings of size u a power may have met; few for small q, in proportion to q beyond 32.

    There absolute errors of 2·q·u in a binary logarithm are relative ones of 2·q·u·ln 2 in the result.
    """
    exact = 0 if q == 1 else 6 if q <= 32 else 6 + 2 * ceil(q)
    return exact + (dtype != torch.float64)


def plain_power(values: Tensor, q: float, dtype: torch.dtype) -> Tensor | None:
    """Return ``|values|**q`` as ordinary floats, or ``None`` if some would leave a moderate range.

    Most weights are moderate, and need no exponents of their own.
    """
    result = (values.abs() if q == 1 else values.abs() ** q).to(dtype)
    if not result.numel():
        return result
    lowest, highest = result.aminmax()
    if bool(highest > 1 / MODERATE[dtype]):
        return None
    if bool(lowest < MODERATE[dtype]) and bool(((result < MODERATE[dtype]) & (values != 0)).any()):
        return None
    return result


def log2_of(mantissa: float, exponent: int) -> float:
    """``log2(mantissa · 2**exponent)`` without loss for large exponents; −inf for 0."""
    from math import inf, log2

    if mantissa == 0:
        return -inf
    m, k = frexp(mantissa)
    return log2(m) + (k + exponent)
