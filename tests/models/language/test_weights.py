"""Weights as files have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pathlift.automata.tokens import TokenAutomaton
from pathlift.ir.errors import UsageError
from pathlift.models.language.weights import read_weights

MACHINE = TokenAutomaton(np.array([[0, 1], [2, 2], [2, 2]]), np.array([False, True, False]), 1)


def test_files(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text(json.dumps([[0, 1, 0.25], [0, 0, 2]]))
    assert read_weights(tmp_path / "w.json", MACHINE).tolist() == [[2, 0.25], [0, 0]]
    with pytest.raises(UsageError, match="PL0470"):
        read_weights(tmp_path / "none.json", MACHINE)
    (tmp_path / "w.json").write_text("[")
    with pytest.raises(UsageError, match="PL1586"):
        read_weights(tmp_path / "w.json", MACHINE)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"0": 1}, "not a list"),
        ([[0, 1]], "weight 0 is"),
        ([[0, 1, 1.0], [2, 1, 1.0]], "weight 1 is"),
        ([[0, 2, 1.0]], "weight 0 is"),
        ([[0, 1, -1.0]], "weight 0 is"),
        ([[0, 1, float("nan")]], "weight 0 is"),
        ([[0, 1, float("inf")]], "weight 0 is"),
        ([[True, 1, 1.0]], "weight 0 is"),
        ([[0, 1, 1.0], [0, 1, 2.0]], "twice"),
        ([[1, 0, 1.0]], "leads out of the language"),
    ],
)
def test_what_is_no_weight(rows: Any, said: str) -> None:
    with pytest.raises(UsageError, match=f"PL1586.*{said}"):
        read_weights(rows, MACHINE)
