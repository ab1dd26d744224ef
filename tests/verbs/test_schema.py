"""The verb `schema`: it lists, and prints what a validator takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pathlift.ir.errors import UsageError
from pathlift.verbs.schema import schema

Cli = Callable[..., Any]


def test_it_lists(pathlift: Cli) -> None:
    outcome = pathlift("schema")
    assert outcome.code == 0
    assert "ks fit" in outcome.out
    told = json.loads(pathlift("schema", "--format", "json").out)["result"]["schemas"]
    assert [item["name"] for item in told] == sorted(item["name"] for item in told)
    assert all("schema" not in item for item in told)


@pytest.mark.parametrize("words", [["norm"], ["ks", "fit"], ["ks fit"], ["error"]])
def test_it_prints_one(pathlift: Cli, words: list[str]) -> None:
    printed = json.loads(pathlift("schema", *words).out)
    name = " ".join(words)
    assert printed["$schema"].endswith("2020-12/schema")
    assert printed == schema(name).schemas[name]
    (told,) = json.loads(pathlift("schema", *words, "--format", "json").out)["result"]["schemas"]
    assert told == {"name": name, "help": printed["description"], "schema": printed}


def test_there_is_no_such_schema() -> None:
    with pytest.raises(UsageError, match="PL1426") as error:
        schema("nrom")
    assert "norm" in error.value.hint
