"""`pathlift analyze`: every analysis by name, with its result in the envelope or as text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import pathlift as library
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.passes import registry
from pathlift.passes.base import Analysis, Pass

Cli = Callable[..., Any]
DIGITS = str(Path(__file__).parents[2] / "examples" / "digits.onnx")


@dataclass(frozen=True)
class Counted:
    ops: dict[str, int]
    extremes: Any = field(default_factory=lambda: np.array([0.5, np.inf]))
    assumptions: tuple[str, ...] = ("nodes are counted once", "the final Softmax 'y' is left out")


class Lines:
    def to_text(self) -> Iterator[str]:
        yield "as it\x1b[2J likes"


@dataclass(frozen=True)
class Count(Analysis[Any]):
    """Count nodes.

    Parameters
    ----------
    shape
        Something else than extents.
    """

    name: ClassVar[str] = "count"

    shape: str = ""
    how: str = "dataclass"

    def run(self, graph: Graph) -> Any:
        if self.how == "number":
            return len(graph.order)
        if self.how == "lines":
            return Lines()
        if self.how == "fails":
            raise ZeroDivisionError("by zero")
        return Counted({"Relu": 1})


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> type[Pass]:
        return Count if name == "count" else registry.find_pass(name)

    monkeypatch.setattr("pathlift.passes.pipeline_text.find_pass", find)


def analyses(cli: Cli, *arguments: str) -> list[dict[str, Any]]:
    outcome = cli("analyze", *arguments, "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    found: list[dict[str, Any]] = json.loads(outcome.out)["result"]["analyses"]
    return found


def test_built_in_analyses_say_what_their_verbs_say(pathlift: Cli) -> None:
    norms, path, detected = analyses(
        pathlift, DIGITS, "-p", "path-norm{q=[1,inf],per-layer=true},heaviest-path,ks-detect"
    )
    assert [norms["name"], path["name"], detected["name"]] == ["path-norm", "heaviest-path", "ks-detect"]
    assert (norms["options"]["q"], norms["options"]["per-layer"]) == ([1.0, "inf"], True)
    flags = ("--q", "1,inf", "--per-layer", "--heaviest-path", "--format", "json")
    verb = json.loads(pathlift("norm", DIGITS, *flags).out)["result"]
    assert norms["result"] | {"heaviest_path": path["result"]} == verb
    verb = json.loads(pathlift("ks", "detect", DIGITS, "--format", "json").out)["result"]
    assert {"written": []} | detected["result"] == verb


def test_results_of_any_form(pathlift: Cli) -> None:
    first, second, third = analyses(pathlift, DIGITS, "-p", "count,count{how=number},count{how=lines}")
    assert first == {
        "name": "count",
        "options": {"shape": "", "how": "dataclass"},
        "result": {"ops": {"Relu": 1}, "extremes": [0.5, "inf"]},
    }
    assert isinstance(second["result"], int)
    assert isinstance(third["result"], str)


def test_assumptions_are_the_envelopes() -> None:
    network = parse_graph("%x = Input : f32[N, 2]\n%y = Softmax(%x)\nreturn %y")
    found = library.analyze(network, "path-norm,count")
    assert found.assumptions == ("the final Softmax 'y' is left out", "nodes are counted once")
    assert found.findings[1].result.ops == {"Relu": 1}


def test_text(pathlift: Cli) -> None:
    text = pathlift("analyze", DIGITS, "-p", "count,count{how=lines},path-norm").out
    lines = text.splitlines()
    assert lines[:6] == ["count", "ops.Relu  1", 'extremes  [0.5, "inf"]', "", "count", "as it likes"]
    assert "norms:" in lines
    assert any("6.07635262058" in line for line in lines)  # in full: a bound must not be rounded
    assert lines[-2:] == ["assumes: nodes are counted once", "assumes: the final Softmax 'y' is left out"]


def test_extents_and_limits_reach_the_analyses_that_take_them(pathlift: Cli) -> None:
    network = parse_graph("%x = Input : f32[N, H]\n%y = Relu(%x)\nreturn %y")
    with pytest.raises(library.PathliftError, match="extent of H"):
        library.analyze(network, "path-norm")
    found = library.analyze(network, "path-norm,count", shape={"H": 3}, memory_limit=10**6)
    options = [finding.to_json()["options"] for finding in found.findings]
    assert (options[0]["shape"], options[0]["memory-limit"], options[1]["shape"]) == ([["H", 3]], 10**6, "")
    own = library.analyze(network, "path-norm{memory-limit=7000000}", shape={"H": 3}, memory_limit=10**6)
    assert own.to_json()["analyses"][0]["options"]["memory-limit"] == 7_000_000
    assert pathlift("analyze", DIGITS, "-p", "count", "--shape", "N=1").err.startswith("PL1402 ")


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        (
            "path-norm,dead-code",
            "PL1400 'dead-code' rewrites, and is no analysis hint: pathlift opt -p dead-code runs it",
        ),
        ("", "PL1401 no analysis is named"),
        ("path-nrom", "PL0650 there is no pass 'path-nrom' hint: did you mean 'path-norm'?"),
        ("path-norm{q=[2e9]}", "PL0420 "),
    ],
)
def test_refusals(pathlift: Cli, pipeline: str, message: str) -> None:
    outcome = pathlift("analyze", DIGITS, "-p", pipeline)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(message)


def test_a_bug_in_an_analysis_is_named(pathlift: Cli) -> None:
    outcome = pathlift("analyze", DIGITS, "-p", "count{how=fails}")
    assert outcome.code == 70
    assert outcome.err.startswith("PL0810 pass 'count' of package ")
    assert outcome.err.endswith(" failed with ZeroDivisionError: by zero\n")


def test_a_pipeline_of_rewrites_says_what_runs_an_analysis(pathlift: Cli) -> None:
    outcome = pathlift("opt", DIGITS, "-p", "path-norm")
    assert outcome.code == 2
    assert outcome.err.startswith("PL0430 ")
    assert "pathlift analyze -p path-norm" in outcome.err
