"""Figures of a field: its total, the logarithm of that, and by how much rounding may have lowered it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from math import exp2, inf, ldexp, log, log1p, log2, log10

import torch

from pathlift.passes.fields.field import Field
from pathlift.passes.fields.scaled import Scaled, log2_of
from pathlift.passes.fields.semiring import Semiring

LOG10_2 = log10(2.0)
_UNIT = {torch.float64: 2.0**-53, torch.float32: 2.0**-24}


def total(fields: Iterable[Field], semiring: Semiring) -> Scaled:
    """All elements of all fields, combined: a scalar in float64."""
    totals = [y.total(semiring) for y in fields]
    return reduce(lambda a, b: a.plus(b, semiring), totals) if totals else Scaled(torch.zeros((), dtype=torch.float64))


def slack(roundings: int, log2_norm: float, root: float = 1.0, dtype: torch.dtype = torch.float64) -> float:
    """By how much the binary logarithm of a norm may be too low.

    Parameters
    ----------
    roundings
        Of size u that the total may have met, in `dtype`.
    log2_norm
        The logarithm, after the root.
    root
        What the total was raised to.
    dtype
        What was computed in.
    """
    # The computed sum is at least (1 − u)^roundings times the true one. The logarithm adds a few roundings of its
    # own, relative to its size, or to that of its two parts, which are at least 1 before the root.
    return -roundings * log1p(-_UNIT[dtype]) * root / log(2) + 2.0**-50 * (1 + root + abs(log2_norm))


def plain_value(mantissa: float, exponent: int, root: float = 1.0) -> float | None:
    """``(mantissa · 2**exponent)**root`` if a float64 can hold it."""
    log2_norm = log2_of(mantissa, exponent) * root
    if log2_norm == -inf:
        return 0.0
    if not -1022 <= log2_norm < 1023.999:
        return None
    if root == 1:
        return ldexp(mantissa, exponent)
    q = 1 / root
    whole = exponent // q
    rest = (log2(mantissa) + exponent - whole * q) / q
    return ldexp(exp2(rest), int(whole))
