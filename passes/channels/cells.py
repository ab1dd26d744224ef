"""Cells: elements of feature maps up to their position, and which of them must share one factor.

A neuron-wise rescaling multiplies every value of a network by a factor λ > 0. All positions of a channel share one, so
that a feature map needs one *cell* per channel. Cells that must have equal factors are merged into classes; cell 0 is
the class of everything whose factor is 1.
"""

from __future__ import annotations

import numpy as np

from pathlift.ir.rows import AT_ONCE
from pathlift.ir.types import Array

PINNED = 0


class DisjointSets:
    """Disjoint sets of cells; the least cell of a set stands for it."""

    def __init__(self) -> None:
        self._parent = np.zeros(1024, np.int64)
        self._count = 1

    def __len__(self) -> int:
        return self._count

    def fresh(self, *shape: int) -> Array:
        """Return new cells, each a class of its own, int64 in this shape."""
        cells = np.arange(self._count, self._count + int(np.prod(shape, dtype=np.int64)))
        self._count += cells.size
        if self._count > len(self._parent):
            self._parent.resize(self._count + self._count // 4, refcheck=False)  # in place, if there is room
        self._parent[cells] = cells
        return cells.reshape(shape)

    def roots(self, cells: Array) -> Array:
        """Return the cells that stand for the classes of these."""
        roots: Array = self._parent[cells]
        while not np.array_equal(above := self._parent[roots], roots):
            roots = above
        self._parent[cells] = roots
        return roots

    def all_roots(self) -> Array:
        """Return the cell that stands for the class of each cell; valid until the next tie."""
        for start in range(0, self._count, AT_ONCE):
            self.roots(np.arange(start, min(start + AT_ONCE, self._count)))
        return self._parent[: self._count]

    def tie(self, a: Array, b: Array) -> None:
        """Merge the classes of cells that broadcasting brings together."""
        rank = max(a.ndim, b.ndim)
        a, b = (x.reshape((1,) * (rank - x.ndim) + x.shape) for x in (a, b))
        for axis in range(rank):
            if a.shape[axis] != b.shape[axis]:  # the one that repeats meets all of the other's
                a, b = self.tied(a, axis), self.tied(b, axis)
        self._merge(*np.broadcast_arrays(a, b))

    def tied(self, cells: Array, axis: int) -> Array:
        """Merge all cells along an axis; returns the first of each row, with that axis of extent 1."""
        if cells.shape[axis] <= 1:
            return cells
        first = cells.take([0], axis)
        self._merge(cells, np.broadcast_to(first, cells.shape))
        return first

    def _merge(self, a: Array, b: Array) -> None:
        while ((a := self.roots(a)) != (b := self.roots(b))).any():
            np.minimum.at(self._parent, np.maximum(a, b), np.minimum(a, b))
