"""The kit as a whole: it imports little, and rehearses every phase on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MODULES = [
    "baselines", "cases", "ceilings", "correctness", "huge", "kernels", "layers", "machine", "memcheck", "networks",
    "operands", "phase", "report", "timing", "training", "__main__",
]  # fmt: skip
HEAVY = ("onnx", "onnx_ir", "onnxruntime", "onnxscript", "rich", "typer", "torchvision")
WITHOUT = f"""
from importlib.machinery import PathFinder

find = PathFinder.find_spec
absent = lambda name: name.partition(".")[0] in {HEAVY}
PathFinder.find_spec = lambda name, *places: None if absent(name) else find(name, *places)
import importlib
for name in {MODULES}:
    importlib.import_module("benchmarks.gpu." + name)
from pathlift.codegen.render import render
from pathlift.codegen.schedule import Form
from pathlift.codegen.select import select
from pathlift.ir.cost import DEVICES
from pathlift.ir.kronecker import Pattern
choice = select([Pattern(2, 64, 64, 4)], Form(), 25088, DEVICES["h200"])
assert "kernel" in render(choice.patterns, choice.schedule)
try:
    import onnx
except ImportError:
    pass
else:
    raise AssertionError("onnx is there")
"""


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths, "PYTHON": sys.executable, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_all_modules_are_listed() -> None:
    assert {path.stem for path in (ROOT / "benchmarks/gpu").glob("*.py")} == set(MODULES)


def test_imports_without_models_of_other_packages() -> None:
    done = run(sys.executable, "-c", WITHOUT)
    assert done.returncode == 0, done.stderr


def test_names_what_is_missing(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho torch triton\n")
    python.chmod(0o755)
    done = run(str(ROOT / "benchmarks/gpu/run.sh"), PYTHON=str(python))
    assert done.returncode == 2
    assert "torch triton" in done.stderr


@pytest.mark.slow  # interpreted kernels, in a process for each phase
def test_rehearsal(tmp_path: Path) -> None:
    done = run(str(ROOT / "benchmarks/gpu/run.sh"), "9", "--dry-run", "--seed", "1", "--output", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu_kernels_dry-run.json").read_text())
    records = found["records"]
    assert found["run"]["seed"] == 1
    assert {r["record"] for r in records} >= {"ceiling", "checked", "layer", "tuned", "network", "training", "took"}
    assert not [r for r in records if r["record"] in ("failed", "wrong", "crashed")]
    layers = [r for r in records if r["record"] == "layer"]
    assert all({"kernel", "dense", "bmm", "einsum"} <= set(r["seconds"]) for r in layers)
    for record in layers:
        for ours, ratios in record["ratios"].items():
            for other, values in ratios.items():
                pairs = zip(record["seconds"][other], record["seconds"][ours], strict=True)
                assert values == pytest.approx([a / b for a, b in pairs])
    assert {r["layouts"] for r in records if r["record"] == "checked"} >= {"rows to rows", "features to rows"}
    markdown = (tmp_path / "gpu_kernels_dry-run.md").read_text()
    assert "**loses**" in markdown  # what is interpreted does
    table = json.loads((tmp_path / "gpu_schedules_dry-run.json").read_text())["schedules"]
    assert table
    assert {entry["triton"] for entry in table} == {""}
