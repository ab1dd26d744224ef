"""Affine steps of a tape: linear in their operands, plus constants.

Such a step knows itself (`linear`), itself with absolute coefficients (`absolute`), how far its parameters may be off
what the file means (`uncertainty`), and what is left of it when another step of its kind is taken away (`minus`). Its
transpose is autograd's.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from math import prod

import torch

from pathlift.ir.primitives.base import LinearMap, SeparableMap, View
from pathlift.ir.primitives.maps import Contract, Conv, ConvTranspose
from pathlift.ir.primitives.views import Pad
from pathlift.passes.tape.coefficients import Coefficients, U
from pathlift.passes.tape.steps import Step

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class Affine(Step):
    """A step that is linear in its operands, plus a constant."""

    @property
    def terms(self) -> int:
        """The most products that are added up in one element of the result."""
        return 1

    @property
    def constant(self) -> Coefficients | None:
        """What is added, of a shape that broadcasts to the result."""
        return None

    @property
    def uncertain(self) -> bool:
        """Whether coefficients of the linear part have errors."""
        return False

    @abstractmethod
    def linear(self, *xs: Tensor) -> Tensor:
        """The linear part."""

    def absolute(self, *xs: Tensor) -> Tensor:
        """The linear part with (upper bounds of) absolute coefficients, on non-negative operands."""
        return self.linear(*xs)

    def uncertainty(self, *xs: Tensor) -> Tensor | None:
        """What errors of the coefficients may add, on magnitudes of the operands; ``None`` if they are exact."""
        return None

    def minus(self, other: Step) -> Affine | None:
        """Return this step less another one on the same operands; ``None`` if nothing is left."""
        return None

    def run(self, *xs: Tensor) -> Tensor:
        y = self.linear(*xs)
        return y if self.constant is None else y + self.constant.values

    def transpose(self, rows: Tensor) -> list[Tensor]:
        """Apply the transposed linear part.

        Parameters
        ----------
        rows
            ``(R, *shape)``.

        Returns
        -------
        list
            ``(R, *shape)`` per operand.
        """
        if not self.inputs:
            return []
        zeros = [torch.zeros(s, dtype=rows.dtype, device=rows.device) for s in self.shapes]
        pull = torch.func.vjp(self.linear, *zeros)[1]
        return list(torch.func.vmap(pull)(rows))


@dataclass(frozen=True, eq=False)
class Constant(Affine):
    """A parameter as a value, to which its numbers broadcast."""

    values: Coefficients

    @property
    def constant(self) -> Coefficients:
        return self.values

    def linear(self, *xs: Tensor) -> Tensor:
        return torch.zeros_like(self.values.values).expand(self.shape)

    def minus(self, other: Step) -> Affine | None:
        assert isinstance(other, Constant)
        difference = self.values.minus(other.values)
        return None if difference.nothing else replace(self, values=difference)


@dataclass(frozen=True, eq=False)
class Weighted(Affine):
    """A linear map with weights."""

    map: LinearMap
    weights: Coefficients

    @property
    def terms(self) -> int:
        extents = tuple(self.weights.values.shape)
        match self.map:
            case Conv():
                return prod(extents[1:])
            case ConvTranspose():
                return prod(extents) // max(1, extents[1])
            case Contract():
                xs, ws, result = self.map.letters(len(self.shapes[0]))
                sizes = dict(zip(xs + ws, self.shapes[0] + extents, strict=True))
                return prod(n for letter, n in sizes.items() if letter not in result)
        return prod(extents) * prod(self.shapes[0])

    @property
    def uncertain(self) -> bool:
        return self.weights.error is not None

    def linear(self, *xs: Tensor) -> Tensor:
        return self.map(xs[0], self.weights.values)

    def absolute(self, *xs: Tensor) -> Tensor:
        return self.map(xs[0], self.weights.size)

    def uncertainty(self, *xs: Tensor) -> Tensor | None:
        return None if self.weights.error is None else self.map(xs[0], self.weights.error)

    def minus(self, other: Step) -> Affine | None:
        assert isinstance(other, Weighted)
        difference = self.weights.minus(other.weights)
        return None if difference.nothing else replace(self, weights=difference)


@dataclass(frozen=True, eq=False)
class Combined(Affine):
    """A linear map with fixed coefficients: averages, sums, interpolation."""

    map: SeparableMap

    @property
    def terms(self) -> int:
        axes = self.map.mixed_axes(self.shapes[0])
        return prod(self.shapes[0][axis] for axis in axes) + len(axes)  # and a product, or a quotient, for each axis

    @property
    def uncertain(self) -> bool:
        return True

    def linear(self, *xs: Tensor) -> Tensor:
        return self.map(xs[0])

    def absolute(self, *xs: Tensor) -> Tensor:
        (x,) = xs
        for axis in self.map.mixed_axes(tuple(x.shape)):
            x = _along_taps(self.map, x, axis % x.ndim)
        return x.reshape(self.shape)

    def uncertainty(self, *xs: Tensor) -> Tensor | None:
        # Averages and interpolations are quotients, each rounded a few times, along each axis.
        return self.absolute(*xs) * (16 * U)


@dataclass(frozen=True, eq=False)
class Scaled(Affine):
    """A product with coefficients that broadcast to the operand, or the operand to them."""

    factor: Coefficients

    @property
    def uncertain(self) -> bool:
        return self.factor.error is not None

    def linear(self, *xs: Tensor) -> Tensor:
        return xs[0] * self.factor.values

    def absolute(self, *xs: Tensor) -> Tensor:
        return xs[0] * self.factor.size

    def uncertainty(self, *xs: Tensor) -> Tensor | None:
        return None if self.factor.error is None else xs[0] * self.factor.error

    def minus(self, other: Step) -> Affine | None:
        assert isinstance(other, Scaled)
        difference = self.factor.minus(other.factor)
        return None if difference.nothing else replace(self, factor=difference)


@dataclass(frozen=True, eq=False)
class Sum(Affine):
    """The sum of two values, with broadcasting."""

    @property
    def terms(self) -> int:
        return 2

    def linear(self, *xs: Tensor) -> Tensor:
        return xs[0] + xs[1]


@dataclass(frozen=True, eq=False)
class Shifted(Affine):
    """A value plus coefficients, with broadcasting."""

    shift: Coefficients

    @property
    def constant(self) -> Coefficients:
        return self.shift

    @property
    def terms(self) -> int:
        return 2

    def linear(self, *xs: Tensor) -> Tensor:
        return xs[0].expand(self.shape)

    def minus(self, other: Step) -> Affine | None:
        assert isinstance(other, Shifted)
        difference = self.shift.minus(other.shift)
        return None if difference.nothing else Constant(self.node, (), (), self.shape, difference)


@dataclass(frozen=True, eq=False)
class Moved(Affine):
    """A rearrangement; what it pads with is its constant.

    Parameters
    ----------
    view
        What is rearranged, and how.
    device
        Where the constant lives.
    """

    view: View
    device: torch.device

    def linear(self, *xs: Tensor) -> Tensor:
        view = replace(self.view, value=0.0) if isinstance(self.view, Pad) else self.view
        return view(*xs)

    @property
    def constant(self) -> Coefficients | None:
        if not isinstance(self.view, Pad) or self.view.value == 0:
            return None
        return Coefficients(self.view(torch.zeros(self.shapes[0], dtype=torch.float64, device=self.device)))

    def run(self, *xs: Tensor) -> Tensor:
        return self.view(*xs)


def _along_taps(f: SeparableMap, x: Tensor, axis: int) -> Tensor:
    taps = f.taps(axis, x.shape[axis])
    out = taps.sources.shape[0]
    matrix = torch.zeros(out, x.shape[axis], dtype=torch.float64)
    for j in range(taps.sources.shape[1]):
        sources = torch.from_numpy(taps.sources[:, j].copy())
        real = sources >= 0
        weights = torch.ones(out, dtype=torch.float64)
        if taps.coefficients is not None:
            weights = torch.from_numpy(taps.coefficients[:, j].copy()).double().abs()
        rows = torch.arange(out)[real]
        matrix[rows, sources[real]] += weights[real]
    result: Tensor = torch.tensordot(matrix.to(x), x, dims=([1], [axis])).movedim(0, axis)
    return result
