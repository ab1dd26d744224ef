"""Factors, one per class, and what they make of a parameter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.rows import Rows
from pathlift.ir.types import Array, Param, float_limits, not_finite
from pathlift.passes.channels.constraints import Scale, Use

_MODERATE = 400
"""Factors within 2^±this are multiplied as they are; others by mantissa and exponent."""


@dataclass(frozen=True, eq=False)
class Factors:
    """λ = ``m · 2**e`` per class; of class 0 it is 1.

    Parameters
    ----------
    m
        float64, positive.
    e
        int64.
    dead
        Classes that carry nothing: all weights into and out of them become 0, but for those that divide.
    """

    m: Array
    e: Array
    dead: Array

    @classmethod
    def of(cls, m: Array, e: Array | None = None, dead: Array | None = None) -> Factors:
        """Normalize mantissas to [1/2, 1), and set class 0 to 1."""
        m, shift = np.frexp(np.where(m > 0, m, 1.0))
        exponents = (shift if e is None else shift + e).astype(np.int64)
        lost = np.zeros(len(m), bool) if dead is None else dead.copy()
        m[0], exponents[0], lost[0] = 0.5, 1, False
        return cls(m, exponents, lost)

    @classmethod
    def exp(cls, z: Array, dead: Array | None = None) -> Factors:
        """Return exp(z), whatever the size of z."""
        logs = z / np.log(2)
        whole = np.floor(logs)
        return cls.of(np.exp2(logs - whole), whole.astype(np.int64), dead)

    def log2(self) -> Array:
        """Binary logarithms."""
        logs: Array = np.log2(self.m) + self.e
        return logs

    def rounded(self, slack: float = 0.0) -> Factors:
        """The powers of two just above; those within `slack` octaves above one stay at it."""
        return Factors(np.full_like(self.m, 0.5), np.where(self.m > 0.5 * 2**slack, self.e + 1, self.e), self.dead)

    def times(self, other: Factors) -> Factors:
        """Apply one after the other."""
        return Factors.of(self.m * other.m, self.e + other.e, self.dead | other.dead)

    @property
    def trivial(self) -> bool:
        """Whether nothing changes."""
        return bool((self.m == 0.5).all() and (self.e == 1).all() and not self.dead.any())

    def changes(self, s: Scale) -> bool:
        """Whether a parameter of this scale is changed."""
        if self._dead(s.times, s).any() or self._dead(s.over, s).any():
            return True
        for x in (self.m, self.e):
            a, b = x[s.times], x[s.over]
            # Arrays of different shapes meet in all combinations: they are equal only if all elements are.
            if (a != b).any() if a.shape == b.shape else len({*a.flat, *b.flat}) > 1:
                return True
        return False

    def scaled(self, use: Use, rows: Rows) -> Array:
        """Return some values of a parameter after the rescaling, in its own dtype.

        Raises
        ------
        UnsupportedError
            If the dtype cannot hold them.
        InvalidModelError
            If they were not finite before.
        """
        old, s = use.param.rows(rows), use.scale.rows(rows, len(use.param.shape))
        new = self.multiplied(use, rows)
        with np.errstate(over="ignore", under="ignore"):
            result: Array = new.astype(old.dtype)
        if new.size:
            _check_range(old, new, self._dead(s.times, s) | self._dead(s.over, s), use)
        return result

    def multiplied(self, use: Use, rows: Rows) -> Array:
        """Return some values of a parameter after the rescaling, in float64."""
        values, s = use.param.rows(rows).astype(np.float64), use.scale.rows(rows, len(use.param.shape))
        moderate = all(np.abs(self.e[x]).max(initial=0) <= _MODERATE for x in (use.scale.times, use.scale.over))
        return self._multiplied(values, s, moderate=moderate)  # not the block decides: it would change the rounding

    def _dead(self, classes: Array, s: Scale) -> Array:
        """Whether weights of these classes become 0; never those that divide."""
        gone: Array = np.zeros(classes.shape, bool) if s.divides else self.dead[classes]
        return gone

    def _multiplied(self, values: Array, s: Scale, *, moderate: bool) -> Array:
        e, gone = (self.e[s.times], self.e[s.over]), (self._dead(s.times, s), self._dead(s.over, s))
        if moderate:
            factors = np.ldexp(self.m[s.times], e[0]), np.ldexp(1 / self.m[s.over], -e[1])
            with np.errstate(over="ignore", under="ignore"):
                values *= np.where(gone[0], 0.0, factors[0])
                values *= np.where(gone[1], 0.0, factors[1])
            return values
        values *= np.where(gone[0] | gone[1], 0.0, self.m[s.times] / self.m[s.over])
        with np.errstate(over="ignore", under="ignore"):
            exact: Array = np.ldexp(values, np.clip(e[0] - e[1], -4000, 4000))
        return exact


def _check_range(old: Array, new: Array, gone: Array, use: Use) -> None:
    """Check that a dtype holds the new values as well as it held the old ones, but for those that shall be zero."""
    limits = float_limits(old.dtype)
    largest, smallest = float(limits.max), float(limits.smallest_normal)
    if not np.isfinite(old).all():
        raise not_finite(use.name, old)
    size = np.abs(new)
    if size.max() > largest or not np.isfinite(size.max()):
        problem = "overflow"
    elif (small := (size < smallest) & (old != 0)).any() and (small & ~gone & (np.abs(old) >= smallest)).any():
        problem = "underflow"
    else:
        return
    raise UnsupportedError(
        "0332",
        f"tensor {use.name!r}: rescaled weights {problem} in {old.dtype}",
        hint="store the weights in a wider format, or choose another norm",
        node=use.node,
        op="rescaling",
    )


def scaled_param(factors: Factors, use: Use) -> Param:
    """Return a parameter whose rescaled values are computed when they are asked for."""
    return Param.by_rows(use.param.dtype, use.param.shape, lambda rows: factors.scaled(use, rows))
