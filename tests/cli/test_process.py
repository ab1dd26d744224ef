"""The command line as a process: what it imports, how it starts, and how it ends."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pathlift.verbs import VERBS

HEAVY = ("ml_dtypes", "networkx", "numpy", "onnx", "onnx_ir", "onnxruntime", "torch")


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)


def imported_by(statement: str, *arguments: str) -> set[str]:
    """Names of the heavy packages that are loaded once `statement` has run, however it ended."""
    program = (
        f"import sys\ntry:\n    {statement}\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    process = python(program, *arguments)
    assert process.returncode == 0, process.stderr
    return set(json.loads(process.stderr.splitlines()[-1].replace("'", '"')))


@pytest.mark.parametrize("statement", ["import pathlift", "import pathlift.cli, pathlift.cli.frame"])
def test_importing_is_light(statement: str) -> None:
    assert imported_by(statement) == set()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([*verb.split(), "--help"] for verb in VERBS)])
def test_help_is_light(arguments: list[str]) -> None:
    assert imported_by("from pathlift.cli import main; main()", *arguments) == set()


def test_inspect_does_not_import_torch(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    y, x = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "yx")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], name="relu")], "g", [x], [y])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "m.onnx")
    assert "torch" not in imported_by("from pathlift.cli import main; main()", "inspect", str(tmp_path / "m.onnx"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_behind_stdout() -> None:
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "pathlift", "--version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert process.returncode == 70
    assert process.stderr == "PL0707 could not write to standard output: No space left on device\n"


def test_reader_that_left_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-m", "pathlift", "--version"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (0, "")


@pytest.mark.parametrize("closed", ["1", "2"])
def test_closed_streams(closed: str) -> None:
    command = f"exec '{sys.executable}' -m pathlift frobnicate {closed}>&-"
    process = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stdout == ""


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    ("number", "code", "line"), [(signal.SIGINT, 130, "PL0001 interrupted"), (signal.SIGTERM, 143, "PL0002 terminated")]
)
def test_signals_clean_up(tmp_path: Path, number: signal.Signals, code: int, line: str, form: str) -> None:
    program = f"""
import time
import pathlift.verbs.passes as verb
from pathlift.cli import main
from pathlift.frontend.files import replacing

def slow():
    with replacing({str(tmp_path / "m.onnx")!r}) as staged:
        staged.write_text("half")
        print("ready", flush=True)
        time.sleep(60)

verb.list_passes = slow
main()
"""
    arguments = [sys.executable, "-c", program, "passes", "--format", form]
    # Whoever starts the tests may ignore interrupts, as `make test &` does, and children would too.
    heeding = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeding
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.stderr.readline() == "ready\n"  # stdout is the result alone
        process.send_signal(number)
        assert process.wait(timeout=30) == code
        out, err = process.stdout.read(), process.stderr.read()
    if form == "text":
        assert (out, err) == ("", "")
    else:
        told = json.loads(out)
        assert f"{told['error']['code']} {told['error']['message']}\n" == f"{line}\n" == err
        assert told["exit_code"] == code
    assert list(tmp_path.iterdir()) == []
