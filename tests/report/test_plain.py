"""Objects as plain JSON types, and JSON of any form as tables."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

import numpy as np
import pytest
import torch

from pathlift.cli.text import to_text
from pathlift.report import plain as module
from pathlift.report.plain import plain
from pathlift.report.result import Result
from pathlift.report.tables import json_tables


class Colour(Enum):
    RED = 1


class Word(StrEnum):
    YES = "yes"


@dataclass(frozen=True)
class Point:
    x: float
    inner: Any = field(default=None, repr=False)


class Spoken:
    def to_json(self) -> dict[str, Any]:
        return {"bad": math.nan, "point": Point(1.0)}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
        ({1: (2, [3])}, {"1": [2, [3]]}),
        (frozenset({4}), [4]),
        (Colour.RED, 1),
        (Word.YES, "yes"),
        (Point(1.0, Point(math.inf)), {"x": 1.0, "inner": {"x": "inf", "inner": None}}),
        (Spoken(), {"bad": "nan", "point": {"x": 1.0, "inner": None}}),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.array([[1.0, np.inf]]), [[1.0, "inf"]]),
        (np.bool_(True), True),
        (torch.tensor([1, 2]), [1, 2]),
        (torch.ones(2, dtype=torch.bfloat16, requires_grad=True), [1.0, 1.0]),
        (1j, "1j"),
        (Point, str(Point)),
    ],
)
def test_plain(value: object, expected: object) -> None:
    found = plain(value)
    assert found == expected
    json.dumps(found, allow_nan=False)


def test_large_arrays_are_told_by_their_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ELEMENTS", 4)
    assert plain(np.zeros((2, 2), np.float32)) == [[0.0, 0.0], [0.0, 0.0]]
    assert plain(np.zeros((5,), np.float32)) == {"shape": [5], "dtype": "float32"}
    assert plain(torch.zeros(5)) == {"shape": [5], "dtype": "torch.float32"}


@dataclass(frozen=True)
class Shown(Result):
    payload: Any = None

    def to_json(self) -> dict[str, Any]:
        return {"shown": self.payload}


def lines(value: Any) -> list[str]:
    return to_text(lambda payload: json_tables("what", payload["shown"]), Shown(payload=value)).splitlines()


def test_tables() -> None:
    value = {
        "count": 3,
        "exact": 0.1234567890123,
        "none": None,
        "inner": {"name": "fc\x1b[31m", "empty": {}},
        "rows": [{"node": "a", "x": 1.5, "gone": None}, {"node": "b", "x": None, "list": [1, 2]}],
    }
    assert lines(value) == [
        "what",
        "count        3",
        "exact        0.1234567890123",
        "none         -",
        "inner.name   fc",
        "inner.empty  {}",
        "",
        "rows:",
        "node    x  list",
        "a     1.5  -",
        "b       -  [1, 2]",
    ]


def test_tables_of_other_values() -> None:
    assert lines(3.5) == ["what", "      3.5"]
    assert lines([{"a": 1}]) == ["what", "", "a", "1"]
    assert lines({}) == ["what"]
    assert lines({"long": list(range(100))})[1].endswith("…")
