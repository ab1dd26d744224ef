"""Resize as a linear map: interpolation coefficients per resized axis (ONNX Resize, opset 10 to 19)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import floor, inf
from typing import Any

import numpy as np

from pathlift.ir import dims as D
from pathlift.ir.errors import GraphError
from pathlift.ir.primitives.base import SeparableMap
from pathlift.ir.primitives.taps import Taps, merged
from pathlift.ir.types import Array, Dim, Dims

COORDINATES: dict[str, Callable[[Array, Any, Any, Any], Array]] = {
    # (output index, scale, input extent, output extent) -> position on the input axis, all of one number type
    "half_pixel": lambda i, scale, n, m: ((2 * i + 1) / scale - 1) / 2,
    "half_pixel_symmetric": lambda i, scale, n, m: (n * (1 - m / (scale * n)) + (2 * i + 1) / scale - 1) / 2,
    "pytorch_half_pixel": lambda i, scale, n, m: ((2 * i + 1) / scale - 1) / 2 if m > 1 else i * 0,
    "align_corners": lambda i, scale, n, m: i * (n - 1) / (m - 1) if m > 1 else i * 0,
    "asymmetric": lambda i, scale, n, m: i / scale,
}


def _halves(x: Array) -> Array:
    """Make positions that rounding moved a little off the middle of two values ties again, as ONNX Runtime does."""
    half = np.round(2 * x) / 2
    return np.where(np.abs(x - half) <= 1e-6 * np.maximum(1, np.abs(x)), half, x)


_NEAREST: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda x: np.ceil(_halves(x) - 0.5),
    "round_prefer_ceil": lambda x: np.floor(_halves(x) + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True)
class Resample(SeparableMap):
    """A separable resize along `axes`, without parameters.

    Parameters
    ----------
    axes
        The axes that change.
    scales
        Output extent over input extent, one per axis; empty if `sizes` is given.
    sizes
        Output extents, one per axis; empty if `scales` is given.
    mode
        ``nearest``, ``linear`` or ``cubic``.
    coordinates, nearest_mode, cubic_coeff_a, exclude_outside
        As in ONNX Resize.
    """

    axes: tuple[int, ...]
    scales: tuple[float, ...] = ()
    sizes: tuple[int, ...] = ()
    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest_mode: str = "round_prefer_floor"
    cubic_coeff_a: float = -0.75
    exclude_outside: bool = False

    def shape(self, x: Dims, w: Dims | None) -> Dims:
        out = list(x)
        extents = self.sizes or self.scales
        if len(extents) != len(self.axes) or (self.sizes and self.scales) or not all(0 < e < inf for e in extents):
            raise GraphError("0532", f"axes {list(self.axes)} need as many positive sizes, or scales")
        known = self.coordinates in COORDINATES and self.nearest_mode in _NEAREST
        if not known or self.mode not in ("nearest", "linear", "cubic"):
            raise GraphError("0532", f"cannot resize by {self.mode!r}, {self.coordinates!r}, {self.nearest_mode!r}")
        for j, axis in enumerate(self.axes):
            size = x[D.axis(axis, len(x))]
            if size == 0:
                raise GraphError("0532", f"cannot resize axis {axis} of {list(x)}")
            out[axis] = self._extent(j, size) if self.sizes or isinstance(size, int) else None
        return tuple(out)

    def _extent(self, j: int, n: Dim) -> int:
        """Output extent along the j-th axis; scales are applied in float32, as in ONNX."""
        return self.sizes[j] if self.sizes else floor(np.float32(n) * np.float32(self.scales[j]))

    def mixed_axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        # ONNX Runtime copies where no extent changes, even where a scale like 1.1 asks for other positions.
        return () if self.shape(shape, None) == shape else self.axes

    def taps(self, axis: int, size: int) -> Taps:
        """Coefficients that borders clamp onto one source are added: together they are one edge."""
        j, n = self.axes.index(axis), size
        m = self._extent(j, n)
        # A nearest position jumps where rounding decides, so it is computed as ONNX Runtime does, in float32. Others
        # are exact: a coefficient that is 0 must not become 1e-16, of which any small power is an edge that counts.
        real: Callable[[Any], Any] = np.float32 if self.mode == "nearest" else Fraction
        scale = real(m) / real(n) if self.sizes else real(self.scales[j])
        index = np.array([real(i) for i in range(m)])
        position = COORDINATES[self.coordinates](index, scale, real(n), real(m))
        if self.mode == "nearest":
            taps = _NEAREST[self.nearest_mode](position).astype(np.int64)[:, None]
            weights = np.ones(taps.shape)
        else:
            base = np.array([floor(p) for p in position])
            t = (position - base)[:, None]
            offsets = np.array([0, 1]) if self.mode == "linear" else np.array([-1, 0, 1, 2])
            taps = base[:, None] + offsets
            weights = (
                np.abs(1 - offsets - t)
                if self.mode == "linear"
                else _cubic(np.abs(t - offsets), Fraction(self.cubic_coeff_a))
            )
        if self.exclude_outside:
            weights = np.where((taps >= 0) & (taps < n), weights, 0)
            weights = weights / weights.sum(1, keepdims=True)
        sources = taps.clip(0, n - 1)
        return Taps(sources, merged(sources, weights).astype(np.float64))


def _cubic(distance: Array, a: Fraction) -> Array:
    """Keys' cubic convolution kernel at these distances."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))
