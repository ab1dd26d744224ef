"""Cells: elements of feature maps up to their position, and which of them must share one factor.

A neuron-wise rescaling multiplies every value of a network by a factor λ > 0. All positions of a channel share one, so
that a feature map needs one *cell* per channel. Cells that must have equal factors are merged into classes; cell 0 is
the class of everything whose factor is 1.
"""

from __future__ import annotations

import numpy as np

from pathlift.ir.types import Array

PINNED = 0


class Cells:
    """Disjoint sets of cells; the least cell of a set stands for it."""

    def __init__(self) -> None:
        self._parent = [PINNED]

    def __len__(self) -> int:
        return len(self._parent)

    def fresh(self, *shape: int) -> Array:
        """Return new cells, each a class of its own, int64 in this shape."""
        start, count = len(self._parent), int(np.prod(shape, dtype=np.int64))
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count).reshape(shape)

    def root(self, cell: int) -> int:
        """Return the cell that stands for the class of this one."""
        parent = self._parent
        while parent[cell] != cell:
            parent[cell] = parent[parent[cell]]
            cell = parent[cell]
        return cell

    def roots(self, cells: Array) -> Array:
        """Return `root` of every cell."""
        distinct, inverse = np.unique(cells, return_inverse=True)
        roots = np.fromiter(map(self.root, distinct.tolist()), np.int64, len(distinct))
        return roots[inverse].reshape(cells.shape)

    def tie(self, a: Array, b: Array) -> None:
        """Merge the classes of cells that broadcasting brings together."""
        rank = max(a.ndim, b.ndim)
        a, b = (x.reshape((1,) * (rank - x.ndim) + x.shape) for x in (a, b))
        for axis in range(rank):
            if a.shape[axis] != b.shape[axis]:  # the one that repeats meets all of the other's
                a, b = self.tied(a, axis), self.tied(b, axis)
        pairs = np.unique(np.stack([a.reshape(-1), b.reshape(-1)]), axis=1)
        for i, j in pairs.T.tolist():
            self._merge(i, j)

    def tied(self, cells: Array, axis: int) -> Array:
        """Merge all cells along an axis; returns the first of each row, with that axis of extent 1."""
        if cells.shape[axis] <= 1:
            return cells
        first = cells.take([0], axis)
        pairs = np.unique(np.stack([cells, np.broadcast_to(first, cells.shape)]).reshape(2, -1), axis=1)
        for i, j in pairs.T.tolist():
            self._merge(i, j)
        return first

    def _merge(self, a: int, b: int) -> None:
        low, high = sorted((self.root(a), self.root(b)))
        self._parent[high] = low
