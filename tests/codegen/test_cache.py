"""Measurements on disk: several processes, files that are no tables, folders that cannot be written to."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pathlift.codegen.cache import TABLES, Key, Measured, Measurement, entries, entry, write_table
from pathlift.codegen.schedule import Form, Schedule
from pathlift.ir.kronecker import Pattern

KEY = Key((Pattern(2, 3, 4, 2),), Form(), 64, "sm_90", "3.9.0")
FOUND = Measurement(Schedule("dot", group=2), 1e-5)


def test_measurements_are_read_back(tmp_path: Path) -> None:
    Measured(tmp_path).put(KEY, FOUND)
    assert Measured(tmp_path).get(KEY) == FOUND
    Measured(tmp_path).put(KEY, Measurement(None, 2e-6))
    assert Measured(tmp_path).get(KEY) == Measurement(None, 2e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"patterns": (Pattern(2, 3, 4, 1),)}, {"form": Form("float16", "ieee")}, {"form": Form(reads="features")},
        {"samples": 128}, {"arch": "sm_80"}, {"triton": "3.6.0"},
    ],
)  # fmt: skip
def test_a_key_is_all_that_was_measured(tmp_path: Path, change: dict[str, Any]) -> None:
    Measured(tmp_path).put(KEY, FOUND)
    assert Measured(tmp_path).get(replace(KEY, **change)) is None


LIES: list[dict[str, Any]] = [
    {"schedule": "template=dot"},  # of another form
    {"schedule": "nonsense"},
    {"schedule": str(Schedule("dot", group=3))},  # does not fit
    {"seconds": -1.0},
    {"seconds": float("nan")},
    {"seconds": "soon"},
    {"patterns": "(0,1,1,1)"},
    {"patterns": 7},
    {"samples": None},
]


@pytest.mark.parametrize("lie", LIES[1:])
def test_nothing_in_a_file_is_trusted(tmp_path: Path, lie: dict[str, Any]) -> None:
    path = tmp_path / KEY.file
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"schedules": [{**entry(KEY, FOUND), **lie}]}))
    assert Measured(tmp_path).get(KEY) is None


def test_a_schedule_is_one_of_its_form(tmp_path: Path) -> None:
    other = Measurement(Schedule("dot", Form(bias=True)), 1e-5)
    write_table(tmp_path / KEY.file, {KEY: other})
    assert Measured(tmp_path).get(KEY) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schedules": 3}', '{"schedules": [1, null]}', "[" * 10**5])
def test_a_corrupted_file_is_replaced(tmp_path: Path, text: str) -> None:
    path = tmp_path / KEY.file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert Measured(tmp_path).get(KEY) is None
    Measured(tmp_path).put(KEY, FOUND)
    assert Measured(tmp_path).get(KEY) == FOUND


def test_a_file_of_another_key_is_ignored(tmp_path: Path) -> None:
    write_table(tmp_path / KEY.file, {replace(KEY, samples=128): FOUND})
    assert Measured(tmp_path).get(KEY) is None


def test_a_folder_that_cannot_be_made_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    measured = Measured(tmp_path / "file")
    measured.put(KEY, FOUND)
    assert measured.get(KEY) == FOUND
    assert Measured(tmp_path / "file").get(KEY) is None


def test_an_interrupted_write_leaves_what_there_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "t.json", {KEY: FOUND})

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(json, "dump", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_table(tmp_path / "t.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]
    assert KEY in Measured(None, tables=tmp_path)._known


def test_tables_stand_for_every_version_and_own_measurements_come_first(tmp_path: Path) -> None:
    write_table(tmp_path / "tables/card.json", {replace(KEY, triton=""): FOUND})
    measured = Measured(tmp_path / "own", tmp_path / "tables")
    assert measured.get(KEY) == measured.get(replace(KEY, triton="9")) == FOUND
    own = Measurement(None, 1e-6)
    measured.put(KEY, own)
    assert measured.get(KEY) == own
    assert measured.get(replace(KEY, triton="9")) == FOUND


def test_tables_that_ship_are_sound() -> None:
    for path in TABLES.glob("*.json"):
        listed = json.loads(path.read_text())["schedules"]
        assert len(Measured(None, tables=TABLES)._known) >= len(listed) > 0, path


@pytest.mark.parametrize("strange", [{"seconds": 10**400}, {"seconds": math.inf}, {"samples": math.inf}])
def test_numbers_beyond_all_bounds_are_no_measurements(strange: dict[str, float]) -> None:
    sound = entry(KEY, FOUND)
    assert entries([sound]) == {KEY: FOUND}
    assert entries([sound | strange]) == {}
    assert entries([sound | strange, sound]) == {KEY: FOUND}


def test_a_text_that_is_nearly_patterns_takes_no_time() -> None:
    one = "(1,2,2,1)"
    assert entries([entry(KEY, FOUND) | {"patterns": "  ".join([one] * 60) + "!"}]) == {}


WRITER = """
import sys
from pathlib import Path
from pathlift.codegen.cache import Key, Measured, Measurement
from pathlift.codegen.schedule import Form, Schedule
from pathlift.ir.kronecker import Pattern
key = Key((Pattern(2, 3, 4, 2),), Form(), 64, "sm_90", "3.9.0")
for i in range(200):
    Measured(Path(sys.argv[1])).put(key, Measurement(Schedule("dot", warps=2 ** (i % 4)), 1e-5))
    assert Measured(Path(sys.argv[1])).get(key) is not None
"""


def test_processes_write_at_once(tmp_path: Path) -> None:
    started = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)]) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert sorted(path.suffix for path in tmp_path.rglob("*.*")) == [".json"]
