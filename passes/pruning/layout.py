"""Weights as matrices: which axes are outputs, which are taps of a kernel, and which are inputs."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from pathlift.ir.graph import Node
from pathlift.ir.primitives.maps import Contract
from pathlift.ir.types import Array, Ints


@dataclass(frozen=True)
class Layout:
    """How the weights of a linear op are a matrix per tap of its kernel, ``(rows, taps, inputs)``.

    A row holds all weights of one output.

    Parameters
    ----------
    split
        The weights' shape, with axes of groups apart.
    rows, taps, inputs
        Its axes.
    """

    split: Ints
    rows: Ints
    taps: Ints
    inputs: Ints

    @classmethod
    def of(cls, node: Node, slot: int, shape: Ints) -> Layout:
        """Return the layout of what a linear node reads in a slot: weights in 1, else a bias, which is one row."""
        every = tuple(range(len(shape)))
        match node.op if slot == 1 else "":
            case "Gemm":
                return cls(shape, (0,), (), (1,)) if node.attrs.get("trans_w", False) else cls(shape, (1,), (), (0,))
            case "Conv":
                return cls(shape, (0,), every[2:], (1,))
            case "ConvTranspose":
                groups = int(node.attrs.get("groups", 1))  # type: ignore[arg-type]  # an int
                split = (groups, shape[0] // groups, *shape[1:])
                return cls(split, (0, 2), tuple(range(3, len(split))), (1,))
            case "Einsum":
                _, letters, out = Contract(str(node.attrs["equation"])).terms
                return cls(
                    shape,
                    tuple(i for i in every if letters[i] in out),
                    (),
                    tuple(i for i in every if letters[i] not in out),
                )
            case "KSLinear":
                return cls(shape, (0, 1, 2), (), (3,))
        return cls(shape, (), (), every)

    @property
    def extents(self) -> tuple[int, int, int]:
        """How many rows, taps and inputs there are."""
        return self._size(self.rows), self._size(self.taps), self._size(self.inputs)

    def matrices(self, weights: Array) -> Array:
        """Return weights as ``(rows, taps, inputs)``."""
        return weights.reshape(self.split).transpose(*self._order).reshape(self.extents)

    def weights(self, matrices: Array, shape: Ints) -> Array:
        """Return matrices as weights of this shape again."""
        ordered = matrices.reshape([self.split[i] for i in self._order])
        back = sorted(range(len(self._order)), key=self._order.__getitem__)
        return ordered.transpose(*back).reshape(shape)

    @property
    def _order(self) -> Ints:
        return (*self.rows, *self.taps, *self.inputs)

    def _size(self, axes: Ints) -> int:
        return prod(self.split[i] for i in axes)
