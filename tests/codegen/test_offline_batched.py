"""Batched products and boxes, compiled for cards: what the machine code is made of."""

from __future__ import annotations

import re

import pytest

from pathlift.codegen.offline import Report, compile_source
from pathlift.codegen.render import render
from pathlift.codegen.schedule import Form, Layout, Schedule
from pathlift.ir.kronecker import Pattern

HALF = Form("float16", "ieee")
BATCH = Pattern(4, 192, 192, 16)
CONTIGUOUS = Pattern(6, 256, 192, 1)
NARROW = re.compile(r"\b(?:ld|st)\.global(?![\w.:]*\.v[24]\.)")
WIDE_STORE = re.compile(r"\bst\.global[\w.:]*\.v4\.b32\b")


def batched(form: Form, *, left: bool = False, descriptors: bool = False) -> Schedule:
    """As many neighbours as 16 bytes hold."""
    group = 16 // form.itemsize
    return Schedule("batched", form, 64, 32, 16, group, 8, 3, weights_left=left, descriptors=descriptors)


def compiled(pattern: Pattern, schedule: Schedule, arch: str) -> Report:
    report = compile_source(render(pattern, schedule), arch)
    assert not report.spills, f"{schedule} spills"
    assert report.fits, f"{schedule} takes {report.shared} bytes of shared memory"
    return report


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("form", [HALF, Form(precision="tf32")])
def test_accesses_are_of_16_bytes(form: Form, left: bool, arch: str) -> None:
    report = compiled(BATCH, batched(form, left=left), arch)
    assert set(report.loads) == {16}
    assert WIDE_STORE.search(report.ptx)
    assert not NARROW.search(report.ptx)
    assert report.tensor_core_instructions["mma.sync"] > 0


@pytest.mark.parametrize("form", [HALF, Form()])
@pytest.mark.parametrize("template", ["batched", "dot"])
def test_boxes(template: str, form: Form) -> None:
    """Only weights are loaded by threads; products of tiles take Hopper's wide instructions."""
    if template == "batched":
        pattern, schedule, products = BATCH, batched(form, descriptors=True), "mma.sync"
    else:
        pattern, products = CONTIGUOUS, "wgmma"
        schedule = Schedule("dot", form, 128, 128, 32, 1, 8, 3, descriptors=True)
    report = compiled(pattern, schedule, "sm_90")
    assert report.bulk_loads > 0
    assert report.bulk_stores > 0
    assert set(report.loads) == {16}
    assert "st.global" not in report.ptx
    assert report.tensor_core_instructions[products] > 0


@pytest.mark.slow  # together half a minute of compiling
@pytest.mark.parametrize("left", [False, True])
class TestSlow:
    @pytest.mark.parametrize("layouts", [("rows", "features"), ("features", "rows")])
    def test_mixed_layouts(self, layouts: tuple[Layout, Layout], left: bool) -> None:
        form = Form("float16", "ieee", *layouts, bias=True, residual=True, activation="Gelu")
        report = compiled(BATCH, batched(form, left=left), "sm_90")
        assert report.widest_load == 16
        assert WIDE_STORE.search(report.ptx)

    @pytest.mark.parametrize("descriptors", [False, True])
    @pytest.mark.parametrize("form", [HALF, Form()])
    def test_an_epilogue_of_ragged_tiles(self, form: Form, descriptors: bool, left: bool) -> None:
        form = Form(form.dtype, form.precision, bias=True, residual=True, activation="Relu")
        report = compiled(Pattern(4, 48, 200, 16), batched(form, left=left, descriptors=descriptors), "sm_90")
        assert report.bulk_stores == descriptors
        assert report.tensor_core_instructions["mma.sync"] > 0

    @pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
    def test_three_products_of_tf32(self, arch: str, left: bool) -> None:
        report = compiled(BATCH, batched(Form(), left=left), arch)
        assert report.tensor_core_instructions["mma.sync"] > 0
