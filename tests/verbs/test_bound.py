"""`pathlift bound`: what each kind says of a network that is small enough to do by hand, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import log, log10, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pathlift as package
from pathlift.frontend.save import save
from pathlift.ir.text import parse_graph

Cli = Callable[..., Any]

# ‖Φ‖₁ = 1·1 + 2·3 + 1 (bias) = 8, with one ReLU on every path but the last bias.
NETWORK = """
    %x = Input : f32[N, 2]
    %w = Param {value=[[1.0, 0.0], [0.0, 2.0]]} : f32[2, 2]
    %h = Gemm(%x, %w)
    %r = Relu(%h)
    %v = Param {value=[[1.0, 0.0], [0.0, 3.0]]} : f32[2, 2]
    %b = Param {value=[1.0, 0.0]} : f32[2]
    %y = Gemm(%r, %v, %b)
    return %y
"""


@pytest.fixture
def network(tmp_path: Path) -> str:
    save(parse_graph(NETWORK), tmp_path / "m.onnx")
    return str(tmp_path / "m.onnx")


@pytest.fixture
def data(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (400, 2)).astype(np.float32)
    y = (6 * x[:, 1] > x[:, 0] + 1).astype(np.int64)
    np.savez(tmp_path / "train.npz", x=x, y=y)
    return str(tmp_path / "train.npz")


def result(cli: Cli, *arguments: str) -> dict[str, Any]:
    outcome = cli("bound", *arguments, "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    payload: dict[str, Any] = json.loads(outcome.out)
    return payload["result"] | {"assumptions": payload["assumptions"]}


def test_the_gap(pathlift: Cli, network: str) -> None:
    found = result(pathlift, network, "--kind", "generalization", "--samples", "100", "--input-bound", "3")
    c = sqrt(2 * log(3) + log(3 * 2))  # 3^D·(d_in + 1)·d_out, more than the proof needs
    assert found["value"] == pytest.approx(4 * 3 / 10 * sqrt(2) * c * 8)
    assert found["value"] >= 4 * 3 / 10 * sqrt(2) * c * 8 * (1 - 1e-15)
    assert found["log10"] == pytest.approx(log10(found["value"]))
    assert found["vacuous"] is True
    assert "ln 2" in found["verdict"]
    told = {k: found["terms"][k] for k in ("D", "P", "K", "M", "d_in", "d_out", "B", "n")}
    assert told == {"D": 2, "P": 0, "K": 1, "M": 0, "d_in": 2, "d_out": 2, "B": 3.0, "n": 100}
    assert found["terms"]["C_counted"] == pytest.approx(sqrt(log(3) + log(2 * 3 * 2)))


def test_many_samples_say_something(pathlift: Cli, network: str) -> None:
    found = result(pathlift, network, "--kind", "generalization", "--samples", str(10**9))
    assert found["vacuous"] is False
    assert "‖x‖_∞ ≤ 1" in found["assumptions"]


def test_a_fixed_batch_is_one_sample_each(pathlift: Cli, network: str, tmp_path: Path) -> None:
    save(parse_graph(NETWORK.replace("[N, 2]", "[4, 2]")), tmp_path / "four.onnx")
    options = ("--kind", "generalization", "--samples", "100")
    one, four = (result(pathlift, m, *options)["terms"] for m in (network, str(tmp_path / "four.onnx")))
    assert one == four


def test_the_error_by_margins(pathlift: Cli, network: str, data: str) -> None:
    found = result(pathlift, network, "--kind", "generalization", "--data", data, "--loss", "margin", "--margin", "0.5")
    t = found["terms"]
    with np.load(data) as file:
        x, y = file["x"].astype(float), file["y"]
    lead = (6 * x[:, 1] - x[:, 0] - 1) * np.where(y == 1, 1, -1)
    assert t["margin_loss"] == pytest.approx(np.clip(1 - lead / 0.5, 0, 1).mean(), abs=1e-6)
    assert t["σ"] == pytest.approx(20)  # the constant 1 is larger than any input
    assert t["r_k"] == pytest.approx(log10(8), abs=0.08)
    assert t["r_k"] >= log10(8)
    assert t["gap"] == pytest.approx(4 / 20 * sqrt(2) / 0.5 * t["C"] * 10 ** t["r_k"])
    assert found["value"] == pytest.approx(t["margin_loss"] + t["gap"] + t["deviation"])
    assert found["vacuous"] is True


def test_pac_bayes(pathlift: Cli, network: str, data: str) -> None:
    options = ("--kind", "pac-bayes", "--data", data, "--draws", "100")
    found = result(pathlift, network, *options)
    t = found["terms"]
    assert t["budget"] == pytest.approx((t["KL"] + t["grid"] + t["sampling"]) / 400)
    assert t["sampled_error"] < t["empirical_error"] < found["value"] < 0.5
    assert found["vacuous"] is False
    assert t["d"] == 10
    assert result(pathlift, network, *options) == found  # a seed makes it so


def test_the_product(pathlift: Cli, network: str) -> None:
    found = result(pathlift, network, "--kind", "product")
    assert found["value"] == pytest.approx(6, rel=3e-3)
    assert [(x["node"], x["op"]) for x in found["terms"]["layers"]] == [("h", "Gemm"), ("y", "Gemm")]
    assert found["vacuous"] is None
    other = result(pathlift, network, "--kind", "product", "--norm", "linf")
    assert other["terms"]["log10_path_norm"] == pytest.approx(log10(6))


def test_a_final_softmax_is_left_out_and_said(pathlift: Cli, network: str, tmp_path: Path) -> None:
    save(parse_graph(NETWORK.replace("return %y", "%p = Softmax(%y)\n    return %p")), tmp_path / "p.onnx")
    options = ("--kind", "generalization", "--samples", "100")
    found = result(pathlift, str(tmp_path / "p.onnx"), *options)
    assert found["value"] == result(pathlift, network, *options)["value"]
    assert any("Softmax" in line for line in found["assumptions"])


@pytest.mark.parametrize(
    ("options", "code", "exit_code"),
    [
        (["--kind", "generalization"], "PL1481", 2),
        (["--kind", "product", "--samples", "3"], "PL1481", 2),
        (["--kind", "pac-bayes"], "PL1481", 2),
        (["--kind", "generalization", "--samples", "9", "--loss", "margin"], "PL1481", 2),
        (["--kind", "generalization", "--samples", "0"], "PL1480", 2),
        (["--kind", "generalization", "--samples", "9", "--input-bound", "-1"], "PL1480", 2),
    ],
)
def test_usage(pathlift: Cli, network: str, options: list[str], code: str, exit_code: int) -> None:
    outcome = pathlift("bound", network, *options)
    assert (outcome.code, outcome.err.split()[0]) == (exit_code, code)


@pytest.mark.parametrize(("op", "code"), [("Tanh(%h)", "PL1375"), ("Sigmoid(%h)", "PL1375")])
def test_other_activations_are_refused(pathlift: Cli, tmp_path: Path, op: str, code: str) -> None:
    save(parse_graph(NETWORK.replace("Relu(%h)", op)), tmp_path / "t.onnx")
    outcome = pathlift("bound", str(tmp_path / "t.onnx"), "--kind", "generalization", "--samples", "9")
    assert (outcome.code, outcome.err.split()[0]) == (4, code)


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": np.zeros((9, 2), np.float32)},
        {"x": np.zeros((9, 2), np.float32), "y": np.zeros(8, np.int64)},
        {"x": np.zeros((9, 2), np.float32), "y": np.zeros(9)},
        {"x": np.zeros((9, 2), np.float32), "y": np.full(9, 2)},
        {"x": np.zeros((7, 2), np.float32), "y": np.zeros(7, np.int64)},
    ],
)
def test_data_without_fitting_labels(arrays: dict[str, Any]) -> None:
    with pytest.raises(package.PathliftError, match="PL1482"):
        package.bound(parse_graph(NETWORK), kind="pac-bayes", data=arrays, draws=2)


def test_text(pathlift: Cli, network: str) -> None:
    out = pathlift("bound", network, "--kind", "product").out
    assert "operator norms" in out
    assert "outputs move by at most 10^0.77" in out
