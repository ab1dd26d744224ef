"""Help for authors of passes in `opt`: IR between passes, times, sizes, reproducers, and bisection."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pathlift.ir.compare import graphs_equal
from pathlift.ir.graph import Graph, Value, freeze_attrs
from pathlift.ir.text import parse_graph
from pathlift.passes import registry
from pathlift.passes.base import Pass, Rewritten, Transform, Witness
from pathlift.passes.witness.rewritings import RewriteWitness
from pathlift.passes.witness.site import Site, may_rewrite
from pathlift.verbs.opt import opt

Cli = Callable[..., Any]

TEXT = """graph "g" {ir_version=10, opset=20, doc="a secret"}
%x = Input : f32[N, 2]
%w = Param {value=[[1.0, -2.0], [0.5, 3.0]]} : f32[2, 2]
%a = Gemm(%x, %w) : f32[N, 2]  # loc: fc1
%b = Relu(%a) : f32[N, 2]
%c = Gemm(%b, %w) : f32[N, 2]
%d = Identity(%c) : f32[N, 2]
%e = LeakyRelu(%d) {alpha=0.5} : f32[N, 2]
%f = Gemm(%e, %w) : f32[N, 2]
%g = Relu(%f) : f32[N, 2]
return %g
"""


class Trusting(Witness):
    def check(self, before: Graph, after: Graph) -> None:
        pass


@dataclass(frozen=True)
class Straighten(Transform):
    """Make an Identity of each activation: right only for LeakyRelu of slope 1, and so everywhere wrong.

    Parameters
    ----------
    trusting
        Whether its witness looks away.
    crash
        Whether it fails at slopes.
    """

    name: ClassVar[str] = "straighten"
    trusting: bool = False
    crash: bool = False

    def run(self, graph: Graph) -> Rewritten:
        builder, sites = graph.edit(), list[Site]()
        for key in graph.order:
            if graph[key].op in ("LeakyRelu", "Identity") and may_rewrite(graph[key].names[0]):
                if self.crash and graph[key].op == "LeakyRelu":
                    raise ValueError("no slopes please")
                builder.replace_node(Value(key), op="Identity", attrs=freeze_attrs({}))
                (x,) = graph.inputs_of(key)
                assert x is not None
                sites.append(Site(graph[key].names[0], (graph.name_of(x),), graph[key].label))
        if not sites:
            return Rewritten(graph, Trusting())
        witness = Trusting() if self.trusting else RewriteWitness("activations straightened", tuple(sites))
        return Rewritten(builder.finish(), witness)


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> type[Pass]:
        return Straighten if name == "straighten" else registry.find_pass(name)

    monkeypatch.setattr("pathlift.passes.pipeline_text.find_pass", find)


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "m.plir").write_text(TEXT)
    return str(tmp_path / "m.plir")


# ---- IR between passes, times and sizes


def test_ir_is_printed_before_and_after_named_passes(pathlift: Cli, model: str) -> None:
    command = ["opt", model, "-p", "dead-code,constant-folding", "--format", "json"]
    printed = pathlift(*command, "--print-ir-before", "dead-code", "--print-ir-after", "constant-folding").err
    first, second = (part.splitlines() for part in printed.removeprefix("# ").split("\n# "))
    assert (first[0], second[0]) == ("before dead-code", "after constant-folding")
    assert first[1] == "%x = Input : f32[N, 2]"  # what the model says about itself is noise, and may be private
    assert "secret" not in printed
    assert "loc:" not in printed
    assert "%d = Identity(%c) : f32[N, 2]" in first
    assert "%d = Identity(%c) : f32[N, 2]" not in second
    every = pathlift(*command, "--print-ir-after", "all", "--print-metadata").err
    assert every.count("# after ") == 2
    assert every.count("a secret") == 2
    assert every.count("# loc: fc1") == 2
    assert pathlift(*command, "--print-ir-changes").err.count("# after ") == 1
    assert pathlift(*command, "--print-after-all").err.count("# after ") == 2
    assert "PL1417" in pathlift(*command, "--print-ir-after", "strip-head").err


def test_times_tell_rewriting_from_checking(pathlift: Cli, model: str) -> None:
    result = json.loads(pathlift("opt", model, "-p", "dead-code", "--time-passes", "--format", "json").out)["result"]
    assert set(result["passes"][0]["seconds"]) == {"rewriting", "checking"}
    assert min(result["passes"][0]["seconds"].values()) > 0
    lines = pathlift("opt", model, "-p", "dead-code", "--time-passes").out.splitlines()
    assert any(line.split()[-2:] == ["rewriting", "checking"] for line in lines)


def test_sizes_before_and_after(pathlift: Cli, model: str, tmp_path: Path) -> None:
    arguments = ["opt", model, "-p", "constant-folding", "--stats", "-o", str(tmp_path / "o.onnx")]
    sizes = json.loads(pathlift(*arguments, "--format", "json").out)["result"]["sizes"]
    assert sizes["before"] == {"ops": 7, "parameters": 4, "bytes": 16, "flops": 24}
    assert sizes["after"] == {"ops": 6, "parameters": 4, "bytes": 16, "flops": 24}
    lines = [line.split() for line in pathlift(*arguments, "--force").out.splitlines()]
    assert ["ops", "7", "6"] in lines
    assert ["bytes", "16", "B", "16", "B"] in lines


# ---- reproducers


def test_a_failing_pass_leaves_what_it_takes_to_see_it_again(pathlift: Cli, model: str, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    command = ["opt", model, "-p", "dead-code,straighten{crash=true}"]
    plain = pathlift(*command)
    assert plain.code == 70
    assert "hint: --reproduce-into DIR keeps what it takes to see it again; --bisect narrows it down" in plain.err
    outcome = pathlift(*command, "--reproduce-into", str(folder))
    assert outcome.code == 70
    assert f"hint: {folder} has what it takes to see it again" in outcome.err
    assert graphs_equal(opt(folder / "before.plir").graph, parse_graph(TEXT)) == ""
    report = json.loads((folder / "report.json").read_text())
    assert report["pass"] == "straighten{crash=true}"
    assert report["pipeline"] == "dead-code,straighten{crash=true}"
    assert report["error"].startswith("PL0810 pass 'straighten'")
    assert {"pathlift", "python", "onnx"} <= set(report["versions"])
    _, *arguments = shlex.split((folder / "command.sh").read_text())
    arguments[1] = str(folder / arguments[1])
    assert "no slopes please" in pathlift(*arguments).err
    assert "PL0703" in pathlift(*command, "--reproduce-into", str(folder)).err
    assert pathlift("opt", model, "-p", "dead-code", "--reproduce-into", str(tmp_path / "none")).code == 0
    assert not (tmp_path / "none").exists()


# ---- bisection


def bisection(pathlift: Cli, *arguments: str) -> Any:
    outcome = pathlift(*arguments, "--bisect", "--format", "json")
    failure = json.loads(outcome.out)["result"]["bisect"]["failure"]
    assert outcome.code == (failure is not None)
    return failure


@pytest.mark.parametrize(
    ("options", "code", "more"),
    [("", "PL0803", []), ("{crash=true}", "PL0810", []), ("{trusting=true}", "", ["--verify"])],
    ids=["witness", "crash", "verification"],
)
def test_bisection_names_pass_and_site(pathlift: Cli, model: str, options: str, code: str, more: list[str]) -> None:
    pipeline = f"dead-code,straighten{options},constant-folding"
    failure = bisection(pathlift, "opt", model, "-p", pipeline, *more)
    assert (failure["index"], failure["pass"], failure["code"]) == (1, f"straighten{options}", code)
    assert failure["sites"] == ["e"]  # not d, where the pass is right
    small = parse_graph("\n".join(failure["ir"]))
    assert [small[key].op for key in small] == ["Input", "LeakyRelu"]
    lines = pathlift("opt", model, "-p", pipeline, *more, "--bisect").out.splitlines()
    assert lines[0].startswith(f"pass 2, straighten{options}, fails: ")
    assert lines[1] == "at e: the other sites do not matter"
    assert lines[3:] == failure["ir"]


def test_sites_can_be_chosen(pathlift: Cli, model: str) -> None:
    assert pathlift("opt", model, "-p", "straighten", "--only-sites", "d").code == 0
    assert pathlift("opt", model, "-p", "straighten", "--only-sites", "d,e").code == 70


def test_nothing_fails(pathlift: Cli, model: str) -> None:
    assert bisection(pathlift, "opt", model, "-p", "dead-code,constant-folding", "--verify") is None
    assert pathlift("opt", model, "-p", "dead-code", "--bisect").out == "no pass fails\n"
