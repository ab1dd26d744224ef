"""Models through pipes: ``-`` is standard input and standard output."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import pytest

from pathlift.cli.frame import run
from pathlift.frontend.load import load
from pathlift.ir.compare import graphs_equal
from pathlift.testing.absent import reason

MLP = (
    b"%x = Input : f32[N, 2]\n%w = Param {value=[[1.0, -2.0]]} : f32[1, 2]\n%y = Gemm(%x, %w) {trans_w=true}\nreturn %y"
)


class Outcome(NamedTuple):
    code: int
    out: bytes
    err: str


Piped = Callable[..., Outcome]


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def piped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Piped:
    """Run the command line on standard input, with standard output as bytes."""

    def call(*arguments: str, given: bytes | io.BytesIO = b"", sink: type[io.BytesIO] = io.BytesIO) -> Outcome:
        stdin = given if isinstance(given, io.BytesIO) else io.BytesIO(given)
        stdout = io.TextIOWrapper(sink(), encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stdin))
        monkeypatch.setattr(sys, "__stdout__", stdout)
        monkeypatch.setattr(sys, "stdout", stdout)
        code = run(arguments)
        raw: Any = stdout.buffer
        outcome = Outcome(code, raw.getvalue(), capsys.readouterr().err)
        if why := reason(outcome.err):
            pytest.skip(why)
        return outcome

    return call


@pytest.mark.parametrize("content", ["onnx", "text"])
@pytest.mark.parametrize(
    "arguments",
    [["inspect", "-"], ["norm", "-"], ["analyze", "-", "-p", "path-norm"], ["canonicalize", "-"], ["ks", "detect", "-"],
     ["opt", "-", "-p", "dead-code", "--verify"], ["prune", "-", "--sparsity", "0.5"],
     ["bench", "-", "--runs", "1", "--budget", "0.1"]],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_verbs_read_standard_input(piped: Piped, digits: Path, content: str, arguments: list[str]) -> None:
    given = digits.read_bytes() if content == "onnx" else piped("opt", str(digits), "-o", "-", "--text").out
    outcome = piped(*arguments, "--format", "json", given=given)
    assert outcome.code == 0, outcome.err
    envelope = json.loads(outcome.out)
    assert envelope["input"]["path"] == "-"
    assert len(envelope["input"]["sha256"]) == 64


def test_models_are_compared_with_standard_input(piped: Piped, tmp_path: Path) -> None:
    (tmp_path / "m.plir").write_bytes(MLP)
    assert piped("compare", "-", str(tmp_path / "m.plir"), given=MLP).code == 0
    assert piped("compare", str(tmp_path / "m.plir"), "-", given=MLP).code == 0
    outcome = piped("compare", "-", "-", given=MLP)
    assert (outcome.code, outcome.out) == (2, b"")
    assert "PL1416" in outcome.err
    assert "only one model can come from it" in outcome.err


@pytest.mark.parametrize(
    "arguments", [["opt", "-p", "dead-code"], ["canonicalize"], ["prune", "--sparsity", "0.5"]], ids=lambda a: a[0]
)
def test_models_go_to_standard_output(piped: Piped, digits: Path, tmp_path: Path, arguments: list[str]) -> None:
    verb, *options = arguments
    outcome = piped(verb, str(digits), *options, "-o", "-")
    assert outcome.code == 0
    onnx.checker.check_model(onnx.load_from_string(outcome.out))
    assert outcome.err  # the result, which standard output has no place for
    piped(verb, str(digits), *options, "-o", str(tmp_path / "o.onnx"))
    assert load(tmp_path / "o.onnx").info == load(outcome.out).info
    assert graphs_equal(load(tmp_path / "o.onnx"), load(outcome.out)) == ""
    in_json = piped(verb, str(digits), *options, "-o", "-", "--format", "json")
    assert in_json.out == outcome.out
    assert json.loads(in_json.err)["input"]["path"] == str(digits)


def test_texts_are_files_and_streams(piped: Piped, digits: Path, tmp_path: Path) -> None:
    assert piped("opt", str(digits), "-o", str(tmp_path / "m.plir")).code == 0
    assert piped("opt", str(tmp_path / "m.plir"), "-o", str(tmp_path / "m.onnx"), "--verify").code == 0
    assert piped("opt", str(digits), "-o", str(tmp_path / "w.plir"), "--weights", "inline").code == 0
    stream = piped("opt", str(digits), "-o", "-", "--text").out
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "m.plir", "m.plir.data", "w.plir"}
    assert (tmp_path / "w.plir").read_bytes() == stream
    for source in (tmp_path / "m.plir", tmp_path / "m.onnx", tmp_path / "w.plir", stream):
        assert graphs_equal(load(source), load(digits)) == ""


def test_terminals_take_no_bytes_and_give_none(piped: Piped, digits: Path) -> None:
    for verb in ("opt", "canonicalize"):
        outcome = piped(verb, str(digits), "-o", "-", sink=Terminal)
        assert (outcome.code, outcome.out) == (2, b"")
        assert "PL1414" in outcome.err
    assert piped("opt", str(digits), "-o", "-", "--text", sink=Terminal).code == 0
    assert "PL1416" in piped("norm", "-", given=Terminal(digits.read_bytes())).err
    assert "PL0436" in piped("opt", str(digits), "--text").err


def test_limits_hold_for_streams(piped: Piped, digits: Path) -> None:
    data = digits.read_bytes()
    assert piped("inspect", "-", "--memory-limit", str(len(data)), given=data).code == 0
    outcome = piped("inspect", "-", "--memory-limit", str(len(data) - 1), given=data)
    assert outcome.code == 3
    assert outcome.err.startswith("PL0212 standard input has more bytes than the limit of ")


def test_a_refuted_rewrite_writes_nothing(piped: Piped, digits: Path) -> None:
    arguments = ["-p", "random-rescale", "--verify", "--tolerance", "0", "-o", "-"]
    outcome = piped("opt", "-", *arguments, given=digits.read_bytes())
    assert (outcome.code, outcome.out) == (1, b"")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_processes(digits: Path) -> None:
    command = [sys.executable, "-m", "pathlift", "opt"]
    text = subprocess.run([*command, str(digits), "-o", "-", "--text"], capture_output=True, check=True).stdout
    with open("/dev/full", "wb") as full:
        process = subprocess.run(
            [*command, "-", "-o", "-"], input=text, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert process.returncode == 70
    assert process.stderr.decode().startswith("PL0707 could not write to standard output: ")
    read, write = os.pipe()
    os.close(read)  # a reader that has left
    process = subprocess.run([*command, "-", "-o", "-"], input=text, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert process.returncode == 0, process.stderr
