"""`pathlift bound --kind robustness`: what is certified no point of the ball refutes, and what is refuted is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pathlift as package
from pathlift.frontend.save import save
from pathlift.ir.text import parse_graph
from pathlift.models.certificates import robustness
from pathlift.models.certificates.robustness import Sample, margin_rows
from pathlift.passes.intervals.box import Box

Cli = Callable[..., Any]

# The scores are x, y and 1 - x - y, so that class 0 wins where x is larger than y and than (1 - y) / 2.
NETWORK = """
    %x = Input : f64[N, 2]
    %w = Param {value=[[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]]} : f64[2, 3]
    %b = Param {value=[0.0, 0.0, 1.0]} : f64[3]
    %h = Gemm(%x, %w, %b)
    %r = Relu(%h)
    return %r
"""
AT = np.array([[0.8, 0.2], [0.5, 0.45], [0.1, 0.9]])


def result(at: Any = AT, radius: float = 0.1, **options: Any) -> Any:
    arrays = at if isinstance(at, dict) else {"x": at}
    return package.bound(parse_graph(NETWORK), kind="robustness", at=arrays, radius=radius, **{"budget": 1} | options)


def test_totals_and_verdicts() -> None:
    found = result().to_json()
    assert [row["verdict"] for row in found["terms"]["per_sample"]] == ["certified", "refuted", "certified"]
    assert [row["label"] for row in found["terms"]["per_sample"]] == [0, 0, 1]
    assert (found["certified"], found["refuted"], found["unknown"]) == (2, 1, 0)
    assert found["certified_accuracy"] == found["value"] == pytest.approx(2 / 3)
    assert found["attacked_accuracy"] == pytest.approx(2 / 3)
    assert found["clean_accuracy"] == 1.0
    assert found["vacuous"] is False
    assert result().exit_code == 1
    assert result(AT[:1]).exit_code == 0


def test_margins_are_lower_bounds() -> None:
    margin = result(AT[:1]).to_json()["terms"]["per_sample"][0]["margin"]
    assert margin <= 0.7 - 0.3 + 1e-15  # at (0.7, 0.3): the scores are 0.7, 0.3 and 0
    assert margin == pytest.approx(0.4, abs=1e-6)


def test_labels_of_the_file_count() -> None:
    found = result({"x": AT, "y": np.array([0, 0, 2])}).to_json()
    assert found["clean_accuracy"] == pytest.approx(2 / 3)
    assert found["terms"]["per_sample"][2]["verdict"] == "refuted"
    assert any("gives it" in line for line in result().assumptions)
    assert not any("gives it" in line for line in result({"x": AT, "y": np.array([0, 0, 2])}).assumptions)


def test_inputs_stay_within_the_domain() -> None:
    at = np.array([[0.5, 0.45]])
    assert result(at, 0.06).exit_code == 1
    assert result(at, 0.06, domain={"x": (np.array([[0.47, 0.0]]), np.array([[1.0, 0.46]]))}).exit_code == 0


def test_witnesses_are_in_the_ball_and_of_another_class(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    result({"samples": AT, "y": np.array([0, 0, 2])}, witness=path)
    with np.load(path) as file:
        x, which = file["x"], file["sample"]
    assert which.tolist() == [1, 2]
    assert (np.abs(x - AT[which]) <= 0.1).all()
    scores = np.maximum(x @ np.array([[1.0, 0, -1], [0, 1, -1]]) + [0, 0, 1], 0)
    assert (scores.argmax(1) != np.array([0, 2])).all()
    with pytest.raises(package.PathliftError, match="exists"):
        result(witness=path)
    result(witness=path, force=True)


def test_what_neither_proves_nor_refutes_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robustness, "misclassifications", lambda *_, **__: [None] * 3)
    found = result()
    assert (found.exit_code, found.to_json()["unknown"]) == (5, 1)


def test_an_adversary_of_a_certified_sample_is_our_own_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = {"x": torch.tensor([[0.0, 1.0]]).double()}  # not in the ball at all
    monkeypatch.setattr(robustness, "misclassifications", lambda *_, **__: [elsewhere, None, None])
    with pytest.raises(package.PathliftError, match="sample 0") as error:
        result()
    assert (error.value.code, error.value.exit_code) == ("PL0941", 70)


def test_a_tie_within_rounding_refutes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    level = {"x": torch.tensor([[0.5, 0.5]]).double()}
    monkeypatch.setattr(robustness, "misclassifications", lambda *_, **__: [None, level, None])
    assert result().to_json()["unknown"] == 1


def test_random_points_never_refute_a_certificate() -> None:
    rng = np.random.default_rng(0)
    at = rng.uniform(0, 1, (12, 2))
    found = result(at, 0.15, budget=2).to_json()["terms"]["per_sample"]
    assert {"certified", "refuted"} <= {row["verdict"] for row in found}
    for x, row in zip(at, found, strict=True):
        points = x + rng.uniform(-0.15, 0.15, (400, 2))
        scores = np.maximum(points @ np.array([[1.0, 0, -1], [0, 1, -1]]) + [0, 0, 1], 0)
        if row["verdict"] == "certified":
            assert (scores.argmax(1) == row["label"]).all()


def test_rows_are_of_the_label_less_each_other() -> None:
    scores = Box(torch.zeros(1, 3).double(), torch.zeros(1, 3).double())
    assert margin_rows(scores, 1).tolist() == [[[-1, 1, 0]], [[0, 1, -1]]]


def test_the_best_margin_is_kept() -> None:
    sample = Sample(0, 0)
    for margin, method in ((-1.0, "a"), (2.0, "b"), (1.0, "c")):
        sample.learn(margin, method)
    assert (sample.margin, sample.method, sample.verdict) == (2.0, "b", "certified")


@pytest.mark.parametrize(
    ("at", "options", "code"),
    [
        (AT, {"radius": None}, "PL1481"),
        (AT, {"budget": -1}, "PL1480"),
        ({"x": AT, "y": np.array([0, 1])}, {}, "PL1472"),
        ({"x": AT, "y": np.array([0, 1, 3])}, {}, "PL1472"),
        ({"x": AT, "y": np.array([0.0, 1, 2])}, {}, "PL1472"),
        ({"z": AT, "v": AT}, {}, "PL1462"),
    ],
)
def test_usage(at: Any, options: dict[str, Any], code: str) -> None:
    with pytest.raises(package.PathliftError) as error:
        result(at, **options)
    assert error.value.code == code


def test_what_is_no_classifier() -> None:
    graph = parse_graph("%x = Input : f64[N, 2]\n%y = Relu(%x)\nreturn %y, %x")
    with pytest.raises(package.PathliftError) as error:
        package.bound(graph, kind="robustness", at={"x": AT}, radius=0.1)
    assert error.value.code == "PL1472"


def test_text(pathlift: Cli, tmp_path: Path) -> None:
    save(parse_graph(NETWORK), tmp_path / "m.onnx")
    np.savez(tmp_path / "s.npz", x=AT)
    outcome = pathlift(
        "bound", str(tmp_path / "m.onnx"), "--kind", "robustness", "--at", str(tmp_path / "s.npz"), "--radius", "0.1",
        "--budget", "1", "--witness", str(tmp_path / "w.npz"),
    )  # fmt: skip
    assert outcome.code == 1
    assert "2 of 3 samples certified" in outcome.out
    assert "66.7 %" in outcome.out
    assert (tmp_path / "w.npz").exists()
