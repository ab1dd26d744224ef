"""Output files: all of it or nothing, whatever the place, the names, or the moment of an interruption."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EVIL = "\x1b[31m<script>alert(1)</script>\x1b]0;owned\x07\n$(touch pwned)\u202e"


W = np.float32([[1, -2], [0.5, 0], [-0.25, 3]])  # three outputs, two inputs


def test_row_26_outputs_that_cannot_be_written(make: Any, cli: Any, tmp_path: Path) -> None:
    path = make.saved(tmp_path, make.linear())
    old = tmp_path / "old.onnx"
    old.write_bytes(b"precious")
    (tmp_path / "folder").mkdir()
    before = cli.contents(tmp_path)
    for output in ("old.onnx", "folder", "missing/out.onnx", "old.onnx/out.onnx"):
        outcome = cli("opt", str(path), "-o", str(tmp_path / output))
        assert (outcome.code, outcome.out) == (2, "")
        cli.one_line(outcome.err, output.split("/")[0])
    assert cli.contents(tmp_path) == before
    assert cli("opt", str(path), "-o", str(old), "--force").code == 0
    assert cli.value(old) == np.abs(W).sum()


def test_row_26_the_model_itself_is_a_valid_output(make: Any, cli: Any, tmp_path: Path) -> None:
    path = make.saved(tmp_path, make.linear())
    assert cli("opt", str(path), "-o", str(path)).code == 2
    assert cli("opt", str(path), "-o", str(path), "--force").code == 0
    assert cli.value(path) == np.abs(W).sum()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_row_26_read_only_places(make: Any, cli: Any, tmp_path: Path) -> None:
    path = make.saved(tmp_path, make.linear())
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    outcome = cli("opt", str(path), "-o", str(locked / "out.onnx"))
    assert (outcome.code, outcome.out) == (2, "")
    cli.one_line(outcome.err, "out.onnx", "read-only")


def test_row_26_the_disk_fills(make: Any, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = make.saved(tmp_path, make.linear())
    old = tmp_path / "old.onnx"
    old.write_bytes(b"precious")
    monkeypatch.setattr(os, "fsync", full)
    outcome = cli("opt", str(path), "-o", str(old), "--force")
    assert (outcome.code, outcome.out) == (70, "")
    cli.one_line(outcome.err, "No space left on device")
    assert old.read_bytes() == b"precious"
    assert {p.name for p in tmp_path.iterdir()} == {"m.onnx", "old.onnx"}


@pytest.mark.parametrize("op", ["Gemm", "Mystery"])
def test_row_27_malicious_names(make: Any, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, op: str) -> None:
    monkeypatch.chdir(tmp_path)
    proto = make.model([make.node(op, ["x", EVIL], [EVIL + "y"], name=EVIL)], {EVIL: W.T}, outputs=[EVIL + "y"])
    path = make.saved(tmp_path, proto)
    for verb in (["inspect"], ["norm", "--per-layer"], ["opt"], ["norm", "--shape", f"{EVIL}=1"]):
        outcome = cli(*verb, str(path))
        assert outcome.code in (0, 2, 3, 4)
        assert not set("\x1b\x07\u202e") & set(outcome.out + outcome.err)
        assert len(outcome.err.splitlines()) <= 1
    envelope = json.loads(cli("inspect", str(path), "--format", "json").out)
    assert envelope["result"]["outputs"][0]["name"] == EVIL + "y"
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
@pytest.mark.parametrize("moment", ["os.fsync", "os.replace"])
def test_row_28_interrupted_while_saving(
    make: Any, tmp_path: Path, number: signal.Signals, code: int, moment: str
) -> None:
    path, output = make.saved(tmp_path, make.linear()), tmp_path / "out.onnx"
    output.write_bytes(b"precious")
    program = f"""
import os, sys, time
from pathlift.cli import main

def pause(*arguments):
    print("saving", file=sys.stderr, flush=True)
    time.sleep(60)

{moment} = pause
main()
"""
    command = [sys.executable, "-c", program, "opt", str(path), "-o", str(output), "--force"]
    # Whoever starts the tests may ignore interrupts, as `make test &` does, and children would too.
    heeding = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeding
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.stderr.readline() == "saving\n"
        process.send_signal(number)
        assert process.wait(timeout=30) == code
        assert (process.stdout.read(), process.stderr.read()) == ("", "")
    assert output.read_bytes() == b"precious"
    left = {p.name for p in tmp_path.iterdir()} - {"m.onnx", "out.onnx"}
    assert not left if number != signal.SIGKILL else all(name.startswith(".pathlift-") for name in left)
