"""Non-negative tensors with exponents of their own: no product of weights over- or underflows, in any dtype.

A `Scaled` value is ``m · 2**e`` with a floating tensor ``m ≥ 0``. Ordinarily `e` is one integer, and the magnitudes of
the mantissas are known well enough to see, without looking at them, that the next product stays within the format.
Where that fails, every element gets an exponent of its own. One exponent per tensor would lose mass: nine layers
diag(1, 2⁻¹²⁰) followed by nine layers diag(1, 2¹²⁰) have path-norm 2, and the second channel passes through 2⁻¹⁰⁸⁰.

Multiplications by powers of two are exact. They are constants to autograd, so that gradients of a norm's logarithm
come out right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import frexp, inf, isfinite, log2

import torch

from pathlift.ir.errors import RuntimeFailureError
from pathlift.passes.fields.bits import EMPTY, exponent_of, pow2, shifted
from pathlift.passes.fields.semiring import Semiring

Tensor = torch.Tensor

LIMIT = {torch.float64: 1000, torch.float32: 120}
"""Mantissas under one integer exponent stay within 2^±LIMIT, where all of a float's digits count."""
_DIGITS = {torch.float64: 54, torch.float32: 25}
"""A value this many octaves below another is less than a rounding of it."""
_SPREAD = {torch.float64: 200, torch.float32: 20}
"""Exponents of one tensor that differ by no more become one integer."""


@dataclass(frozen=True)
class Scaled:
    """The tensor ``m · 2**e``.

    Parameters
    ----------
    m
        Mantissas, ≥ 0, float32 or float64.
    e
        One exponent for all; or one per element, int64 in `m`'s shape, with mantissas in [1/2, 1) or 0 (`EMPTY`).
    roundings
        How many relative roundings of size u (the unit roundoff) any term of any element has met; since nothing is
        ever subtracted, the value is accurate to a factor (1 ± u)^roundings.
    low, high
        With an integer exponent: all non-zero mantissas lie in [2**low, 2**high], itself within 2^±`LIMIT`.
    """

    m: Tensor
    e: Tensor | int = 0
    roundings: int = 0
    low: int = 0
    high: int = 0

    @classmethod
    def of(cls, m: Tensor, e: Tensor | int = 0, roundings: int = 0) -> Scaled:
        """Measure the mantissas: one integer exponent if the format allows it, else one per element."""
        low, high = magnitudes(m)
        limit = LIMIT[m.dtype]
        if isinstance(e, int) and low >= -limit and high <= limit:
            return cls(m, e, roundings, low, high)
        return cls.per_element(m, e, roundings)

    @classmethod
    def per_element(cls, m: Tensor, e: Tensor | int = 0, roundings: int = 0) -> Scaled:
        """Give non-negative values exponents of their own, one per element (on top of `e`)."""
        k = exponent_of(m)
        return cls(shifted(m, -k), torch.where(k == EMPTY, k, k + e), roundings)

    @property
    def rank(self) -> int:
        """The number of axes."""
        return self.m.ndim

    def settled(self) -> Scaled:
        """The same tensor with its bounds measured and, given one exponent, the largest mantissa near 1."""
        if not isinstance(self.e, int):
            return self.compact()
        low, high = magnitudes(self.m)
        if high == 0 or low - high < -LIMIT[self.m.dtype]:
            return replace(self, low=low, high=high)
        return Scaled(self.m * 2.0**-high, self.e + high, self.roundings, low - high, 0)

    def spread(self) -> Scaled:
        """The same tensor with one exponent per element."""
        return Scaled.per_element(self.m, self.e, self.roundings) if isinstance(self.e, int) else self

    def exponents(self) -> Tensor:
        """One exponent per element."""
        return self.spread().e  # type: ignore[return-value]  # spread, exponents are a tensor

    def cast(self, dtype: torch.dtype) -> Scaled:
        """The same tensor in another format, one rounding further."""
        held = self if isinstance(self.e, int) and fits(dtype, self.low, self.high) else self.spread()
        return replace(held, m=held.m.to(dtype), roundings=self.roundings + 1)

    def compact(self) -> Scaled:
        """The same tensor with one integer exponent, if that loses nothing."""
        if isinstance(self.e, int):
            return self
        present = self.e[self.e > EMPTY // 2]
        if not present.numel():
            return Scaled(torch.zeros_like(self.m), 0, self.roundings)
        largest = int(present.max())
        if largest - int(present.min()) > _SPREAD[self.m.dtype]:
            return self
        return Scaled.of(self.m * pow2(self.e - largest, self.m.dtype), largest, self.roundings)

    def plus(self, other: Scaled, semiring: Semiring) -> Scaled:
        """Elementwise sum (or maximum), with broadcasting."""
        rank = max(self.rank, other.rank)
        roundings = max(self.roundings, other.roundings) + 1
        pair = [self.lifted(rank), other.lifted(rank)]
        if (together := common_integer(pair)) is None:
            pair = [v.settled() for v in pair]
            if (larger := _absorbing(*pair)) is not None:
                return replace(larger, roundings=roundings)
            together = common_integer(pair)
        (a, b), e = together or _common_elementwise(pair)
        m = semiring.plus(a.m, b.m)
        if not isinstance(e, int):
            return Scaled.per_element(m, e, roundings + 1).compact()
        high = max(a.high, b.high) + semiring.growth(2)
        result = Scaled(m, e, roundings, min(a.low, b.low), high)
        return result if high <= LIMIT[m.dtype] else result.settled()

    def times(self, other: Scaled) -> Scaled:
        """Elementwise product, with broadcasting."""
        rank = max(self.rank, other.rank)
        a, b = self.lifted(rank), other.lifted(rank)
        roundings = a.roundings + b.roundings + 1
        for _ in range(2):
            if isinstance(a.e, int) and isinstance(b.e, int) and fits(a.m.dtype, a.low + b.low, a.high + b.high):
                return Scaled(a.m * b.m, a.e + b.e, roundings, a.low + b.low, a.high + b.high)
            a, b = a.settled(), b.settled()
        a, b = a.spread(), b.spread()
        return Scaled.per_element(a.m * b.m, a.exponents() + b.exponents(), roundings).compact()

    def lifted(self, rank: int) -> Scaled:
        """The same tensor with leading axes of extent 1, up to this rank."""
        lead = (1,) * (rank - self.rank)
        return self.moved(lambda t: t.reshape(lead + t.shape)) if lead else self

    def moved(self, f: Callable[[Tensor], Tensor]) -> Scaled:
        """Rearrange the elements; what `f` makes of a zero is a zero."""
        return replace(self, m=f(self.m), e=self.e if isinstance(self.e, int) else f(self.e))

    def taken(self, axis: int, index: Tensor) -> Scaled:
        """The elements at these positions along an axis; −1 stands for a zero."""
        padded = self
        if bool((index < 0).any()):
            border = [1 if i == axis else n for i, n in enumerate(self.m.shape)]
            m = torch.cat([self.m, self.m.new_zeros(border)], axis)
            e = self.e if isinstance(self.e, int) else torch.cat([self.e, self.e.new_full(border, EMPTY)], axis)
            padded, index = replace(self, m=m, e=e), torch.where(index < 0, m.shape[axis] - 1, index)
        return padded.moved(lambda t: t.index_select(axis, index))

    def over(self, axis: int, semiring: Semiring) -> Scaled:
        """Combine the elements along an axis."""
        n = self.m.shape[axis]
        roundings = self.roundings + semiring.additions(n)
        if isinstance(self.e, int):
            high = self.high + semiring.growth(n)
            if high <= LIMIT[self.m.dtype]:
                return Scaled(semiring.over(self.m, axis), self.e, roundings, self.low, high)
        v = self.spread()
        if not n:
            return Scaled(semiring.over(v.m, axis), 0, roundings)
        top = v.exponents().amax(axis, keepdim=True)
        m = semiring.over(v.m * pow2(v.exponents() - top, v.m.dtype), axis)
        return Scaled.per_element(m, top.squeeze(axis), roundings + 1).compact()

    def log2(self) -> Tensor:
        """Binary logarithm of every element; −inf where it is zero."""
        mantissa, k = torch.frexp(self.m.double())  # the logarithm of a mantissa near 1 is accurate
        return torch.where(self.m > 0, mantissa.log2() + (self.e + k), -torch.inf)


def fits(dtype: torch.dtype, low: int, high: int) -> bool:
    """Whether values within [2**low, 2**high] keep all their digits."""
    return low >= -LIMIT[dtype] and high <= LIMIT[dtype]


def magnitudes(m: Tensor) -> tuple[int, int]:
    """Integers with 2**low ≤ v < 2**high for every non-zero element v; (0, 0) if there are none.

    Raises
    ------
    RuntimeFailureError
        If an element is not finite: a norm is never NaN.
    """
    if not m.numel():
        return 0, 0
    m = m.detach()
    low, high = (v.item() for v in m.aminmax())
    if not isfinite(high) or not isfinite(low):
        raise RuntimeFailureError("0911", f"a value over paths came out as {high}")
    if high == 0:
        return 0, 0
    if low == 0:
        low = torch.where(m > 0, m, torch.inf).amin().item()
    return frexp(low)[1] - 1, frexp(high)[1]


def common_integer(values: Sequence[Scaled]) -> tuple[list[Scaled], int] | None:
    """Bring values to one integer exponent, if their bounds say that nothing is lost."""
    integers = [v.e for v in values if isinstance(v.e, int)]
    if len(integers) < len(values):
        return None
    e = max(integers)
    shifts = [i - e for i in integers]
    limit = LIMIT[values[0].m.dtype]
    if any(s and (s < -limit or v.low + s < -limit) for v, s in zip(values, shifts, strict=True)):
        return None
    return [_under(v, e, s) for v, s in zip(values, shifts, strict=True)], e


def _under(v: Scaled, e: int, shift: int) -> Scaled:
    return v if not shift else Scaled(v.m * 2.0**shift, e, v.roundings, v.low + shift, v.high + shift)


def _common_elementwise(values: Sequence[Scaled]) -> tuple[list[Scaled], Tensor]:
    """Bring values that broadcast to the largest exponent of each element."""
    values = [v.spread() for v in values]
    exponents = torch.broadcast_tensors(*(v.exponents() for v in values))  # type: ignore[no-untyped-call]  # torch has no types for it
    top = torch.stack(exponents).amax(0)
    return [replace(v, m=v.m * pow2(v.exponents() - top, v.m.dtype), e=top) for v in values], top


def _absorbing(a: Scaled, b: Scaled) -> Scaled | None:
    """The one of two settled values next to which the other is less than a rounding, everywhere, if there is one.

    A bias after fifty layers is less: leaving it out costs the sum a factor above 1 − u.
    """
    for large, small in ((a, b), (b, a)):
        if isinstance(large.e, int) and isinstance(small.e, int):
            gap = large.e + large.low - small.e - small.high
            if gap >= _DIGITS[large.m.dtype] and _covers(large.m, small.m) and bool((large.m > 0).all()):
                return large
    return None


def _covers(a: Tensor, b: Tensor) -> bool:
    return all(m == n or n == 1 for m, n in zip(a.shape, b.shape, strict=True))


def log2_of(mantissa: float, exponent: int) -> float:
    """``log2(mantissa · 2**exponent)`` without loss for large exponents; −inf for 0."""
    if mantissa == 0:
        return -inf
    m, k = frexp(mantissa)
    return log2(m) + (k + exponent)
