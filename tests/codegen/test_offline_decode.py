"""Kernels for a handful of samples, compiled without a card."""

from __future__ import annotations

import pytest

from pathlift.codegen.offline import Report, compile_source
from pathlift.codegen.render import render
from pathlift.codegen.schedule import Form, Schedule
from pathlift.ir.kronecker import Pattern

TILES = [
    ((1, 1024, 1024, 1), (1, 8, 512), 1),
    ((1, 1024, 1024, 1), (8, 8, 128), 1),
    ((1, 192, 48, 2), (4, 16, 64), 1),
    ((1, 3, 2, 4096), (4, 4, 2), 64),
]
"""Patterns, tiles (samples, outputs, inputs) and groups."""


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("pattern, tile, group", TILES)
def test_weights_are_read_by_16_bytes(
    pattern: tuple[int, ...], tile: tuple[int, int, int], group: int, dtype: str, arch: str
) -> None:
    form = Form(dtype, "ieee")  # type: ignore[arg-type]  # of the parameter
    report: Report = compile_source(render(Pattern(*pattern), Schedule("decode", form, *tile, group=group)), arch)
    assert not report.spills
    assert report.fits
    assert not any(report.tensor_core_instructions.values())
    if pattern[2] * form.itemsize % 16 == 0:
        held = tile[1] * tile[2] * form.itemsize // (128 * 16)
        assert report.loads[16] >= max(1, held)
