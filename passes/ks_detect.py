"""Kronecker-sparse structure that is in a file already: zeros, groups, batched products.

Nothing is approximated. A layer is found if all its non-zeros lie in a pattern (a, b, c, d) smaller than the matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar

import numpy as np

from pathlift.ir.cost import DEVICES, Cost, Device
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.kronecker import Pattern, dense, gather
from pathlift.ir.types import Array
from pathlift.passes.base import Analysis
from pathlift.passes.kronecker.idioms import products
from pathlift.passes.kronecker.products import Product
from pathlift.passes.kronecker.support import diagonal_blocks, smallest_pattern

_EXPANDED = 2**26
"""Elements beyond which a matrix that is known to be sparse is not expanded to look for more zeros."""


@dataclass(frozen=True, eq=False)
class Found:
    """A Kronecker-sparse layer.

    Parameters
    ----------
    product
        Where it is.
    kind
        ``zeros`` in the weights, ``grouped`` convolution, or ``batched`` product.
    pattern
        Its pattern.
    factor
        The non-zeros, shape (a, d, b, c), in the weights' element type.
    order
        Which output, and which input feature comes at each place of the pattern; ``None`` if all stay.
    before, after, dense
        Cost of the layer as it is, as a `KSLinear` with the transpositions that it needs, and with a dense matrix.
    """

    product: Product
    kind: str
    pattern: Pattern
    factor: Array
    order: tuple[Array, Array] | None
    before: Cost
    after: Cost
    dense: Cost

    @property
    def speedup(self) -> float:
        """Predicted time of the layer as it is, over that as a `KSLinear`."""
        return self.before.seconds / self.after.seconds


@dataclass(frozen=True)
class Detection:
    """What was found, in topological order, and for what costs were predicted."""

    layers: tuple[Found, ...]
    samples: int
    device: Device


@dataclass(frozen=True)
class KsDetect(Analysis[Detection]):
    """Find linear layers whose matrices are Kronecker-sparse.

    Parameters
    ----------
    permutation
        Also look for blocks that a permutation of inputs and of outputs brings onto the diagonal.
    samples
        Rows of the operand that costs are predicted for: batch times positions.
    device
        ``cpu``, ``h100`` or ``a100``.
    """

    name: ClassVar[str] = "ks-detect"

    permutation: bool = False
    samples: int = 1024
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not isinstance(self.device, str) or self.device not in DEVICES:
            raise UsageError("0454", f"no cost model is known of device {self.device!r}", hint=", ".join(DEVICES))
        if not isinstance(self.samples, Integral) or self.samples < 1:
            raise UsageError("0455", f"samples is {self.samples!r}, not a number of rows, 1 or more")

    def run(self, graph: Graph) -> Detection:
        """Look at every product with constant weights: Gemm, MatMul, Einsum, 1×1 Conv, and the views around it.

        Parameters
        ----------
        graph
            Any graph; what a caller may replace is not constant.
        """
        found = (self._found(product) for product in products(graph))
        return Detection(tuple(f for f in found if f is not None), self.samples, DEVICES[self.device])

    def _found(self, product: Product) -> Found | None:
        pattern, factor, order = product.pattern, product.factor(), product.permutations()
        stored = pattern
        if pattern.a * pattern.d == 1 or pattern.rows * pattern.cols <= _EXPANDED:
            matrix = factor[0, 0] if pattern.a * pattern.d == 1 else dense(factor)
            matrix = matrix if order is None else _unpermuted(matrix, *order)
            mask = matrix != 0
            smallest = smallest_pattern(mask)
            if smallest.size < pattern.size or (order is not None and smallest.size == pattern.size):
                pattern, factor, order = smallest, gather(matrix, smallest), None
            blocks = diagonal_blocks(mask) if self.permutation else None
            if blocks is not None and blocks.pattern.size < pattern.size:
                pattern, order = blocks.pattern, (blocks.rows, blocks.cols)
                factor = gather(matrix[np.ix_(*order)], pattern)
        if pattern.a * pattern.d == 1:
            return None
        kind = "zeros" if pattern.size < stored.size else "grouped" if product.is_convolution else "batched"
        return Found(product, kind, pattern, factor, order, *self._costs(product, stored, pattern, order))

    def _costs(
        self, product: Product, stored: Pattern, pattern: Pattern, order: tuple[Array, Array] | None
    ) -> tuple[Cost, Cost, Cost]:
        """Costs as it is, as a `KSLinear`, and as a dense layer."""
        device, n, size = DEVICES[self.device], self.samples, product.weight.dtype.itemsize
        full = device.dense(n, pattern.rows, pattern.cols, size)
        before = full if stored.a * stored.d == 1 else device.batched(n, stored, size)
        after = device.kronecker(n, pattern, size)
        return (
            sum((device.moved(n * features, size) for features in product.moved), before),
            sum((device.moved(n * features, size) for features in product.moved_around(order)), after),
            full,
        )


def _unpermuted(matrix: Array, rows: Array, cols: Array) -> Array:
    """The matrix of which this one has rows and columns in another order."""
    result = np.empty_like(matrix)
    result[np.ix_(rows, cols)] = matrix
    return result
