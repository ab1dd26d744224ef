"""Kronecker-sparse structure that is in a file already: zeros, groups, batched products.

Nothing is approximated. A layer is found if all its non-zeros lie in a pattern (a, b, c, d) smaller than the matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np

from pathlift.ir.cost import DEVICES, Cost, Device
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.kronecker import Pattern, dense, gather
from pathlift.ir.types import Array
from pathlift.passes.base import Analysis
from pathlift.passes.kronecker.idioms import products
from pathlift.passes.kronecker.products import FeatureProduct, Reordering
from pathlift.passes.kronecker.support import diagonal_blocks, smallest_pattern

_EXPANDED = 2**26
"""Elements beyond which a matrix that is known to be sparse is not expanded to look for more zeros."""
_CPU = "times are predicted for one thread of ONNX Runtime: half within a factor of 1.5, nine in ten within 2.5"
_CARD = "times are predicted for kernels that reach the memory bandwidth or the arithmetic of a {device}"


@dataclass(frozen=True, eq=False)
class DetectedLayer:
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
    rows, cols
        The order of outputs, and of inputs, that the pattern has; ``None`` for one that is the layer's.
    before, after, dense
        Cost of the layer as it is, as a `KSLinear` with the transpositions that it needs, and with a dense matrix.
    """

    product: FeatureProduct
    kind: str
    pattern: Pattern
    factor: Array
    rows: Reordering | None
    cols: Reordering | None
    before: Cost
    after: Cost
    dense: Cost

    @property
    def permuted(self) -> bool:
        """Whether the pattern has features in another order."""
        return self.rows is not None or self.cols is not None

    @property
    def speedup(self) -> float:
        """Predicted time of the layer as it is, over that as a `KSLinear`."""
        return self.before.seconds / self.after.seconds

    def to_json(self) -> dict[str, Any]:
        """Return where it is, its pattern and its costs, in plain JSON types."""
        node = self.product.graph[self.product.key]
        return {
            "node": node.label,
            "op": node.op,
            "kind": self.kind,
            "pattern": list(self.pattern),
            "rows": self.pattern.rows,
            "cols": self.pattern.cols,
            "density": self.pattern.density,
            "flops": self.after.flops,
            "flops_dense": self.dense.flops,
            "bytes": self.after.bytes,
            "bytes_dense": self.dense.bytes,
            "predicted_speedup": self.speedup,
            "permuted": self.permuted,
        }


@dataclass(frozen=True)
class Detection:
    """What was found, in topological order, and for what costs were predicted."""

    layers: tuple[DetectedLayer, ...]
    samples: int
    device: Device

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the predicted times rest on; nothing if there are none."""
        name = self.device.name
        return (_CPU if name == "cpu" else _CARD.format(device=name.upper()),) if self.layers else ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        layers = [found.to_json() for found in self.layers]
        return {"layers": layers, "samples": self.samples, "device": self.device.name}


@dataclass(frozen=True)
class KsDetect(Analysis[Detection]):
    """Find linear layers whose matrices are Kronecker-sparse.

    Parameters
    ----------
    permutation
        Also find blocks in another order of inputs and outputs.
    samples
        Rows, batch times positions, that times are predicted for.
    device
        What they are predicted for: cpu, h100, h200 or a100.
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

    def _found(self, product: FeatureProduct) -> DetectedLayer | None:
        pattern, factor, orders = product.pattern, product.factor(), product.reorderings()
        stored = pattern
        if pattern.a * pattern.d == 1 or pattern.rows * pattern.cols <= _EXPANDED:
            matrix = factor[0, 0] if pattern.a * pattern.d == 1 else dense(factor)
            matrix = _put_back(matrix, *orders)
            mask = matrix != 0
            smallest = smallest_pattern(mask)
            if smallest.size < pattern.size or (orders != (None, None) and smallest.size == pattern.size):
                pattern, factor, orders = smallest, gather(matrix, smallest), (None, None)
            blocks = diagonal_blocks(mask) if self.permutation else None
            if blocks is not None and blocks.pattern.size < pattern.size:
                pattern, orders = blocks.pattern, (_unless_sorted(blocks.rows), _unless_sorted(blocks.cols))
                factor = gather(matrix[np.ix_(blocks.rows, blocks.cols)], pattern)
        if pattern.a * pattern.d == 1:
            return None
        kind = "zeros" if pattern.size < stored.size else "grouped" if product.is_convolution else "batched"
        return DetectedLayer(product, kind, pattern, factor, *orders, *self._costs(product, stored, pattern, orders))

    def _costs(
        self, product: FeatureProduct, stored: Pattern, pattern: Pattern, orders: tuple[Reordering | None, ...]
    ) -> tuple[Cost, Cost, Cost]:
        """Costs as it is, as a `KSLinear`, and as a dense layer."""
        device, n, size = DEVICES[self.device], self.samples, product.weight.dtype.itemsize
        full = device.dense(n, pattern.rows, pattern.cols, size)
        before = full
        if stored.a * stored.d > 1 and product.by_block:
            before = device.spelled_out(n, stored, size, moves=product.moved)
        elif stored.a * stored.d > 1:
            before = device.kronecker(n, stored, size)
        after = device.kronecker(n, pattern, size)
        after = sum((device.moved(n * features, size) for features in product.moved_around), after)
        after = sum((order.cost(device, n, size) for order in orders if order is not None), after)
        return before, after, full


def _put_back(matrix: Array, rows: Reordering | None, cols: Reordering | None) -> Array:
    """The matrix of which this one has rows and columns in another order."""
    for axis, order in enumerate((rows, cols)):
        if order is not None:
            matrix = matrix.take(order.inverse.places, axis)
    return matrix


def _unless_sorted(places: Array) -> Reordering | None:
    return None if (np.diff(places) > 0).all() else Reordering(places)
