"""Files that are no model, are larger than memory, or go through a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto

from pathlift.testing.onnx_models import external


@pytest.mark.parametrize("data", [b"not protobuf at all", b"\xff" * 100, None])
def test_row_01_garbage_and_truncation(make: Any, cli: Any, tmp_path: Path, data: bytes | None) -> None:
    data = data or make.linear().SerializeToString()[:-9]
    cli.refused(make.saved(tmp_path, data), 3, f"{len(data)} bytes")


@pytest.mark.parametrize("missing", ["", "ir_version", "graph", "opset_import"])
def test_row_02_empty_file_and_required_fields(make: Any, cli: Any, tmp_path: Path, missing: str) -> None:
    proto = make.linear()
    if missing:
        proto.ClearField(missing)
    cli.refused(make.saved(tmp_path, proto if missing else b""), 3)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_row_21_inspect_of_3_gb_reads_no_weights(make: Any, tmp_path: Path) -> None:
    side, count = 8192, 12
    proto = make.model(
        [make.node("MatMul", [f"h{i}" if i else "x", f"w{i}"], [f"h{i + 1}"]) for i in range(count)],
        shape=["N", side],
        outputs=[f"h{count}"],
    )
    for i in range(count):
        tensor = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[side, side])
        proto.graph.initializer.append(external(tensor, "w.bin", offset=4 * i * side**2, length=4 * side**2))
    with open(tmp_path / "w.bin", "wb") as file:
        file.truncate(4 * count * side**2)  # sparse: takes no space
    program = """
import sys
from pathlift.cli.frame import run

code = run(["inspect", sys.argv[1]])
(peak,) = (int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(code, peak, "torch" in sys.modules, file=sys.stderr)
"""
    command = [sys.executable, "-c", program, str(make.saved(tmp_path, proto))]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    code, peak, torch = process.stderr.split()
    assert (code, torch) == ("0", "False")
    assert int(peak) < 200_000  # kB
    assert "3.22 GB" in process.stdout


def test_as_a_process(make: Any, tmp_path: Path) -> None:
    """The same through the interpreter: exit codes, streams, and no traceback."""
    (tmp_path / "zero").mkdir()
    cases = [
        (make.saved(tmp_path, make.linear()), 0, ""),
        (make.saved(tmp_path / "zero", b""), 3, "PL01"),
        (tmp_path / "nothing.onnx", 2, "PL0470"),
    ]
    for path, code, start in cases:
        command = [sys.executable, "-m", "pathlift", "inspect", str(path), "--format", "json"]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        assert process.returncode == code
        assert process.stderr.startswith(start)
        assert process.stderr.count("\n") == (1 if code else 0)
        assert ("error" in json.loads(process.stdout)) == (code != 0)
