"""Resize and Upsample, in every version and coordinate system, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.testing.onnx_models import f32

Rng = np.random.Generator


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [(1, 1, 2, 2), (1, 1, 3, 2), (1, 1, 1, 1), (1, 1, 1.5, 2.5), (1, 1, 0.5, 0.5)])
@pytest.mark.parametrize("opset", [7, 9, 10])
def test_legacy(check: Any, dyn: Any, rng: Rng, mode: str, scales: Any, opset: int) -> None:
    x = dyn(f32(rng, 2, 3, 4, 6), ("N", 3, 4, 6))
    expect = "Identity" if set(scales) == {1} else "Resize"
    if opset == 7:
        check("Upsample", x, scales=[float(s) for s in scales], mode=mode, opset=7, expect=expect, run=min(scales) >= 1)
    else:
        op_type = "Upsample" if opset == 9 else "Resize"
        check(
            op_type,
            x,
            np.array(scales, np.float32),
            mode=mode,
            opset=opset,
            expect=expect,
            run=opset > 9 or min(scales) >= 1,
        )


def test_legacy_nearest_left_open(check: Any, dyn: Any, rng: Rng) -> None:
    check("Resize", dyn(f32(rng, 1, 1, 5, 5)), np.array([1, 1, 0.6, 0.6], np.float32), opset=10, expect="Opaque")


COORDINATES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]
SCALES = [(1, 1, 2, 2), (1, 1, 1.7, 0.6), (1, 1, 0.5, 3), (1, 1, 1, 0.7)]
SIZES = [(2, 3, 8, 12), (2, 3, 7, 4), (2, 3, 1, 9), (2, 3, 4, 6)]


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("opset", [11, 13, 18, 19])
def test_linear(check: Any, dyn: Any, rng: Rng, coordinates: str, opset: int) -> None:
    _all_targets(check, dyn(f32(rng, 2, 3, 4, 6), ("N", 3, 4, 6)), opset, coordinates, mode="linear")


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_nearest(check: Any, dyn: Any, rng: Rng, coordinates: str, nearest: str) -> None:
    if coordinates == "half_pixel_symmetric" and nearest in ("floor", "ceil"):
        attrs = {"mode": "nearest", "nearest_mode": nearest, "coordinate_transformation_mode": coordinates}
        check("Resize", dyn(f32(rng, 1, 1, 3, 3)), None, None, np.array([1, 1, 1, 5]), expect="Opaque", **attrs)
        return
    _all_targets(
        check, dyn(f32(rng, 2, 3, 4, 6), ("N", 3, 4, 6)), 19, coordinates, mode="nearest", nearest_mode=nearest
    )


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("exclude", [0, 1])
@pytest.mark.parametrize("a", [-0.75, -0.5])
def test_cubic(check: Any, dyn: Any, rng: Rng, coordinates: str, exclude: int, a: float) -> None:
    x = dyn(f32(rng, 2, 3, 4, 6), ("N", 3, 4, 6))
    _all_targets(check, x, 19, coordinates, mode="cubic", cubic_coeff_a=a, exclude_outside=exclude)


def _all_targets(check: Any, x: Any, opset: int, coordinates: str, **attrs: Any) -> None:
    if coordinates == "half_pixel_symmetric" and opset < 19:
        return
    attrs |= {"coordinate_transformation_mode": coordinates, "opset": opset, "rtol": 1e-4}
    roi = np.zeros(0, np.float32)
    for scales in SCALES:
        check("Resize", x, roi, np.array(scales, np.float32), expect="Resize", **attrs)
    for sizes in SIZES:
        same = sizes == (2, 3, 4, 6)
        # The batch is a symbol: as a number its size cannot be compared, so the file must leave that axis out.
        graph = check("Resize", type(x)(x.value), roi, roi, np.array(sizes), **attrs)
        assert ("Resize" in [graph[k].op for k in graph]) != same
        if opset >= 18:
            check(
                "Resize",
                x,
                None,
                None,
                np.array(sizes[2:]),
                axes=[2, 3],
                expect="Identity" if same else "Resize",
                **attrs,
            )


@pytest.mark.parametrize(
    "attrs",
    [
        {"coordinate_transformation_mode": "tf_crop_and_resize"},
        {"antialias": 1},
        {"keep_aspect_ratio_policy": "not_larger"},
    ],
)
def test_refusals(check: Any, dyn: Any, rng: Rng, attrs: Any) -> None:
    x, roi = dyn(f32(rng, 1, 1, 4, 6)), np.array([0, 0, 0.1, 0.1, 1, 1, 0.9, 0.9], np.float32)
    check("Resize", x, roi, None, np.array([1, 1, 8, 8]), mode="linear", expect="Opaque", **attrs)


def test_computed_sizes_are_opaque(check: Any, dyn: Any, rng: Rng) -> None:
    x = dyn(f32(rng, 1, 1, 4, 6))
    check("Resize", x, None, None, dyn(np.array([1, 1, 8, 8])), expect="Opaque")
    check("Resize", x, None, dyn(np.array([1, 1, 2, 2], np.float32)), expect="Opaque")
