"""Symmetries of functions: exchangeable variables, reflected ones, and finite groups of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pathlift.ir.errors import UsageError

Element = tuple[tuple[int, ...], tuple[int, ...]]
"""An order of variables and a sign for each: the point x becomes ``signs * x[order]``."""
LARGEST_GROUP = 10_000
"""Elements of the largest group whose orbits are enumerated; `Exchangeable` has no such limit."""


@dataclass(frozen=True)
class Exchangeable:
    """Variables of equal values, whose values the function takes in any order.

    Parameters
    ----------
    variables
        Indices.
    signs
        Each of them may also be reflected in the middle of its interval (its sign, where that is 0).
    """

    variables: tuple[int, ...]
    signs: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "variables", tuple(self.variables))


@dataclass(frozen=True)
class Reflected:
    """Numbers each of which may be reflected in the middle of its interval (its sign, where that is 0).

    Parameters
    ----------
    variables
        Indices.
    """

    variables: tuple[int, ...]
    signs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "variables", tuple(self.variables))


@dataclass(frozen=True)
class Group:
    """A finite group of one's own: what these orders of the variables generate, with signs.

    Parameters
    ----------
    orders
        Orders of all variables: the point x may be replaced by ``x[order]``.
    signs
        For each order the signs that go with it: x may be replaced by ``sign * x[order]``, where a sign of -1 reflects
        in the middle of the interval. All 1 by default.
    """

    orders: tuple[tuple[int, ...], ...]
    signs: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "orders", tuple(map(tuple, self.orders)))
        object.__setattr__(self, "signs", tuple(map(tuple, self.signs)))

    @property
    def generators(self) -> Sequence[Element]:
        """The orders, each with its signs."""
        signs = self.signs or tuple((1,) * len(order) for order in self.orders)
        return list(zip(self.orders, signs, strict=False))


Symmetry = Exchangeable | Reflected | Group


def closure(group: Group) -> tuple[Element, ...]:
    """Return all elements of a group, the identity first.

    Raises
    ------
    UsageError
        PL1534 if there are too many to enumerate.
    """
    variables = range(len(group.orders[0]))
    identity: Element = (tuple(variables), (1,) * len(variables))
    found, new = {identity: None}, [identity]
    while new:
        made = [_product(element, generator) for element in new for generator in group.generators]
        new = [element for element in dict.fromkeys(made) if element not in found]
        found.update(dict.fromkeys(new))
        if len(found) > LARGEST_GROUP:
            raise UsageError(
                "1534",
                f"the group has more than {LARGEST_GROUP} elements",
                hint="say which variables are exchangeable or reflected: such groups may be of any size",
            )
    return tuple(found)


def _product(first: Element, then: Element) -> Element:
    """Return what two elements do, one after the other."""
    (a, s), (b, t) = first, then
    return tuple(a[i] for i in b), tuple(t[k] * s[i] for k, i in enumerate(b))
