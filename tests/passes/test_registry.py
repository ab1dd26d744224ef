"""Passes of other packages, found through their entry points: how they run, and how they fail without a traceback."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pathlift.frontend.save import save
from pathlift.ir.text import parse_graph

Cli = Callable[..., Any]
Install = Callable[..., None]

NETWORK = """
%x = Input : f32[N, 2]
%w = Param {value=[[1.0, 0.0], [3.0, 4.0]]} : f32[2, 2]
%h = Gemm(%x, %w)
%y = Relu(%h)
return %y
"""
PREAMBLE = """
from __future__ import annotations
from dataclasses import dataclass
from pathlift.passes.base import Analysis, Effect, Rewritten, Transform, Witness
class Fine(Witness):
    def check(self, before, after): pass
@dataclass(frozen=True)
class Keep(Transform):
    "Keep everything."
    name = "keep"
    def run(self, graph): return Rewritten(graph, Fine())
"""
MODULES = map("third_party_module_{}".format, itertools.count())


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package with passes on the path, as an installer would leave it."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def put(package: str, code: str = "", **passes: str) -> None:
        module = next(MODULES)
        (site / f"{module}.py").write_text(PREAMBLE + code)
        info = site / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name.replace('_', '-')} = {module}:{attribute}" for name, attribute in passes.items()]
        (info / "entry_points.txt").write_text("\n".join(["[pathlift.passes]", *lines, ""]))

    return put


@pytest.fixture
def model(tmp_path: Path) -> str:
    save(parse_graph(NETWORK), tmp_path / "m.onnx")
    return str(tmp_path / "m.onnx")


def listing(cli: Cli) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(cli("passes", "--format", "json").out)
    return payload


def test_a_pass_is_listed_and_runs(pathlift: Cli, install: Install, model: str) -> None:
    install("keeper", keep="Keep")
    (item,) = [item for item in listing(pathlift)["result"]["passes"] if item["name"] == "keep"]
    assert item == {
        "name": "keep",
        "kind": "transform",
        "path_norm": "may change",
        "help": "Keep everything.",
        "description": "Keep everything.",
        "options": [],
    }
    outcome = pathlift("opt", model, "-p", "keep,dead-code", "--format", "json")
    assert [s["name"] for s in json.loads(outcome.out)["result"]["passes"]] == ["keep", "dead-code"]
    assert "did you mean 'keep'?" in pathlift("opt", model, "-p", "keeep").err


UNUSABLE = {
    "no such name": ("", "Missing", "AttributeError: "),
    "import error": ("import module_that_is_not_there", "Keep", "ModuleNotFoundError: No module named"),
    "raises": ("1 / 0", "Keep", "ZeroDivisionError: division by zero"),
    "a function": ("def keep(graph): return graph", "keep", "it is no subclass of pathlift.passes.base.Pass"),
    "another name": ("class Other(Keep): name = 'other'", "Other", "the class calls itself 'other'"),
    "abstract": ("class Other(Transform): name = 'bad'", "Other", "it does not define run"),
    "thawed": (
        "class Other(Transform):\n    name = 'bad'\n    def run(self, graph): pass",
        "Other",
        "it is not a frozen dataclass",
    ),
    "effect": ("@dataclass(frozen=True)\nclass Other(Keep):\n    name = 'bad'\n    effect = 'none'", "Other",
               "its effect on path-norms is 'none', not an Effect"),
    "types": ("@dataclass(frozen=True)\nclass Other(Keep):\n    name = 'bad'\n    size: Nowhere = 0", "Other",
              "the types of its options are not known: name 'Nowhere' is not defined"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_pass_that_cannot_be_used_fails_only_when_named(
    pathlift: Cli, install: Install, model: str, case: str
) -> None:
    code, attribute, reason = UNUSABLE[case]
    install("broken", code, bad=attribute)
    assert pathlift("opt", model, "-p", "dead-code").code == 0
    outcome = pathlift("opt", model, "-p", "dead-code,bad")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"PL0658 pass 'bad' of package broken: {reason}")
    assert outcome.err.count("\n") == 1
    (item,) = listing(pathlift)["result"]["unavailable"]
    assert (item["name"], item["packages"]) == ("bad", ["broken"])
    assert item["reason"].startswith(reason)
    row = next(line for line in pathlift("passes").out.splitlines() if line.startswith("bad "))
    assert row.split()[1:3] == ["unavailable", "broken:"]
    assert reason in row


def test_two_packages_with_one_name(pathlift: Cli, install: Install, model: str) -> None:
    install("first", keep="Keep")
    install("second", keep="Keep")
    outcome = pathlift("opt", model, "-p", "keep")
    assert outcome.code == 2
    assert outcome.err.startswith("PL0658 pass 'keep' of package first and second: ")
    assert "uninstall" in outcome.err
    (item,) = listing(pathlift)["result"]["unavailable"]
    assert item["packages"] == ["first", "second"]


def test_a_built_in_pass_cannot_be_shadowed(pathlift: Cli, install: Install, model: str) -> None:
    install("shadow", "raise SystemExit('imported')", dead_code="Keep")
    warning = "pass 'dead-code' of package shadow is left out: a built-in pass has that name"
    payload = listing(pathlift)
    assert payload["warnings"] == [warning]
    helps = {item["name"]: item["help"] for item in payload["result"]["passes"]}
    assert helps["dead-code"].startswith("Remove")
    assert f"warning: {warning}" in pathlift("opt", model, "-p", "dead-code").err
    assert pathlift("opt", model, "-p", "strip-head").err == ""


BROKEN = {
    "raises": ("raise KeyError('conv1')", 70, "PL0810 pass 'bad' of package broken failed with KeyError: 'conv1'"),
    "returns nothing": ("pass", 70, "PL0811 pass 'bad' of package broken returned an object of type NoneType, not"),
    "invalid graph": ("b = graph.edit(); return Rewritten(b.finish('gone'), Fine())", 70,
                      "PL0812 pass 'bad' of package broken made an invalid graph: there is no value 'gone'"),
    "false witness": ("from pathlift.passes.rewrites.dead_code import Removed; "
                      "return Rewritten(graph, Removed(frozenset({'y'})))", 70,
                      "PL0801 pass 'bad' of package broken: "),
    "refuses": ("from pathlift.ir.errors import UnsupportedError; "
                "raise UnsupportedError('0304', 'dynamic weight', node='h', op='Gemm')", 4,
                "PL0304 node 'h' (Gemm): dynamic weight"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_pass_that_fails_is_named(pathlift: Cli, install: Install, model: str, tmp_path: Path, case: str) -> None:
    body, exit_code, message = BROKEN[case]
    code = f"@dataclass(frozen=True)\nclass Bad(Keep):\n    name = 'bad'\n    def run(self, graph):\n        {body}\n"
    install("broken", code, bad="Bad")
    outcome = pathlift("opt", model, "-p", "bad", "-o", str(tmp_path / "o.onnx"))
    assert (outcome.code, outcome.out) == (exit_code, "")
    assert outcome.err.startswith(message)
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "o.onnx").exists()
    assert "Traceback" in pathlift("opt", model, "-p", "bad", "--debug").err
