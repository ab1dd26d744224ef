"""`pathlift opt` on a trained network: verification, path-norms along the pipeline, and what is written."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest

from pathlift.frontend.save import save
from pathlift.ir.graph import Graph, Value
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Param
from pathlift.passes import registry
from pathlift.passes.base import Pass, Rewritten, Transform, Witness
from pathlift.verbs.opt import opt

Cli = Callable[..., Any]

DIGITS = str(Path(__file__).parents[2] / "examples" / "digits.onnx")
LOG10 = 6.076353  # ‖Φ‖₁ of the digits network


class Trusting(Witness):
    def check(self, before: Graph, after: Graph) -> None:
        pass

    def describe(self) -> str:
        return "nothing to see here"


@dataclass(frozen=True)
class Shift(Transform):
    """Multiply a weight, and claim that nothing happened."""

    name: ClassVar[str] = "shift"
    factor: float = 1.01
    weight: str = "hidden.weight"

    def run(self, graph: Graph) -> Rewritten:
        value = graph[self.weight].value
        assert value is not None
        builder = graph.edit()
        scaled = value.numpy() * np.float32(self.factor)
        builder.replace_node(Value(self.weight), value=Param.of(scaled))
        return Rewritten(builder.finish(), Trusting())


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> type[Pass]:
        return Shift if name == "shift" else registry.find_pass(name)

    monkeypatch.setattr("pathlift.passes.pipeline_text.find_pass", find)


def payload(outcome: Any) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(outcome.out)
    return result


# ---- verification


def test_a_verified_rewrite_is_written(pathlift: Cli, tmp_path: Path) -> None:
    output = tmp_path / "o.onnx"
    outcome = pathlift("opt", DIGITS, "-p", "random-rescale,dead-code", "--verify", "-o", str(output))
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[1].split()[:2] == ["random-rescale", "changed"]
    assert lines[2].split() == ["dead-code", "unchanged"]
    assert lines[3].startswith("verified: largest relative difference ")
    assert lines[3].endswith("; 29 inputs, tolerance 0.0001)")
    assert lines[4] == f"wrote {output}"
    assert lines[5] == "assumes: outputs were compared on inputs of shape image [2, 1, 8, 8]"
    onnx.checker.check_model(onnx.load(output))


def test_verification_in_json(pathlift: Cli) -> None:
    arguments = ["opt", DIGITS, "-p", "random-rescale", "--verify", "--format", "json", "--shape", "N=3"]
    first, second = payload(pathlift(*arguments)), payload(pathlift(*arguments, "--seed", "1"))
    verified = first["result"]["verify"]
    assert set(verified) == {
        "max_relative_difference", "output", "input", "samples", "ill_conditioned", "tolerance", "passed",
    }  # fmt: skip
    assert 0 < verified["max_relative_difference"] < 1e-5
    assert (verified["output"], verified["samples"], verified["tolerance"]) == ("logits", 29, 1e-4)
    assert verified["passed"] is True
    assert first["assumptions"] == ["outputs were compared on inputs of shape image [3, 1, 8, 8]"]
    assert first == payload(pathlift(*arguments))
    assert verified != second["result"]["verify"]


def test_a_wrong_rewrite_is_refuted_and_not_written(pathlift: Cli, tmp_path: Path) -> None:
    output = tmp_path / "o.onnx"
    command = ["opt", DIGITS, "-p", "dead-code,shift", "-o", str(output)]
    outcome = pathlift(*command, "--verify")
    assert outcome.code == 1
    lines = outcome.out.splitlines()
    assert lines[2] == "shift      changed    nothing to see here"
    assert lines[3].startswith("refuted: largest relative difference ")
    assert lines[4] == "nothing was written; a pass that changes the function on purpose needs a --tolerance"
    result = payload(pathlift(*command, "--verify", "--format", "json"))["result"]
    assert (result["output"], result["ir"], result["verify"]["passed"]) == (None, [], False)
    assert 1e-3 < result["verify"]["max_relative_difference"] < 1e-1
    assert list(tmp_path.iterdir()) == []
    assert pathlift(*command).code == 0  # the witness lies, and nobody looks
    output.write_bytes(b"old")
    assert pathlift(*command, "--verify", "--force").code == 1
    assert output.read_bytes() == b"old"


@pytest.mark.parametrize(("tolerance", "code"), [("0.1", 0), ("1e-6", 1), ("0", 1), ("inf", 0)])
def test_tolerance(pathlift: Cli, tmp_path: Path, tolerance: str, code: int) -> None:
    output = tmp_path / "o.onnx"
    arguments = ["-p", "shift", "--verify", "--tolerance", tolerance, "-o", str(output), "--format", "json"]
    outcome = pathlift("opt", DIGITS, *arguments)
    assert outcome.code == code
    assert output.exists() == (code == 0)
    assert payload(outcome)["result"]["verify"]["tolerance"] == (float(tolerance) if tolerance != "inf" else "inf")


def test_a_missing_output_is_an_infinite_difference(pathlift: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(self: Shift, graph: Graph) -> Rewritten:
        builder = graph.edit()
        builder.rename("logits", "scores")
        return Rewritten(builder.finish(), Trusting())

    monkeypatch.setattr(Shift, "run", rename)
    outcome = pathlift("opt", DIGITS, "-p", "shift", "--verify")
    assert outcome.code == 1
    assert "refuted: largest relative difference ∞ (output 'logits'" in outcome.out
    verified = payload(pathlift("opt", DIGITS, "-p", "shift", "--verify", "--format", "json"))["result"]["verify"]
    assert verified["max_relative_difference"] is None


# ---- path-norms


def test_norms_before_and_after_each_pass(pathlift: Cli) -> None:
    command = ["opt", DIGITS, "-p", "dead-code,shift{factor=10},random-rescale", "--norms", "inf,1"]
    result = payload(pathlift(*command, "--format", "json"))["result"]
    assert set(result) == {"output", "passes", "ir", "norms", "verify", "sizes", "bisect"}
    assert [norm["q"] for norm in result["norms"]] == ["inf", 1.0]
    assert result["norms"][1] == {"q": 1.0, "log10": pytest.approx(LOG10, abs=1e-6), "zero": False}
    logs = [[norm["log10"] for norm in step["norms"]] for step in result["passes"]]
    assert logs[0] == [norm["log10"] for norm in result["norms"]]
    assert logs[0][1] + 0.9 < logs[1][1] < logs[0][1] + 1
    assert logs[2] == pytest.approx(logs[1], abs=1e-6)
    assert [step["effect"] for step in result["passes"]] == ["unchanged", "may change", "unchanged"]
    assert [set(step) for step in result["passes"]] == [{"name", "changed", "note", "effect", "norms", "seconds"}] * 3
    *_, heading, first, second, _ = pathlift(*command).out.splitlines()
    assert heading.split() == ["pass", "log10", "‖Φ‖_inf", "log10", "‖Φ‖_1"]
    assert first.endswith("6.076353 → 6.076353")
    assert second.split()[-3] == "6.076353"


def test_norms_without_passes(pathlift: Cli) -> None:
    lines = pathlift("opt", DIGITS, "--norms", "1").out.splitlines()
    assert lines[-1].split() == ["none", "6.076353"]
    result = payload(pathlift("opt", DIGITS, "--format", "json"))["result"]
    assert (result["norms"], result["passes"], result["verify"]) == ([], [], None)


def test_zero_norms(pathlift: Cli) -> None:
    pipeline = "shift{factor=0,weight=classes.weight},shift{factor=0,weight=classes.bias}"
    command = ["opt", DIGITS, "-p", pipeline, "--norms", "1"]
    steps = payload(pathlift(*command, "--format", "json"))["result"]["passes"]
    assert steps[1]["norms"] == [{"q": 1.0, "log10": None, "zero": True}]
    assert pathlift(*command).out.splitlines()[-1].endswith(f"{steps[0]['norms'][0]['log10']:.6f} → zero")


@pytest.fixture
def refused(tmp_path: Path) -> str:
    text = "%x = Input : f32[N, 2]\n%u = Tanh(%x)\n%y = Product(%u, %x)\nreturn %y"
    save(parse_graph(text), tmp_path / "m.onnx")
    return str(tmp_path / "m.onnx")


def test_a_network_without_norms_is_a_warning(pathlift: Cli, refused: str, tmp_path: Path) -> None:
    command = ["opt", refused, "-p", "dead-code,strip-head", "--norms", "1,2"]
    outcome = pathlift(*command, "-o", str(tmp_path / "o.onnx"))
    assert outcome.code == 0
    assert outcome.err.startswith("warning: no path-norm of the network before the first pass: node ")
    assert outcome.err.count("\n") == 1
    assert outcome.out.splitlines()[0] == "pass"
    result = payload(pathlift(*command, "--format", "json"))["result"]
    assert result["norms"] is None
    assert [step["norms"] for step in result["passes"]] == [None, None]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--norms", "-1"], "PL0420"),
        (["--norms", "1", "--shape", "K=3"], "PL0413"),
        (["--verify", "--shape", "K=3"], "PL0413"),
        (["--verify", "--tolerance", "-1"], "PL0433"),
        (["--tolerance", "1"], "PL0436"),
        (["--verify", "--tolerance", "much"], "PL0400"),
        (["--shape", "N=3"], "PL0436"),
        (["--verify", "--seed", "-1"], "PL0438"),
        (["-p", "shift{factor=nan}"], "PL0654"),
    ],
)
def test_usage_errors(pathlift: Cli, arguments: list[str], code: str, tmp_path: Path) -> None:
    outcome = pathlift("opt", DIGITS, *arguments, "-o", str(tmp_path / "o.onnx"))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"{code} ")
    assert list(tmp_path.iterdir()) == []


def test_options_are_checked_before_the_model_is_read(pathlift: Cli) -> None:
    for arguments in (["-p", "shift{factor=x}"], ["--norms", "-1"], ["--verify", "--tolerance", "nan"]):
        assert not pathlift("opt", "missing.onnx", *arguments).err.startswith("PL0470 ")
    assert pathlift("opt", "missing.onnx").err.startswith("PL0470 ")


# ---- the command line is the function


def test_flags_are_passed_on(pathlift: Cli, fake: Any) -> None:
    calls = fake(verb="opt.opt", payload={"output": None, "ir": [], "passes": []})
    flags = "-p a{b=c} -o o.onnx --force --verify --tolerance 1e-3 --norms 1,inf --shape N=8 --seed 7"
    assert pathlift("opt", "m.onnx", *flags.split(), "--memory-limit", "1GiB").code == 0
    named = {"output": Path("o.onnx"), "force": True, "memory_limit": 2**30, "after_each": None, "verify": True}
    named |= {"tolerance": 1e-3, "norms": (1.0, math.inf), "shape": {"N": 8}, "seed": 7}
    named |= {"as_text": False, "weights": "beside", "print_ir_before": (), "print_ir_after": (), "bisect": False}
    named |= {"print_ir_changes": False, "print_metadata": False, "time_passes": False, "stats": False}
    named |= {"reproduce_into": None, "only_sites": None}
    assert calls == [((Path("m.onnx"), "a{b=c}"), named)]


def test_defaults_are_the_functions(pathlift: Cli, fake: Any) -> None:
    defaults = {n: p.default for n, p in inspect.signature(opt).parameters.items() if p.default is not p.empty}
    calls = fake(verb="opt.opt", payload={"output": None, "ir": [], "passes": []})
    pathlift("opt", "m.onnx")
    assert calls[0][1] | {"pipeline": calls[0][0][1]} == defaults
