"""Order statistics: what `Algebra.select` is handed. Max pooling, reductions, and sorting (GroupSort, top-k)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from pathlift.ir import dims as D
from pathlift.ir.errors import GraphError
from pathlift.ir.primitives.base import OrderStatistic, normalized_axes, reduced
from pathlift.ir.primitives.maps import pooled_shape
from pathlift.ir.primitives.taps import whole_axis, window_taps
from pathlift.ir.types import Array, Dims, Ints

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class WindowMax(OrderStatistic):
    """Max pooling. Padding is −∞: it is never selected, and it is in no pool."""

    kernel: Ints
    strides: Ints
    pads: Ints
    dilations: Ints
    ceil_mode: bool = False

    def shape(self, x: Dims) -> Dims:
        return pooled_shape(x, self.kernel, self.strides, self.pads, self.dilations, self.ceil_mode)

    def __call__(self, x: Tensor) -> Tensor:
        """Reduce the windows, one spatial axis after another (a window is a box)."""
        import torch

        n = len(self.kernel)
        for i in range(n):
            axis, size = i + 2, x.shape[i + 2]
            k, s, d, count = self.kernel[i], self.strides[i], self.dilations[i], self._count(i, size)
            reach = (count - 1) * s + d * (k - 1) + 1
            padded = torch.nn.functional.pad(
                x.movedim(axis, -1), (self.pads[i], max(0, reach - size - self.pads[i])), value=-inf
            )
            # Tap by tap, so that no window is ever materialized.
            taps = (padded[..., j * d : j * d + (count - 1) * s + 1 : s] for j in range(k))
            x = functools.reduce(torch.maximum, taps).movedim(-1, axis)
        return x

    def mixed_axes(self, rank: int) -> tuple[int, ...]:
        return tuple(range(2, rank))

    def pools(self, axis: int, size: int) -> Array:
        i = axis - 2
        count = self._count(i, size)
        return window_taps(size, count, self.kernel[i], self.strides[i], self.pads[i], self.dilations[i])

    def _count(self, i: int, size: int) -> int:
        begin, end = self.pads[i], self.pads[i + len(self.kernel)]
        count = D.pooled(size, self.kernel[i], self.strides[i], begin, end, self.dilations[i], self.ceil_mode)
        assert isinstance(count, int)
        return count


@dataclass(frozen=True)
class Extremum(OrderStatistic):
    """Maximum (or minimum) over `axes` (all, if empty)."""

    axes: Ints
    keepdims: bool
    largest: bool = True

    def shape(self, x: Dims) -> Dims:
        return reduced(x, self.axes, self.keepdims)

    def __call__(self, x: Tensor) -> Tensor:
        import torch

        axes = normalized_axes(self.axes, x.ndim)
        return (torch.amax if self.largest else torch.amin)(x, axes, self.keepdims) if axes else x

    def mixed_axes(self, rank: int) -> tuple[int, ...]:
        return normalized_axes(self.axes, rank)

    def pools(self, axis: int, size: int) -> Array:
        return whole_axis(size)


@dataclass(frozen=True)
class Sort(OrderStatistic):
    """The `k` largest (or smallest) values along `axis`, in order: each ranges over the whole axis."""

    axis: int
    k: int
    largest: bool = True

    def shape(self, x: Dims) -> Dims:
        out, size = list(x), x[self.axis]
        if self.k < 0 or (isinstance(size, int) and self.k > size):
            raise GraphError("0533", f"the top {self.k} of {size} values were asked for")
        out[self.axis] = self.k
        return tuple(out)

    def __call__(self, x: Tensor) -> Tensor:
        return x.sort(self.axis, descending=self.largest).values.narrow(self.axis % x.ndim, 0, self.k)

    def mixed_axes(self, rank: int) -> tuple[int, ...]:
        return (self.axis % rank,)

    def pools(self, axis: int, size: int) -> Array:
        return whole_axis(size, self.k)
