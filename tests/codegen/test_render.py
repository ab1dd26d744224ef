"""Sources of kernels: golden texts, and what they need."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

from pathlift.codegen.render import render
from pathlift.codegen.schedule import Form, Layout, Schedule
from pathlift.ir.errors import UsageError
from pathlift.ir.kronecker import Pattern

SAMPLES = {
    "dot": (Pattern(6, 64, 64, 1), Schedule("dot", Form(bias=True, activation="Gelu"))),
    "dot_features": (Pattern(1, 48, 40, 4), Schedule("dot", Form("float16", "ieee", "features", "features"))),
    "dot_merged": (Pattern(1, 192, 48, 2), Schedule("dot", Form(residual=True), group=2, weights_left=True)),
    "batched": (Pattern(2, 40, 24, 8), Schedule("batched", Form(), 16, 16, 16, group=8, descriptors=True)),
    "decode": (Pattern(1, 48, 40, 4), Schedule("decode", Form("bfloat16", "ieee"), 4, 16, 64, group=4)),
    "chain": ((Pattern(1, 192, 48, 2), Pattern(2, 48, 192, 1)), Schedule("chain", Form(bias=True), 16, 64, 8)),
    "gradient": (Pattern(2, 40, 24, 4), Schedule("gradient", Form(reads="features"), 32, 16, 16, group=2)),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_golden_sources(name: str, golden) -> None:  # type: ignore[no-untyped-def]  # a fixture, typed where it is
    golden(f"codegen/{name}.txt", render(*SAMPLES[name]))


@pytest.mark.parametrize("name", SAMPLES)
def test_sources_import_torch_and_triton_only(name: str) -> None:
    imports = [n for n in ast.walk(ast.parse(render(*SAMPLES[name]))) if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {n.module or "" if isinstance(n, ast.ImportFrom) else alias.name for n in imports for alias in n.names}
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"torch", "triton"}


@pytest.mark.parametrize("name", SAMPLES)
def test_lines_are_read_without_scrolling(name: str) -> None:
    lines = render(*SAMPLES[name]).splitlines()
    assert max(map(len, lines)) <= 120
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("layout", ["rows", "features"])
def test_where_tiles_begin_is_a_64_bit_number(layout: Layout) -> None:
    source = render(SAMPLES["dot"][0], Schedule("dot", Form(reads=layout, writes=layout)))
    begins = re.findall(r"^ +(?:x \+=|at =).*", source, re.MULTILINE)
    assert len(begins) == 2
    assert all(".to(tl.int64)" in line for line in begins)


def test_offsets_are_wide_if_asked_for() -> None:
    assert render(*SAMPLES["dot_features"]).count(".to(tl.int64 if WIDE else tl.int32)") == 2


def test_rendering_is_pure() -> None:
    first, second = (
        subprocess.run(
            [sys.executable, "-c", """
from pathlift.codegen.render import render
from pathlift.codegen.schedule import Form, Schedule
from pathlift.ir.kronecker import Pattern
print(render(Pattern(2, 3, 4, 2), Schedule("dot", Form(), group=2)))"""],
            capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    )  # fmt: skip
    assert first == second


@pytest.mark.parametrize(
    ("pattern", "schedule", "reason"),
    [
        (Pattern(1, 4, 4, 6), Schedule("dot", group=4), "4 neighbours do not divide d = 6"),
        (Pattern(1, 4, 4, 2), Schedule("dot", block_k=4), "a product needs 8 inputs at least"),
        (Pattern(1, 4, 4, 2), Schedule("dot", Form("float16", "ieee"), block_k=8), "a product needs 16 inputs"),
        (Pattern(1, 4, 4, 2), Schedule("dot", Form(precision="ieee"), group=2), "explicit zeros"),
        (Pattern(1, 2**16, 2**15, 1), Schedule("dot"), "the weights are 2³¹ elements"),
        (Pattern(1, 2**14, 2**13, 8), Schedule("dot", group=2), "the weights are 2³¹ elements"),
        (Pattern(1, 2**26, 1, 1), Schedule("dot"), "a tile of samples spans 2³¹ elements"),
        (Pattern(1, 1, 2**26, 1), Schedule("dot"), "a tile of samples spans 2³¹ elements"),
        (Pattern(1, 1, 1, 2**26), Schedule("dot"), "a tile of samples spans 2³¹ elements"),
    ],
)
def test_what_does_not_fit_is_refused(pattern: Pattern, schedule: Schedule, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as raised:
        render(pattern, schedule)
    assert raised.value.code == "PL1435"


def test_a_chain_takes_two_factors() -> None:
    pair = (Pattern(1, 4, 4, 2), Pattern(2, 4, 4, 1))
    with pytest.raises(UsageError, match="takes 1 factor, not 2"):
        render(pair, Schedule("dot"))
    with pytest.raises(UsageError, match="takes 2 factors, not 1"):
        render(pair[0], Schedule("chain"))
