"""Gradients of non-zeros, compiled without a card."""

from __future__ import annotations

import pytest

from pathlift.codegen.offline import Report, compile_source
from pathlift.codegen.render import render
from pathlift.codegen.schedule import Form, Schedule
from pathlift.ir.kronecker import Pattern

TILES = [
    ((6, 64, 64, 1), (32, 64, 64), 1, "rows"),
    ((6, 64, 64, 1), (32, 64, 64), 1, "features"),
    ((4, 64, 64, 16), (32, 32, 32), 8, "rows"),
    ((1, 48, 48, 16), (16, 16, 16), 8, "rows"),
]
"""Patterns, tiles (samples, outputs, inputs), groups, layouts."""


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype, precision", [("float32", "tf32"), ("float32", "tf32x3"), ("float16", "ieee")])
@pytest.mark.parametrize("pattern, tile, group, layout", TILES)
def test_products_are_tensor_cores(
    pattern: tuple[int, ...], tile: tuple[int, ...], group: int, layout: str, dtype: str, precision: str, arch: str
) -> None:
    form = Form(dtype, precision, layout, layout)  # type: ignore[arg-type]  # of the parameters
    warps = 8 if group > 1 and tile[1] > 16 else 4
    schedule = Schedule("gradient", form, *tile, group=group, warps=warps, stages=2)
    report: Report = compile_source(render(Pattern(*pattern), schedule), arch)
    assert not report.spills
    assert report.fits
    assert any(report.tensor_core_instructions.values())
