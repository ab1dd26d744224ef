"""Interpolation against ONNX Runtime, and what it refuses."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pathlift.ir.errors import GraphError
from pathlift.ir.primitives.resample import COORDINATES, Resample

MODES = [("nearest", m) for m in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")]


@pytest.mark.parametrize("coordinates", [c for c in COORDINATES if c != "half_pixel_symmetric"])
@pytest.mark.parametrize(("mode", "nearest"), [*MODES, ("linear", "floor"), ("cubic", "floor")])
def test_resizing_is_onnx_runtimes(check, onnx_run, tensor, coordinates, mode, nearest):
    for n, exclude in itertools.product((1, 3, 10), (False, True) if mode == "cubic" else (False,)):
        x = tensor(1, 1, 1, n)
        attrs = {"mode": mode, "nearest_mode": nearest, "coordinate_transformation_mode": coordinates}
        for sizes, scales in [*(((m,), ()) for m in (1, 2, 5, 8)), *(((), (s,)) for s in (0.5, 0.7, 1.1, 1.6, 3.0))]:
            if n * max(scales, default=1.0) < 1:
                continue
            roi, none = np.zeros(0, np.float32), np.zeros(0, np.float32)
            given_scales = np.array([1, 1, 1, *scales], np.float32) if scales else none
            others = [roi, given_scales, *([np.array([1, 1, 1, *sizes])] if sizes else [])]
            expected = onnx_run("Resize", x, *others, exclude_outside=int(exclude), **attrs)
            exact = tuple(float(np.float32(s)) for s in scales)
            check(Resample((3,), exact, sizes, mode, coordinates, nearest, -0.75, exclude), expected, x)


def test_unknown_resizing_is_refused_before_it_runs():
    with pytest.raises(GraphError, match="PL0532"):
        Resample((0,), (), (2,), mode="quadratic").shape((3,), None)


@pytest.mark.parametrize(("axes", "shape"), [((2,), (1, 1, 0)), ((-1,), (1, 1, 0)), ((3,), (1, 1, 4))])
def test_an_axis_that_has_no_elements_or_does_not_exist_is_not_resized(axes, shape):
    with pytest.raises(GraphError, match=r"PL0532|PL0536"):
        Resample(axes, (), (8,)).shape(shape, None)
