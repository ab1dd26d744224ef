"""The steps of a tape: what one primitive does to values, once its parameters are numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.base import Activation, OrderStatistic
from pathlift.passes.tape.coefficients import Coefficients

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class Step(ABC):
    """One primitive at work.

    Parameters
    ----------
    node
        Label of the node whose program it is part of.
    inputs
        Which values of the tape it reads.
    shapes
        Their shapes.
    shape
        Of the value that it computes.
    """

    node: str
    inputs: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]

    @abstractmethod
    def run(self, *xs: Tensor) -> Tensor:
        """Compute the value, in float64."""


@dataclass(frozen=True, eq=False)
class Gate(Step):
    """An elementwise activation with its slopes, if it has some, which broadcast to the operand."""

    f: Activation
    slopes: tuple[Coefficients, ...] = ()

    def run(self, *xs: Tensor) -> Tensor:
        y: Tensor = self.f.torch(xs[0], *(s.values for s in self.slopes))
        return y


@dataclass(frozen=True, eq=False)
class Select(Step):
    """Order statistics."""

    statistic: OrderStatistic

    def run(self, *xs: Tensor) -> Tensor:
        return self.statistic(xs[0])


@dataclass(frozen=True, eq=False)
class Bilinear(Step):
    """What is linear in each of two operands: products of activations.

    Parameters
    ----------
    product
        On tensors; with absolute values for operands, it bounds itself.
    terms
        The most products that are added up in one element.
    """

    product: Callable[..., Tensor]
    terms: int

    def run(self, *xs: Tensor) -> Tensor:
        return self.product(*xs)


@dataclass(frozen=True, eq=False)
class Within(Step):
    """The operand, of which a theorem says between which numbers it lies."""

    low: float
    high: float

    def run(self, *xs: Tensor) -> Tensor:
        return xs[0]


def check_broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the shape that these broadcast to.

    Raises
    ------
    UnsupportedError
        If they do not.
    """
    try:
        return tuple(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]  # torch has no types for it
    except RuntimeError:
        raise UnsupportedError("1365", f"shapes {' and '.join(map(str, shapes))} do not fit each other") from None
