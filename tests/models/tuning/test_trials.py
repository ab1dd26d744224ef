"""Logs of tunings: what is kept, and taken up again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pathlift.ir.errors import UsageError
from pathlift.models.tuning.trials import Cost, Noise, Quality, Trials

NODES, NAMES = ["a", "b"], [["dense", "(1,2,3,4)", "(4,3,2,1)"], ["dense", "(1,2,3,4)"]]


def test_a_log_has_all_that_was_measured(tmp_path: Path) -> None:
    first = Trials.read(tmp_path / "log", {"of": [1, 2]}, NODES, NAMES)
    first.cost("verify", (2, 0), Cost(0.5, 0.4, 0.6))
    first.quality("file", (0, 1), Quality(0.25, 0.5))
    first.noise(Noise(0.01, 1.0, 0.9, 1.1, None))
    again = Trials.read(tmp_path / "log", {"of": [1, 2]}, NODES, NAMES)
    assert (again.costs, again.qualities, again.noises) == (first.costs, first.qualities, first.noises)
    assert (first.resumed, again.resumed) == (0, 2)
    assert again.costs == {("verify", (2, 0)): Cost(0.5, 0.4, 0.6)}


def test_a_log_knows_options_by_their_patterns(tmp_path: Path) -> None:
    Trials.read(tmp_path / "log", {}, NODES, NAMES).cost("verify", (2, 0), Cost(0.5, 0.4, 0.6))
    swapped = [["dense", "(4,3,2,1)", "(1,2,3,4)"], NAMES[1]]
    assert list(Trials.read(tmp_path / "log", {}, NODES, swapped).costs) == [("verify", (1, 0))]
    for nodes, names in ((NODES, [NAMES[1], NAMES[1]]), (["c", "b"], NAMES)):
        with pytest.raises(UsageError, match="PL1411"):
            Trials.read(tmp_path / "log", {}, nodes, names)


def test_a_log_of_something_else_goes_by_force_alone(tmp_path: Path) -> None:
    Trials.read(tmp_path / "log", {"of": 1}, NODES, NAMES).cost("verify", (2, 0), Cost(0.5, 0.4, 0.6))
    with pytest.raises(UsageError, match="PL1411"):
        Trials.read(tmp_path / "log", {"of": 2}, NODES, NAMES)
    assert Trials.read(tmp_path / "log", {"of": 1}, NODES, NAMES, force=True).resumed == 1
    assert Trials.read(tmp_path / "log", {"of": 2}, NODES, NAMES, force=True).resumed == 0
    assert (tmp_path / "log").read_text().count("\n") == 1


@pytest.mark.parametrize(
    "row",
    [
        {"choice": {}, "stage": "layer", "quality": {"error": "0.1"}},
        {"choice": {}, "stage": "layer", "quality": {"error": None}},
        {"choice": {}, "stage": "layer", "quality": {"error": -0.1}},
        {"choice": {}, "stage": "layer", "quality": {"error": float("nan")}},
        {"choice": {}, "stage": "layer", "quality": {"accuracy": 0.5}},
        {"choice": {}, "stage": "verify", "cost": {"ratio": 0.5, "low": None, "high": 0.6}},
        {"choice": {}, "stage": "verify", "cost": {"ratio": True, "low": 0.5, "high": 0.6}},
        {"noise": {"deviation": float("inf"), "seconds": 1, "low": 1, "high": 1}},
        {"noise": {"deviation": [], "seconds": 1, "low": 1, "high": 1}},
    ],
)
def test_a_log_of_other_figures_is_none(tmp_path: Path, row: Any) -> None:
    Trials.read(tmp_path / "log", {}, NODES, NAMES)
    with (tmp_path / "log").open("a") as file:
        file.write(json.dumps(row) + "\n")
    with pytest.raises(UsageError, match="PL1411"):
        Trials.read(tmp_path / "log", {}, NODES, NAMES)
