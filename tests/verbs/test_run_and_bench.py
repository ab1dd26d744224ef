"""``pathlift run`` and ``pathlift bench``."""

from __future__ import annotations

import errno
import importlib
import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import pathlift
from pathlift.cli.frame import run as cli
from pathlift.ir.builder import Builder
from pathlift.models.timing import placed

DIGITS = str(Path(__file__).parents[2] / "examples" / "digits.onnx")


def result(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert cli([*arguments, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)["result"]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((4, 1, 8, 8), dtype=np.float32))
    return tmp_path / "x.npy"


def test_run_on_a_file(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = result(capsys, "run", DIGITS, "--input", f"image={image}", "-o", str(tmp_path / "y.npz"))
    assert found["outputs"]["logits"]["shape"] == [4, 10]
    expected = pathlift.Session(DIGITS)(np.load(image))
    with np.load(tmp_path / "y.npz") as file:
        assert np.array_equal(file["logits"], expected)
    assert found["outputs"]["logits"]["max"] == pytest.approx(float(expected.max()))
    assert cli(["run", DIGITS, "--input", f"image={image}", "-o", str(tmp_path / "y.npz")]) == 2
    assert cli(["run", DIGITS, "--input", f"image={image}", "-o", str(tmp_path / "y.npy"), "--executor", "torch"]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, atol=1e-4)


def test_a_full_disk_ends_run_as_it_ends_every_verb(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert cli(["run", DIGITS, "--input", f"image={image}", "-o", str(tmp_path / "y.npz")]) == 70
    assert "PL0706 could not write" in capsys.readouterr().err
    assert not (tmp_path / "y.npz").exists()


def test_run_on_an_archive_and_on_random_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "x.npz", image=np.zeros((1, 1, 8, 8), np.float32))
    assert result(capsys, "run", DIGITS, "--input", str(tmp_path / "x.npz"))["outputs"]["logits"]["shape"] == [1, 10]
    seeds = [result(capsys, "run", DIGITS, "--random", "--seed", s, "--shape", "N=3") for s in ("1", "1", "2")]
    assert seeds[0] == seeds[1] != seeds[2]
    assert seeds[0]["outputs"]["logits"]["shape"] == [3, 10]


def test_what_files_of_plain_arrays_cannot_hold_is_converted(tmp_path: Path) -> None:
    b = Builder()
    graph = b.finish(b.op("Relu", b.input("x", (2, 3), "bf16"), name="y"))
    x = torch.ones(2, 3, dtype=torch.bfloat16)
    found = pathlift.run(graph, {"x": x}, executor="torch", output=tmp_path / "y.npy")
    assert found.to_json()["outputs"]["y"] == {
        "dtype": "bfloat16", "shape": [2, 3], "min": 1, "mean": 1, "max": 1, "non_finite": 0
    }  # fmt: skip
    assert found.assumptions == ("y is written as float32",)
    assert np.load(tmp_path / "y.npy").dtype == np.float32


def test_what_run_refuses(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "evil.npy").write_bytes(pickle.dumps(print))
    (tmp_path / "short.npy").write_bytes(image.read_bytes()[:200])
    np.save(tmp_path / "wide.npy", np.zeros((1, 1, 8, 8)))
    for arguments, code in (
        ([], "PL0405"),
        (["--input", f"image={tmp_path / 'none.npy'}"], "PL0470"),
        (["--input", f"image={tmp_path / 'evil.npy'}"], "PL0478"),
        (["--input", f"image={tmp_path / 'short.npy'}"], "PL0478"),
        (["--input", f"image={tmp_path}"], "PL0478"),
        (["--input", f"image={tmp_path / 'wide.npy'}"], "PL0417"),
        (["--input", f"x={image}"], "PL0416"),
        (["--input", str(image)], "PL0478"),
        (["--input", "image="], "PL0407"),
        (["--random", "-o", str(tmp_path / "y.txt")], "PL0498"),
        (["--random", "--device", "nowhere"], "PL0496"),
    ):
        assert cli(["run", DIGITS, *arguments]) == 2, arguments
        captured = capsys.readouterr()
        assert code in captured.err
        assert captured.out == ""
        assert "pickle" not in captured.err


def test_bench_compares_models_of_one_function(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = str(tmp_path / "copy.onnx")
    pathlift.canonicalize(DIGITS, output=copy)
    found = result(capsys, "bench", DIGITS, copy, "--threads", "1,2", "--runs", "6", "--shape", "N=4")
    assert [(m["threads"], m["runs"]) for m in found["models"]] == [(1, 6), (1, 6), (2, 6), (2, 6)]
    for m in found["models"]:
        low, high = m["quartiles_s"]
        assert 0 < low <= m["median_s"] <= high
        assert m["speedup_interval"][0] <= m["speedup"] <= m["speedup_interval"][1]
        assert m["relative_difference"] < 1e-5
    assert found["models"][0]["speedup"] == 1


def test_bench_sees_where_values_are_no_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = []
    for i, values in enumerate([[1.0, np.nan, np.inf], [1.0, np.nan, np.inf], [1.0, 2.0, np.inf]]):
        b = Builder()
        graph = b.finish(b.op("Add", b.input("x", ("N", 3)), b.param(np.array(values, np.float32)), name="y"))
        paths.append(str(tmp_path / f"{i}.onnx"))
        pathlift.opt(graph, output=paths[-1])
    rows = result(capsys, "bench", *paths, "--runs", "1")["models"]
    assert [row["relative_difference"] for row in rows] == [0, 0, None]


def test_what_bench_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pathlift.ir.builder import Builder

    b = Builder()
    pathlift.save(b.finish(b.op("Relu", b.input("x", ("N", 2)), name="y")), tmp_path / "other.onnx")
    for arguments, code in (
        ([str(tmp_path / "other.onnx")], "PL0499"),
        (["--threads", "0"], "PL0406"),
        (["--runs", "0"], "PL0408"),
        ([str(tmp_path / "none.onnx")], "PL0470"),
    ):
        assert cli(["bench", DIGITS, *arguments]) == 2
        assert code in capsys.readouterr().err


@pytest.mark.parametrize("inputs", [np.ones((1, 1, 8, 8), np.float32), np.float32(0), [[1.0]], [], "x.npz", 3])
def test_inputs_without_names(inputs: Any) -> None:
    with pytest.raises(pathlift.PathliftError) as error:
        pathlift.run(DIGITS, inputs)
    assert (error.value.code, error.value.exit_code) == ("PL1425", 2)


def test_times_on_a_card_end_when_it_has_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    module, seen = importlib.import_module("pathlift.models.timing"), list[str]()
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: seen.append(f"waited for {device}"))
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(seen.append("clock") or len(seen)))
    session = SimpleNamespace(run=lambda feeds: seen.append("run"))
    for device, expected in (
        ("cuda:1", ["clock", "run", "waited for cuda:1", "clock"]),
        ("cpu", ["clock", "run", "clock"]),
    ):
        seen.clear()
        module.race([session], {}, device, 1, 10.0, 0, None)
        assert seen[-len(expected) :] == expected


def test_inputs_are_placed_on_a_device_once() -> None:
    x = np.ones(2, np.float32)
    assert placed({"x": x}, "cpu")["x"] is x
    assert placed({"x": x}, "meta")["x"].device.type == "meta"


def test_models_are_compared_in_one_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("pathlift.verbs.bench")
    chosen = {"dense": "onnxruntime", "sparse": "torch"}

    def start(opened: str, device: str, threads: int, executor: str) -> Any:
        return SimpleNamespace(executor=chosen[opened] if executor == "auto" else executor)

    monkeypatch.setattr(module, "_session", start)
    for models, used in ((["dense", "sparse"], "torch"), (["dense", "dense"], "onnxruntime")):
        assert [s.executor for s in module._sessions(models, "cuda", 1, "auto")] == [used] * 2


def test_what_does_not_run_as_it_could_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlift.runtime.executors.onnxruntime.OnnxRuntimeExecutor.remarks", ("slowly",))
    assert pathlift.run(DIGITS, random=True).assumptions[-1] == "slowly"
    assert pathlift.bench(DIGITS, runs=1).assumptions[-1].endswith("digits.onnx: slowly")
