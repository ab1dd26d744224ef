"""Interpolation at places that are computed: each axis has hat functions, whose products are the weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.base import Activation
from pathlift.ir.primitives.views import Take
from pathlift.ir.programs.gates import ABS, RELU
from pathlift.ir.programs.onnx.registry import program
from pathlift.ir.programs.parts import bilinear, constant, plus, reshaped, within

MOST = 2**24
"""So many weights along one axis at most."""


@program("GridSample")
def grid_sample(
    alg: Algebra[T], x: T, grid: T, *, mode: str = "linear", padding_mode: str = "zeros", align_corners: int = 0
) -> T:
    """Linear interpolation of images: with w_h the hat around row h, Σ w_h(y)·w_v(x)·pixel[h, v]."""
    if mode not in ("linear", "bilinear") or padding_mode not in ("zeros", "border"):
        raise UnsupportedError("0304", f"a grid sample of mode {mode} with padding {padding_mode}")
    shape, places = alg.extents(x), alg.extents(grid)
    if len(shape) != 4:
        raise UnsupportedError("0304", f"a grid sample of {len(shape) - 2} axes")
    n, c, height, width = shape
    p = places[1] * places[2]
    if n * p * max(height, width) > MOST:
        raise UnsupportedError("0304", f"more than {MOST} weights of a grid sample")
    flat = reshaped(alg, grid, (n, p, 2))
    across, down = (
        _hats(
            alg, alg.move((flat,), Take(2, (axis,))), size, border=padding_mode == "border", corners=bool(align_corners)
        )
        for axis, size in ((0, width), (1, height))
    )

    def rows(x: Any, w: Any) -> Any:
        import torch

        return torch.einsum("nchv,npv->nchp", x, w)

    def columns(x: Any, w: Any) -> Any:
        import torch

        return torch.einsum("nchp,nph->ncp", x, w)

    y = bilinear(alg, bilinear(alg, x, across, rows), down, columns)
    return reshaped(alg, y, (n, c, *places[1:3]))


def _hats(alg: Algebra[T], places: T, size: int, *, border: bool, corners: bool) -> T:
    """How much of each of the pixels along an axis is at places between -1 and 1, ``(…, 1)``: ``(…, size)``."""
    if corners:  # -1 and 1 are the centres of the first and the last pixel
        at = plus(alg, alg.scale(places, 0.5 * (size - 1)), 0.5 * (size - 1))
    else:
        at = plus(alg, alg.scale(places, 0.5 * size), 0.5 * (size - 1))
    if border:
        most = float(size - 1)
        ends = (0.0, most) if most else (0.0,)
        at = alg.gate(at, Activation("Clip", (0.0, 1.0), lambda x: x.clamp(0.0, most), bends=ends, affine=True))
    away = alg.gate(alg.add(at, constant(alg, -np.arange(float(size)))), ABS)
    return within(alg, alg.gate(plus(alg, alg.scale(away, -1.0), 1.0), RELU), 0.0, 1.0)
