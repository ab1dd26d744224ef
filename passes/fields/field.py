"""Tensors that hold one value per class of positions.

The all-ones input, and whatever a network with every weight replaced by its magnitude makes of it, is constant on
large boxes: along each axis, positions with the same situation at the borders hold equal values. A `Field` keeps one
representative per class, and per axis a label for each position. Operations act on the representatives alone; classes
are split where windows meet borders, and merged where windows see the same classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from pathlift.ir.types import Array
from pathlift.passes.fields.scaled import Scaled
from pathlift.passes.fields.semiring import Semiring

Tensor = torch.Tensor
Labels = Array | None
"""Class of each position along an axis; ``None`` if every position is a class of its own."""


@dataclass(frozen=True)
class Field:
    """A tensor, constant on classes of positions along each axis.

    Parameters
    ----------
    value
        One element per class.
    labels
        Per axis; ``labels[i][p]`` is the index in ``value`` of position p.
    """

    value: Scaled
    labels: tuple[Labels, ...]

    @classmethod
    def plain(cls, value: Scaled) -> Field:
        """Every position a class of its own."""
        return cls(value, (None,) * value.rank)

    @classmethod
    def ones(cls, shape: Sequence[int], dtype: torch.dtype, device: torch.device, *, classes: bool = True) -> Field:
        """All ones: a single class, or (with ``classes=False``) every position for itself."""
        if not classes or 0 in shape:
            return cls.plain(Scaled.of(torch.ones(tuple(shape), dtype=dtype, device=device)))
        labels = tuple(None if n == 1 else np.zeros(n, np.int64) for n in shape)
        return cls(Scaled(torch.ones([1] * len(shape), dtype=dtype, device=device), 0, 0, 0, 0), labels)

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents of the whole tensor."""
        return tuple(n if s is None else len(s) for n, s in zip(self.value.m.shape, self.labels, strict=True))

    def labels_of(self, axis: int) -> Array:
        """The class of each position along an axis."""
        labels = self.labels[axis]
        return np.arange(self.value.m.shape[axis]) if labels is None else labels

    def expanded(self, axes: Iterable[int] | None = None) -> Field:
        """The same tensor with every position along `axes` (all, by default) a class of its own."""
        value, labels = self.value, list(self.labels)
        for axis in range(self.rank) if axes is None else axes:
            if (s := labels[axis]) is not None:
                value, labels[axis] = value.taken(axis, self._index(s)), None
        return Field(value, tuple(labels))

    def taken(self, axis: int, positions: Array) -> Field:
        """The elements at these positions along an axis; −1 stands for a zero."""
        sources = np.full(positions.shape, -1)
        sources[positions >= 0] = self.labels_of(axis)[positions[positions >= 0]]
        kept, labels = classes(sources)
        value = self.value.taken(axis, self._index(kept))
        return Field(value, tuple(labels if i == axis else s for i, s in enumerate(self.labels)))

    def lifted(self, rank: int) -> Field:
        """The same tensor with leading axes of extent 1, up to this rank."""
        return Field(self.value.lifted(rank), (None,) * (rank - self.rank) + self.labels)

    def total(self, semiring: Semiring) -> Scaled:
        """All elements combined, as a scalar in float64."""
        value = replace(self.value, m=self.value.m.double())
        for axis in reversed(range(self.rank)):
            if (labels := self.labels[axis]) is not None:
                counts = torch.from_numpy(np.bincount(labels).astype(np.float64)).to(value.m.device)
                factors = semiring.multiple(counts).reshape(-1, *[1] * (value.rank - axis - 1))
                value = value.times(Scaled.of(factors))
            value = value.over(axis, semiring)
        return value.settled()

    def log2(self) -> Tensor:
        """Binary logarithm of every element, at full extent, detached; −inf where it is zero."""
        logs = self.value.log2().detach()
        for axis, labels in enumerate(self.labels):
            if labels is not None:
                logs = logs.index_select(axis, self._index(labels))
        return logs

    def _index(self, positions: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(positions)).to(self.value.m.device)


def classes(rows: Array) -> tuple[Array, Labels]:
    """Group equal rows (or numbers): the first of each group, and the group of each; ``None`` if all differ."""
    seen: dict[Any, int] = {}
    first: list[int] = []
    labels = np.empty(len(rows), np.int64)
    for i, row in enumerate(rows.tolist()):
        key = row if rows.ndim == 1 else tuple(row)
        if key not in seen:
            seen[key] = len(first)
            first.append(i)
        labels[i] = seen[key]
    return (rows, None) if len(first) == len(rows) else (rows[first], labels)


def joint(fields: Sequence[Field], *, apart: int | None = None) -> list[Field]:
    """Give fields of one rank the same classes along every axis (but `apart`), splitting where they differ.

    An axis of extent 1 next to a longer one is left as it is: it broadcasts.
    """
    result, shapes = list(fields), [f.shape for f in fields]
    for axis in range(fields[0].rank):
        extents = [shape[axis] for shape in shapes]
        if axis != apart and len(at := [i for i, n in enumerate(extents) if n != 1] or [0]) > 1:
            _join(result, axis, at)
    return result


def _join(fields: list[Field], axis: int, at: Sequence[int]) -> None:
    """Give those of the fields that are `at` these places the same classes along an axis."""
    first = fields[at[0]].labels[axis]
    if all(_same(fields[i].labels[axis], first) for i in at[1:]):
        return
    kept, labels = classes(np.stack([fields[i].labels_of(axis) for i in at], 1))
    for source, i in zip(kept.T, at, strict=True):
        f = fields[i]
        value = f.value
        if len(source) != value.m.shape[axis] or not np.array_equal(source, np.arange(len(source))):
            value = value.taken(axis, f._index(source))
        fields[i] = Field(value, tuple(labels if j == axis else s for j, s in enumerate(f.labels)))


def _same(a: Labels, b: Labels) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


def plus(a: Field, b: Field, semiring: Semiring) -> Field:
    """Elementwise sum (or maximum), with broadcasting."""
    return _elementwise(a, b, lambda x, y: x.plus(y, semiring))


def times(a: Field, b: Field) -> Field:
    """Elementwise product, with broadcasting."""
    return _elementwise(a, b, Scaled.times)


def _elementwise(a: Field, b: Field, f: Callable[[Scaled, Scaled], Scaled]) -> Field:
    rank = max(a.rank, b.rank)
    x, y = joint([a.lifted(rank), b.lifted(rank)])
    # Where one broadcasts, the classes are the other's.
    return Field(f(x.value, y.value), tuple(t if s is None else s for s, t in zip(x.labels, y.labels, strict=True)))
