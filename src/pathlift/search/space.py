"""Spaces to search: variables, which of them a function cannot tell apart, and points as arrays."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import inf, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from pathlift.ir.errors import UsageError
from pathlift.search.symmetry import Element, Exchangeable, Group, Reflected, Symmetry, closure

Array = npt.NDArray[np.float64]
LARGEST = 1e100
"""Numbers beyond this are refused: they are squared."""


@dataclass(frozen=True)
class Real:
    """A real number of an interval, its ends included.

    Raises
    ------
    UsageError
        PL1530 unless both ends are numbers up to 1e100, and the second is larger by 1e-9 of the larger one at least.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_interval(self.low, self.high)


@dataclass(frozen=True)
class Integer:
    """A whole number of an interval, its ends included; near ones are taken to be alike.

    Raises
    ------
    UsageError
        PL1530 unless both ends are whole numbers up to 2⁵³, which float64 has all of, and the second is larger.
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        _check_interval(self.low, self.high, whole=True)


@dataclass(frozen=True)
class Choice:
    """One of several options, none of which is nearer to one than to another.

    Raises
    ------
    UsageError
        PL1531 if there is no option, or one twice.
    """

    options: tuple[Hashable, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if not self.options or len(set(self.options)) != len(self.options):
            raise UsageError("1531", f"options {self.options!r}: a choice is of at least one, each of them once")


Variable = Real | Integer | Choice


@dataclass(frozen=True)
class Space:
    """Variables, and what may be done to their values without changing the function.

    A point is an array of float64 with one entry per variable: a number as it is, a choice as the index of its option.

    Parameters
    ----------
    variables
        What a point consists of.
    symmetries
        Groups under which the function is invariant: `Exchangeable` and `Reflected` variables, each variable in one of
        them at most, or one `Group` of your own.

    Raises
    ------
    UsageError
        PL1532 if a symmetry is of variables that it cannot be of.
    """

    variables: tuple[Variable, ...]
    symmetries: tuple[Symmetry, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "variables", tuple(self.variables))
        object.__setattr__(self, "symmetries", tuple(self.symmetries))
        problem = next(self._problems(), None) if self.variables else "there has to be one"
        if problem is not None:
            raise UsageError("1532", f"a space of {len(self.variables)} variables: {problem}")

    def _problems(self) -> Iterator[str]:
        """Yield what is wrong with the symmetries."""
        seen: set[int] = set()
        for symmetry in self.symmetries:
            if isinstance(symmetry, Group):
                if len(self.symmetries) > 1:
                    yield "a group of one's own stands alone"
                if not symmetry.orders or len(symmetry.signs) not in (0, len(symmetry.orders)):
                    yield "a group has at least one order, and signs for all or for none"
                for order, signs in symmetry.generators:
                    if sorted(order) != list(range(len(self.variables))):
                        yield f"{order} is no order of all variables"
                    elif any(self.variables[i] != self.variables[j] for i, j in enumerate(order)):
                        yield f"{order} moves a variable to the place of one with other values"
                    elif len(signs) != len(order) or not set(signs) <= {1, -1}:
                        yield f"{signs} is not one sign, 1 or -1, per variable"
                    elif any(s < 0 and isinstance(v, Choice) for s, v in zip(signs, self.variables, strict=True)):
                        yield f"{signs} reflects a choice"
                continue
            if not symmetry.variables:
                yield "a symmetry is of no variable"
                return
            for index in symmetry.variables:
                if not 0 <= index < len(self.variables) or index in seen:
                    yield f"variable {index} is in two symmetries, or there is none"
                    return
                seen.add(index)
            if isinstance(symmetry, Exchangeable) and len({self.variables[i] for i in symmetry.variables}) > 1:
                yield f"variables {symmetry.variables} have different values, and cannot be exchanged"
            if symmetry.signs and any(isinstance(self.variables[i], Choice) for i in symmetry.variables):
                yield f"variables {symmetry.variables} have a choice among them, which cannot be reflected"

    @property
    def dimension(self) -> int:
        """The number of variables."""
        return len(self.variables)

    @property
    def size(self) -> float:
        """How many points there are; infinity where a variable is real."""
        return prod(map(_count, self.variables))

    @cached_property
    def numbers(self) -> list[int]:
        """Which variables are numbers."""
        return [i for i, variable in enumerate(self.variables) if not isinstance(variable, Choice)]

    @cached_property
    def choices(self) -> list[int]:
        """Which variables are choices."""
        return [i for i, variable in enumerate(self.variables) if isinstance(variable, Choice)]

    @cached_property
    def low(self) -> Array:
        """The least value of each variable."""
        return np.array([0 if isinstance(v, Choice) else v.low for v in self.variables], dtype=float)

    @cached_property
    def high(self) -> Array:
        """The largest value of each variable."""
        return np.array([len(v.options) - 1 if isinstance(v, Choice) else v.high for v in self.variables], dtype=float)

    @property
    def classes(self) -> tuple[Exchangeable | Reflected, ...]:
        """The symmetries that are no group of one's own."""
        return tuple(s for s in self.symmetries if not isinstance(s, Group))

    @cached_property
    def elements(self) -> tuple[Element, ...]:
        """The elements of a group of one's own, the identity first; empty where there is none."""
        groups = [s for s in self.symmetries if isinstance(s, Group)]
        return closure(groups[0]) if groups else ()

    def without_symmetries(self) -> Space:
        """Return the space of the same points."""
        return Space(self.variables)

    def encode(self, values: Sequence[Any]) -> Array:
        """Return values as a point, shape ``(variables,)``.

        Raises
        ------
        UsageError
            PL1533 if they are not a point of this space.
        """
        try:
            given = tuple(values)
            found = [_code(variable, value) for variable, value in zip(self.variables, given, strict=True)]
        except (ValueError, TypeError, OverflowError):
            raise UsageError("1533", f"{values!r} is no point of the space: {self.variables}") from None
        return np.array(found)

    def decode(self, point: Array) -> tuple[Any, ...]:
        """Return the values of a point."""
        return tuple(_value(variable, float(code)) for variable, code in zip(self.variables, point, strict=True))

    def scaled(self, points: Array) -> Array:
        """Return points, shape ``(n, variables)``, with the interval of each number stretched to [-1, 1]."""
        result = np.array(points, dtype=float)
        half = (self.high - self.low)[self.numbers] / 2
        result[:, self.numbers] = (points[:, self.numbers] - self.low[self.numbers]) / half - 1
        return result

    def canonical(self, points: Array) -> Array:
        """Return for each point, shape ``(n, variables)``, the one that stands for all that symmetries make of it."""
        result = np.array(points, dtype=float)
        if self.elements:
            return self._first_of_orbit(result)
        for symmetry in self.classes:
            columns = list(symmetry.variables)
            if symmetry.signs:
                result[:, columns] = np.maximum(result[:, columns], self._reflected(result)[:, columns])
            if isinstance(symmetry, Exchangeable):
                result[:, columns] = np.sort(result[:, columns], axis=1)
        return result

    def _first_of_orbit(self, points: Array) -> Array:
        """Return the lexicographically least point of each orbit."""
        reflected = self._reflected(points)
        best = points
        for order, signs in self.elements:
            moved = np.where(np.array(signs) > 0, points[:, order], reflected[:, order])
            differs = moved != best
            at = differs.argmax(axis=1)
            rows = np.arange(len(points))
            less = differs.any(axis=1) & (moved[rows, at] < best[rows, at])
            best = np.where(less[:, None], moved, best)
        return best

    def _reflected(self, points: Array) -> Array:
        """Return points with all variables reflected in the middles of their intervals."""
        reflected: Array = np.clip(self.low + self.high - points, self.low, self.high)  # sums are rounded
        return reflected

    @cached_property
    def representatives(self) -> Array:
        """One point per orbit of a finite space, in order, shape ``(orbits, variables)``."""
        axes = [np.arange(low, high + 1) for low, high in zip(self.low, self.high, strict=True)]
        points = np.array(list(product(*axes)), dtype=float).reshape(-1, self.dimension)
        return np.unique(self.canonical(points), axis=0)

    def sample(self, count: int, rng: np.random.Generator) -> Array:
        """Draw points, shape ``(count, variables)``, each variable spread evenly (a Latin hypercube)."""
        strata = np.stack([rng.permutation(count) for _ in range(self.dimension)], axis=1)
        return self._from_unit((strata + rng.random((count, self.dimension))) / count)

    def _from_unit(self, unit: Array) -> Array:
        """Return points of the space from those of the unit cube."""
        steps = self.high - self.low + 1
        whole = self.low + np.minimum(np.floor(unit * steps), steps - 1)
        real = self.low + unit * (self.high - self.low)
        return np.where(self._whole, whole, real)

    @cached_property
    def _whole(self) -> npt.NDArray[np.bool_]:
        return np.array([not isinstance(variable, Real) for variable in self.variables], dtype=bool)

    def neighbours(self, points: Array, width: float, rng: np.random.Generator) -> Array:
        """Draw a point near each one: one variable changes, or more; numbers by about `width` of their interval."""
        chosen = rng.random(points.shape) < 0.5
        chosen[np.arange(len(points)), rng.integers(self.dimension, size=len(points))] = True
        step = rng.normal(size=points.shape) * width * (self.high - self.low)
        step = np.where(self._whole, np.sign(step) * np.maximum(1, np.round(np.abs(step))), step)
        near = np.clip(points + step, self.low, self.high)
        near[:, self.choices] = self._from_unit(rng.random(points.shape))[:, self.choices]
        return np.where(chosen, near, points)


def _check_interval(low: float, high: float, *, whole: bool = False) -> None:
    """Refuse what is no interval."""
    kinds = (int, np.integer) if whole else (int, float, np.number)
    most, expected = (2**53, "whole numbers up to 2⁵³") if whole else (LARGEST, "numbers up to 1e100")
    if not all(isinstance(end, kinds) and abs(end) <= most for end in (low, high)) or not low < high:
        raise UsageError("1530", f"interval from {low!r} to {high!r}: expected {expected}, the second larger")
    if not whole and high - low < max(1e-9 * max(abs(low), abs(high)), 1e-300):
        raise UsageError("1530", f"interval from {low!r} to {high!r}: there is hardly a number between")


def _count(variable: Variable) -> float:
    match variable:
        case Real():
            return inf
        case Integer(low, high):
            return high - low + 1
        case Choice(options):
            return len(options)


def _code(variable: Variable, value: Any) -> float:
    """Return a value as a number; ValueError or TypeError if the variable does not take it."""
    if isinstance(variable, Choice):
        return float(variable.options.index(value))
    number = float(value)
    if not variable.low <= number <= variable.high or (isinstance(variable, Integer) and number != int(number)):
        raise ValueError(value)
    return number


def _value(variable: Variable, code: float) -> Any:
    match variable:
        case Real():
            return code
        case Integer():
            return int(code)
        case Choice(options):
            return options[int(code)]


__all__ = ["Array", "Choice", "Exchangeable", "Group", "Integer", "Real", "Reflected", "Space", "Symmetry", "Variable"]
