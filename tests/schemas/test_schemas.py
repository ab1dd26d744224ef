"""The schemas that the package ships: current, valid, one per verb, and closed to keys that they do not list."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from pathlift.verbs import VERBS
from pathlift.verbs.schema import schema

DOCS = Path(__file__).parents[2] / "docs"
NAMES = (*VERBS, "error")


@pytest.fixture(scope="module")
def types() -> Iterator[ModuleType]:
    sys.path.insert(0, str(DOCS))  # as for a script there
    yield importlib.import_module("schemas")
    sys.path.remove(str(DOCS))


def test_files_are_what_the_types_say(types: ModuleType) -> None:
    made = {f"{name.replace(' ', '_')}.json": found for name, found in types.schemas().items()}
    folder = resources.files("pathlift.schemas")
    shipped = {f.name: json.loads(f.read_text("utf-8")) for f in folder.iterdir() if f.name.endswith(".json")}
    assert made == shipped, "the schemas are out of date: run make docs-pages"


def test_every_verb_has_one() -> None:
    assert set(schema().schemas) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_valid_and_lists_all_keys(name: str) -> None:
    found = schema(name).schemas[name]
    Draft202012Validator.check_schema(found)
    assert found["description"]
    for part in objects(found):
        assert part["additionalProperties"] is False
        assert set(part.get("required", ())) <= set(part["properties"])


def objects(part: Any) -> Iterator[dict[str, Any]]:
    """All objects with named keys."""
    if isinstance(part, dict):
        if isinstance(part.get("properties"), dict) and part.get("type") == "object":
            yield part
        for item in part.values():
            yield from objects(item)
    elif isinstance(part, list):
        for item in part:
            yield from objects(item)


@pytest.mark.parametrize("change", ["added", "missing", "typed"])
def test_what_is_not_listed_is_refused(change: str) -> None:
    told: dict[str, Any] = {
        "schema_version": 1,
        "tool": {"name": "pathlift", "version": "0"},
        "error": {"code": "PL0400", "message": "m", "hint": None, "node": None, "op": None, "input": None},
        "exit_code": 2,
    }
    check = Draft202012Validator(schema("error").schemas["error"])
    check.validate(told)
    if change == "added":
        told["error"]["cause"] = "c"
    elif change == "missing":
        del told["error"]["hint"]
    else:
        told["exit_code"] = "2"
    with pytest.raises(ValidationError):
        check.validate(told)
