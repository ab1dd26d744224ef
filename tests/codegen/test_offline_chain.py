"""Two factors in one kernel, compiled: room on the chip, instructions, and nothing between the factors in memory."""

from __future__ import annotations

import re

import pytest

from pathlift.codegen.chains import room, tiling
from pathlift.codegen.offline import Report, compile_source
from pathlift.codegen.render import render
from pathlift.codegen.schedule import Form, Schedule
from pathlift.ir.kronecker import Pattern

MONARCH = Pattern(1, 16, 16, 16), Pattern(16, 16, 16, 1)
VIT = Pattern(1, 192, 48, 2), Pattern(2, 48, 192, 1)
BLOCK = Pattern(1, 256, 64, 1), Pattern(1, 64, 256, 1)
HALF, BRAIN, SINGLE = Form("float16", "ieee"), Form("bfloat16", "ieee"), Form()
TILES = {
    MONARCH: {"block_n": 16, "block_p": 16, "block_k": 1, "warps": 4, "stages": 2},
    VIT: {"block_n": 64, "block_p": 64, "block_k": 32, "warps": 8, "stages": 2},
    BLOCK: {"block_n": 64, "block_p": 64, "block_k": 32, "warps": 8, "stages": 2},
}
_STORE = re.compile(r"\bst\.global[\w.:]*?(?:\.v(\d))?\.[bfsu](\d+)\b")


def case(patterns: tuple[Pattern, Pattern], form: Form, arch: str, *, slow: bool = True) -> object:
    name = f"{''.join(map(str, patterns))}-{form.dtype}-{arch}"
    return pytest.param(patterns, form, arch, id=name, marks=pytest.mark.slow if slow else ())


def stored(report: Report) -> int:
    """Bytes that a thread stores to memory."""
    return sum(int(count or 1) * int(bits) // 8 for count, bits in _STORE.findall(report.ptx))


@pytest.mark.parametrize(
    ("patterns", "form", "arch"),
    [
        case(VIT, HALF, "sm_80", slow=False),
        case(MONARCH, HALF, "sm_90", slow=False),
        *(case(VIT, form, "sm_80") for form in (BRAIN, SINGLE)),
        *(case(MONARCH, form, "sm_90") for form in (BRAIN, SINGLE)),
        *(case(VIT, form, "sm_90") for form in (HALF, BRAIN, SINGLE)),
        *(case(MONARCH, form, "sm_80") for form in (HALF, BRAIN, SINGLE)),
        *(case(BLOCK, form, "sm_80") for form in (HALF, SINGLE)),
    ],
)
def test_compiled(patterns: tuple[Pattern, Pattern], form: Form, arch: str) -> None:
    schedule = Schedule("chain", form, **TILES[patterns])  # type: ignore[arg-type] # numbers all
    report = compile_source(render(patterns, schedule), arch)
    assert not report.spills
    assert report.fits
    assert report.tensor_core_instructions["mma.sync"] > 0
    assert report.widest_load == 16
    tiles = tiling(patterns, schedule)
    assert tiles is not None
    y = tiles.outer * tiles.block_n * tiles.block_p * form.itemsize
    assert stored(report) * 32 * schedule.warps == y  # a tile of y, and none of h
    assert report.shared <= room(patterns, schedule).shared * 4 // 3  # an estimate


@pytest.mark.parametrize("form", [HALF, pytest.param(SINGLE, marks=pytest.mark.slow)])
def test_without_batches_it_uses_the_widest_instructions(form: Form) -> None:
    schedule = Schedule("chain", form, **TILES[BLOCK])  # type: ignore[arg-type] # numbers all
    report = compile_source(render(BLOCK, schedule), "sm_90")
    assert not report.spills
    assert report.fits
    assert report.tensor_core_instructions["wgmma"] > 0
