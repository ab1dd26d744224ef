"""Failures: one line, and JSON for who asked for it, whatever went wrong and however early."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pathlift.cli.envelope import of_error, wants_json
from pathlift.ir import errors
from pathlift.ir.errors import PathliftError, UnsupportedError, about

Cli = Callable[..., Any]
Fake = Callable[..., Any]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["norm", "--format", "json"], True),
        (["--format=json", "norm"], True),
        (["norm", "--format", "json", "--format", "text"], False),
        (["norm", "--format", "text", "--format=json"], True),
        (["norm", "--format"], False),
        (["norm", "--format", "xml"], False),
        (["norm", "json"], False),
        (["norm", "--", "--format", "json"], False),
        ([], False),
    ],
)
def test_json_is_asked_for(arguments: Sequence[str], expected: bool) -> None:
    assert wants_json(arguments) == expected


@pytest.mark.parametrize("spelling", [["--format", "json"], ["--format=json"]])
@pytest.mark.parametrize(
    "arguments", [[], ["frobnicate"], ["norm"], ["norm", "m.onnx", "--nope"], ["export", "m:f", "-o", "x"]]
)
def test_usage_errors_answer_in_json(pathlift: Cli, arguments: list[str], spelling: list[str]) -> None:
    outcome = pathlift(*arguments, *spelling)
    told = json.loads(outcome.out)
    assert (outcome.code, told["exit_code"], told["error"]["code"]) == (2, 2, "PL0400")
    assert outcome.err == f"PL0400 {told['error']['message']} hint: {told['error']['hint']}\n"


def test_all_keys(pathlift: Cli, fake: Fake) -> None:
    error = UnsupportedError("0304", "dynamic weight", hint="fold it").at("conv3", "Conv")
    error.input = "m.onnx"
    fake(error=error)
    assert json.loads(pathlift("passes", "--format", "json").out) == {
        "schema_version": 1,
        "tool": {"name": "pathlift", "version": "0.1.0"},
        "error": {
            "code": "PL0304",
            "message": "node 'conv3' (Conv): dynamic weight",
            "hint": "fold it",
            "node": "conv3",
            "op": "Conv",
            "input": "m.onnx",
        },
        "exit_code": 4,
    }


@pytest.mark.parametrize(
    ("message", "node", "op"),
    [
        ("node 'conv3' (Conv): bad", "conv3", "Conv"),
        ('node "it\'s": bad', "it's", ""),
        ("node 'a\\\\b' (Add) is malformed", "a\\b", "Add"),
        ("node producing 'y' (Mul): bad", "y", "Mul"),
        ("tensor 'w': node 'x' (Conv)", "", ""),
        ("node nothing", "", ""),
    ],
)
def test_a_message_that_starts_with_a_node_names_it(message: str, node: str, op: str) -> None:
    for error in (errors.GraphError("0504", message), UnsupportedError("0394", message)):
        assert (error.node, error.op) == (node, op)


def test_a_refusal_keeps_its_node() -> None:
    error = UnsupportedError("0304", "no rule", node="(odd) 'name'", op="Conv").at("outer", "If")
    assert (error.node, error.op) == ("(odd) 'name'", "Conv")


def test_the_innermost_block_knows_the_file() -> None:
    error = errors.InvalidModelError("0199", "m")
    with pytest.raises(PathliftError, match="PL0199"), about("outer"), about(Path("inner")):
        raise error.with_traceback(None)
    assert error.input == "inner"


def test_what_an_error_comes_of_is_known_to_it() -> None:
    cause = errors.GraphError("0504", "node 'a' (Add): bad")
    cause.input = "m.onnx"
    error = errors.WitnessError("0812", "the pass made an invalid graph")
    error.__cause__ = cause
    told = of_error(error)["error"]
    assert (told["node"], told["op"], told["input"]) == ("a", "Add", "m.onnx")


@pytest.mark.parametrize(("files", "named"), [(["a.onnx"], "a.onnx"), (["a.onnx", "b.onnx"], None)])
def test_an_error_after_opening_is_about_the_only_file(
    pathlift: Cli, fake: Fake, files: list[str], named: str | None
) -> None:
    fake(verb="bench.bench", error=UnsupportedError("0399", "no"))
    assert json.loads(pathlift("bench", *files, "--format", "json").out)["error"]["input"] == named


def test_an_error_of_usage_is_about_no_file(pathlift: Cli, fake: Fake) -> None:
    fake(verb="bench.bench", error=errors.UsageError("0499", "no"))
    assert json.loads(pathlift("bench", "a.onnx", "--format", "json").out)["error"]["input"] is None


@pytest.mark.parametrize("name", ["norm", "inspect", "run"])
def test_a_missing_file_is_named(pathlift: Cli, name: str) -> None:
    assert json.loads(pathlift(name, "nowhere.onnx", "--format", "json").out)["error"]["input"] == "nowhere.onnx"


def test_a_missing_file_of_data_is_named(pathlift: Cli, digits: Path) -> None:
    outcome = pathlift("run", str(digits), "--input", "nowhere.npz", "--format=json")
    assert json.loads(outcome.out)["error"]["input"] == "nowhere.npz"


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [(KeyboardInterrupt(), "PL0001", 130), (SystemExit(143), "PL0002", 143), (SystemExit(3), "PL0000", 70)],
)
def test_stops(pathlift: Cli, fake: Fake, error: BaseException, code: str, exit_code: int) -> None:
    fake(error=error)
    outcome = pathlift("passes", "--format", "json")
    told = json.loads(outcome.out)
    assert (outcome.code, told["exit_code"], told["error"]["code"]) == (exit_code, exit_code, code)
    assert outcome.err.startswith(code)


def test_an_error_in_json_is_one_document(pathlift: Cli, fake: Fake) -> None:
    fake(action=lambda: print("noise"), error=KeyError("x"))
    outcome = pathlift("passes", "--format", "json", "--debug")
    assert json.loads(outcome.out)["error"]["code"] == "PL0000"
    assert "Traceback" in outcome.err
