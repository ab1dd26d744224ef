"""Sweeps: what is read, measured, kept and taken up again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pathlift.frontend.load import load
from pathlift.ir.errors import PathliftError
from pathlift.models.sweep import read_sweep
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.verbs import prune as module

Cli = Callable[..., Any]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    images = np.random.default_rng(0).random((20, 1, 8, 8), np.float32)
    np.savez(tmp_path / "val.npz", image=images, y=np.arange(20) % 10)
    return tmp_path / "val.npz"


@pytest.mark.parametrize(
    ("text", "expected"), [("0.1:0.5:5", (0.1, 0.2, 0.3, 0.4, 0.5)), ("0.8:0.8:1", (0.8,)), ("0:0.9:2", (0.0, 0.9))]
)
def test_sparsities(text: str, expected: tuple[float, ...]) -> None:
    assert read_sweep(text) == expected


@pytest.mark.parametrize("text", ["0.1:0.5", "0.5:0.1:3", "0.1:1:3", "a:b:c", "0.1:0.5:0", "0.1:0.5:3:4", "nan:0.5:2"])
def test_what_is_no_sweep(text: str) -> None:
    with pytest.raises(PathliftError, match="PL1410"):
        read_sweep(text)


def test_a_log_is_no_other_file(pathlift: Cli, digits: Path, data: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"\xff\xfe")
    for path, code in ((log, "PL1411"), (tmp_path, "PL0718"), (digits, "PL1413")):
        outcome = pathlift("prune", str(digits), "--data", str(data), "--sweep", "0.5:0.5:1", "--log", str(path))
        assert (outcome.code, outcome.err[:6]) == (2, code)
    assert log.read_bytes() == b"\xff\xfe"


def swept(cli: Cli, *arguments: str) -> dict[str, Any]:
    outcome = cli("prune", *arguments, "--format", "json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)["result"]  # type: ignore[no-any-return]  # json says Any


def test_points_are_measured(pathlift: Cli, digits: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlift.models.sweep._ROUNDS", 5)
    told = swept(pathlift, str(digits), "--data", str(data), "--sweep", "0.5:0.9:2", "--criterion", "path,magnitude")
    asked = [(p["criterion"], p["sparsity_requested"]) for p in told["points"]]
    assert asked == [("path", 0.5), ("path", 0.9), ("magnitude", 0.5), ("magnitude", 0.9)]
    dense, half = told["dense"], told["points"][0]
    # 64 positions of both convolutions, and a product with each weight of the others
    assert dense["flops"] == 2 * (64 * (144 + 2304) + 12288 + 480)
    assert half["flops"] < dense["flops"]
    assert half["sparsity"] == 0.5
    assert told["points"][1]["sparse_bytes"] < dense["file_bytes"]
    assert all(0 <= p["accuracy"] <= 1 and p["seconds"] > 0 for p in told["points"])
    assert (told["samples"], told["batch"]) == (20, 20)


def test_an_interrupted_sweep_goes_on(
    pathlift: Cli, digits: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pathlift.models.sweep._ROUNDS", 5)
    log, run, count = tmp_path / "log.jsonl", PathNorm.shares, 0

    def interrupted(self: PathNorm, graph: Any) -> Any:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return run(self, graph)

    command = (str(digits), "--data", str(data), "--sweep", "0.5:0.9:3", "--log", str(log))
    monkeypatch.setattr(PathNorm, "shares", interrupted)
    assert pathlift("prune", *command).code == 130
    lines = log.read_text().splitlines()
    assert [json.loads(line).get("sparsity_requested") for line in lines] == [None, 0.0, 0.5, 0.7]
    log.write_text(log.read_text() + '{"criterion": "pa')  # a line that was being written
    told = swept(pathlift, *command)
    assert (count, told["resumed"]) == (4, 2)
    assert [p["sparsity_requested"] for p in told["points"]] == [0.5, 0.7, 0.9]
    assert len(log.read_text().splitlines()) == 5
    assert json.loads(lines[2])["accuracy"] == told["points"][0]["accuracy"]


def test_a_log_of_another_sweep_is_not_taken(pathlift: Cli, digits: Path, data: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    command = ("prune", str(digits), "--data", str(data), "--sweep", "0.5:0.5:1", "--log", str(log))
    log.write_text("mine\n")
    outcome = pathlift(*command)
    assert (outcome.code, outcome.err[:6]) == (2, "PL1411")
    assert log.read_text() == "mine\n"
    assert pathlift(*command, "--force").code == 0
    assert pathlift(*command).code == 0
    assert pathlift(*command, "--scope", "row").err[:6] == "PL1411"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--sweep", "0.5:0.9:2"], "PL1412"),
        (["--sweep", "0.5:0.9:2", "--data", "DATA", "--sparsity", "0.5"], "PL1412"),
        (["--sweep", "0.5:0.9:2", "--data", "DATA", "-o", "p.onnx"], "PL1412"),
        (["--sparsity", "0.5", "--data", "DATA"], "PL1412"),
        (["--sweep", "0.5:0.9:2", "--data", "DATA", "--criterion", "path,size"], "PL1408"),
        (["--sweep", "0.5:0.9:2", "--data", "DATA", "--chart", "front.txt"], "PL0446"),
    ],
)
def test_what_a_sweep_does_not_have(pathlift: Cli, digits: Path, data: Path, arguments: list[str], code: str) -> None:
    outcome = pathlift("prune", str(digits), *(str(data) if a == "DATA" else a for a in arguments))
    assert (outcome.code, outcome.err[:6]) == (2, code)


def test_labels_are_needed(digits: Path) -> None:
    with pytest.raises(PathliftError, match="PL1482"):
        module.prune(load(digits), sweep="0.5:0.5:1", data={"image": np.zeros((2, 1, 8, 8), np.float32)})
