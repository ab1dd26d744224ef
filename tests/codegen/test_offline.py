"""Kernels compiled for architectures that are not here."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import pytest

from pathlift.codegen.architectures import ARCHITECTURES
from pathlift.codegen.offline import Report, compile_many, compile_source
from pathlift.codegen.render import render
from pathlift.codegen.schedule import Form, Schedule
from pathlift.ir.errors import ExecutionError, UsageError
from pathlift.ir.kronecker import Pattern

PRODUCTS = {"sm_80": "mma.sync", "sm_90": "wgmma", "sm_100": "tcgen05"}
"""What multiplies matrices, by architecture."""
FORMS = {"float16": "ieee", "float32": "tf32x3"}
HALF = Form("float16", "ieee")
BLOCKS, SPREAD = Pattern(6, 64, 64, 1), Pattern(2, 48, 80, 4)


def source(pattern: Pattern = BLOCKS, form: Form = HALF, **how: object) -> str:
    return render(pattern, Schedule("dot", form, **{"block_n": 64, "block_p": 64, "block_k": 32, **how}))


def refused(code: str, text: str, arch: str = "sm_80") -> None:
    with pytest.raises((UsageError, ExecutionError)) as caught:
        compile_source(text, arch)
    assert caught.value.code == code


def usable(report: Report) -> None:
    assert not report.spills
    assert report.fits
    assert report.cubin[:4] == b"\x7fELF"


@pytest.mark.parametrize("dtype", FORMS)
@pytest.mark.parametrize("arch", PRODUCTS)
def test_blocks_load_widely_and_use_tensor_cores(arch: str, dtype: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = compile_source(source(form=Form(dtype, FORMS[dtype])), arch)
    usable(report)
    assert report.widest_load == 16
    assert {kind for kind, count in report.tensor_core_instructions.items() if count} == {PRODUCTS[arch]}
    assert report.bulk_loads == report.bulk_stores == 0


def test_single_precision_is_without_tensor_cores() -> None:
    report = compile_source(source(form=Form("float32", "ieee")), "sm_90")
    usable(report)
    assert not any(report.tensor_core_instructions.values())


def test_multiplications_are_fused_with_additions() -> None:
    text = source(form=Form("float16", "ieee", activation="GeluTanh"))
    apart = text.replace("enable_fp_fusion=True", "enable_fp_fusion=False")
    fused, unfused = (compile_source(each, "sm_90").ptx.count("fma.rn.f32") for each in (text, apart))
    assert fused > unfused


def test_samples_in_the_features_layout_load_widely_if_16_divides_them() -> None:
    text = source(form=Form("float16", "ieee", "features", "features"))
    report = compile_source(text, "sm_80")
    assert set(report.loads) == {16}
    assert min(compile_source(text, "sm_80", samples_divisible_by_16=False).loads) < 16


@pytest.mark.parametrize("arch", ["sm_86", pytest.param("sm_90", marks=pytest.mark.slow)])
def test_what_does_not_fit(arch: str) -> None:
    """Tiles in flight that are more than an architecture holds."""
    text = source(Pattern(1, 64, 1024, 1), stages=9 if arch == "sm_86" else 17, block_k=64)
    report = compile_source(text, arch)
    assert report.shared > ARCHITECTURES[arch].shared
    assert not report.fits


def test_spills() -> None:
    report = compile_source(source().replace("num_warps=4", "num_warps=4, maxnreg=32"), "sm_80")
    assert report.registers <= 32
    assert report.stack > 0
    assert report.spills


DESCRIPTORS = """
import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

COLS, ROWS, SHAPES, DTYPE, READS, WRITES = 64, 64, [], torch.float16, "rows", "rows"


@triton.jit
def kernel(x, y):
    y.store([tl.program_id(0) * 16, 0], x.load([tl.program_id(0) * 16, 0]))


def pack():
    return ()


def launch(x, weights, y):
    tiles = (TensorDescriptor.from_tensor(z, [16, 64]) for z in (x, y))
    kernel[(x.shape[0] // 16,)](*tiles, num_warps=4, enable_fp_fusion=True)
"""


def test_descriptors() -> None:
    report = compile_source(DESCRIPTORS, "sm_90")
    usable(report)
    assert report.bulk_loads == report.bulk_stores == 1
    assert report.widest_load == 0
    older = compile_source(DESCRIPTORS, "sm_80")  # which has none, so that elements are loaded
    assert older.bulk_loads == older.bulk_stores == 0
    assert older.widest_load > 0


class TestRefusals:
    def test_no_such_architecture(self) -> None:
        refused("PL1442", source(), "sm_70")

    def test_interpreted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        refused("PL1443", source())

    def test_does_not_compile(self, capfd: pytest.CaptureFixture[str]) -> None:
        refused("PL0930", source().replace("arange(0, 32)", "arange(0, 48)"))
        refused("PL0930", source().replace("tl.zeros", "tl.ones_and_zeros"))
        refused("PL0930", source().replace("num_warps=4", 'num_warps=4, ptx_options="--none"'))
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("ending", ["exit 0", "exit 1"])
    def test_no_usage(self, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tool = tmp_path / "cuobjdump"
        tool.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "release 12.9, V12.9.1" && exit 0\n{ending}\n')
        tool.chmod(0o755)
        monkeypatch.setenv("TRITON_CUOBJDUMP_PATH", str(tool))
        refused("PL0931", source())


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_many(jobs: int) -> None:
    texts = [source(), source().replace("arange(0, 32)", "arange(0, 48)"), source(form=Form())]
    half, none, single = compile_many(texts, "sm_80", jobs)
    assert isinstance(half, Report)
    assert isinstance(single, Report)
    assert isinstance(none, ExecutionError)
    assert none.code == "PL0930"
    assert "fp16" not in single.ptx
    assert half.shared < single.shared


@pytest.mark.slow
@pytest.mark.parametrize("arch", PRODUCTS)
@pytest.mark.parametrize("dtype", FORMS)
@pytest.mark.parametrize("layouts", list(itertools.product(("rows", "features"), repeat=2)), ids="-".join)
@pytest.mark.parametrize("how", [{}, {"weights_left": True}, {"group": 4}])
def test_every_layout_and_group(arch: str, dtype: str, layouts: tuple[str, str], how: dict[str, object]) -> None:
    form = Form(dtype, FORMS[dtype], *layouts, bias=True, residual=True, activation="Gelu")
    report = compile_source(source(SPREAD, form, **how), arch)
    usable(report)
    assert report.tensor_core_instructions[PRODUCTS[arch]]
    assert report.widest_load == 16
