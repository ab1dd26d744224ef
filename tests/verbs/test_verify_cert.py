"""`pathlift verify-cert`: a certificate is proved again, and one that was altered anywhere is not."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pathlift.cli.frame import run
from pathlift.frontend.load import load
from pathlift.frontend.save import save
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Param
from pathlift.models.certificates.certificate import digest
from pathlift.passes.certificates.ellipsoid import Ellipsoid
from pathlift.passes.certificates.encoding import decode, encode
from pathlift.passes.certificates.joint import Joint
from pathlift.passes.certificates.search import Step
from pathlift.testing.searches import SECONDS, few_steps

Cli = Callable[..., Any]
Content = dict[str, Any]


def network(change: float) -> Graph:
    """Weights of both signs, so that relaxations and ellipsoids have the smallest bounds."""
    rng, noise, b = np.random.default_rng(4), np.random.default_rng(5), Builder()

    def weights(*shape: int) -> Value:
        return b.param((rng.normal(size=shape) + change * noise.normal(size=shape)).astype(np.float32))

    x = b.input("x", ("N", 2), "f32")
    for n, m in ((2, 4), (4, 4)):
        x = b.op("Relu", b.op("Gemm", x, weights(n, m), weights(m)))
    return b.finish(b.op("Gemm", x, weights(4, 2), name="y"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models and a certificate of theirs."""
    path = tmp_path_factory.mktemp("certificate")
    for name, change in (("a", 0.0), ("b", 0.1)):
        save(network(change), path / f"{name}.onnx")
    files = [str(path / name) for name in ("a.onnx", "b.onnx")]
    with few_steps(2):
        code = run(
            ["compare", *files, "--domain", "x=-1:1", "--budget", f"{SECONDS}", "-c", str(path / "c.json"), "-q"]
        )
    assert code == 0
    return path


@pytest.fixture
def content(folder: Path) -> Content:
    found: Content = json.loads((folder / "c.json").read_text())
    return found


@pytest.fixture
def verified(folder: Path, tmp_path: Path, pathlift: Cli) -> Callable[..., Any]:
    """Write a certificate, signed anew or not, and verify it."""

    def call(content: Any, *options: str, sign: bool = True) -> Any:
        if sign and isinstance(content, dict):
            content = {**content, "digest": digest(content)}
        path = tmp_path / "c.json"
        path.write_text(json.dumps(content))
        outcome = pathlift("verify-cert", str(path), "--first", str(folder / "a.onnx"), *options)
        assert "internal error" not in outcome.err
        assert "Traceback" not in outcome.err
        return outcome

    return call


def test_it_is_proved_again(folder: Path, content: Content, pathlift: Cli) -> None:
    outcome = pathlift("verify-cert", str(folder / "c.json"), "--format", "json")
    envelope = json.loads(outcome.out)
    result = envelope["result"]
    assert outcome.code == 0
    assert set(result) == {"other", "verdict", "reason", "domain", "stated", "proved", "seconds"}
    assert (result["verdict"], result["reason"]) == ("proved", None)
    assert result["domain"] == {
        "inputs": {"x": {"low": -1.0, "high": 1.0}},
        "samples": 1,
        "radius": None,
        "uniform": True,
    }
    assert any("rounding" in line for line in envelope["assumptions"])
    for norm, stated in content["bound"].items():
        if norm != "per_output":
            assert result["proved"][norm] <= stated <= result["proved"][norm] * (1 + 3e-9)
    assert {"joint", "ellipsoid"} <= {step["method"] for step in content["steps"][0]}
    assert content["method"]["l1"] in ("joint", "ellipsoid")
    assert pathlift("verify-cert", str(folder / "c.json")).out.startswith(
        "the certificate holds for all inputs with x in [-1, 1]"
    )


def test_nothing_is_searched(folder: Path, pathlift: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that proving again takes one pass of each method, however long finding took."""
    for method in (Joint, Ellipsoid):
        monkeypatch.delattr(method, "search")
    monkeypatch.delattr("pathlift.models.certificates.distance.largest_difference")
    assert pathlift("verify-cert", str(folder / "c.json")).code == 0


def test_models_are_looked_for_next_to_the_certificate(folder: Path, content: Content, pathlift: Cli) -> None:
    content["first"]["path"] = "elsewhere/a.onnx"
    (folder / "moved.json").write_text(json.dumps({**content, "digest": digest(content)}))
    assert pathlift("verify-cert", str(folder / "moved.json")).code == 0
    content["second"]["path"] = "gone.onnx"
    (folder / "moved.json").write_text(json.dumps({**content, "digest": digest(content)}))
    outcome = pathlift("verify-cert", str(folder / "moved.json"))
    assert (outcome.code, outcome.err[:6]) == (2, "PL0470")


def less(content: Content, *path: str | int) -> None:
    """Lower a number by one in its ninth digit."""
    for key in path[:-1]:
        content = content[key]
    content[path[-1]] *= 1 - 1e-8


EDITS: Mapping[str, Callable[[Content], object]] = {
    "the sum": lambda c: less(c, "bound", "l1"),
    "the largest": lambda c: less(c, "bound", "linf"),
    "an output": lambda c: less(c, "bound", "per_output", 1),
    "the box": lambda c: (c["boxes"][0]["x"].update(high=1.1), c["domain"]["inputs"]["x"].update(high=1.1)),
    "the domain": lambda c: c["domain"]["inputs"]["x"].update(high=2.0),
    "the number of outputs": lambda c: c["bound"]["per_output"].pop(),
    "the first hash": lambda c: c["first"].update(sha256="0" * 64),
    "the second hash": lambda c: c["second"].update(sha256="0" * 64),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("sign", [False, True])
def test_what_was_altered_does_not_hold(edit: str, sign: bool, content: Content, verified: Any, folder: Path) -> None:
    EDITS[edit](content)
    outcome = verified(content, "--second", str(folder / "b.onnx"), sign=sign)
    assert outcome.code == 1
    assert outcome.out.startswith("it does not hold: ")
    said = "SHA-256" if "hash" in edit else "digest" if not sign else "domain" if edit == "the domain" else "state"
    assert said in outcome.out.splitlines()[0]


@pytest.mark.parametrize("key", ["claim", "method", "found", "assumptions", "tool"])
def test_nothing_that_it_says_may_be_edited(key: str, content: Content, verified: Any) -> None:
    content[key] = "something else"
    assert verified(content, sign=False).code == 1


def with_parameters(content: Content, change: Callable[[str, torch.Tensor], torch.Tensor]) -> None:
    for i, steps in enumerate(content["steps"]):
        found = [Step(s.method, {n: change(n, x) for n, x in s.parameters.items()}) for s in decode(steps)]
        content["steps"][i] = encode(found)


def test_one_other_slope_or_multiplier_is_an_edit(content: Content, verified: Any, folder: Path) -> None:
    def change(name: str, x: torch.Tensor) -> torch.Tensor:
        return x + torch.eye(1, x.numel(), dtype=torch.float64).reshape(x.shape) if name in chosen else x

    names = {n for s in decode(content["steps"][0]) for n, x in s.parameters.items() if x.dtype == torch.float64}
    for kind in ("slopes.", "gate"):
        chosen = {min(n for n in names if kind in n)}
        other = copy.deepcopy(content)
        with_parameters(other, change)
        outcome = verified(other, "--second", str(folder / "b.onnx"), sign=False)
        assert (outcome.code, "digest" in outcome.out) == (1, True)


FORGERIES: Mapping[str, Callable[[str, torch.Tensor], torch.Tensor]] = {
    "negative": lambda n, x: -x,
    "flat": lambda n, x: x.reshape(-1),
    "none": lambda n, x: x[:0],
    "large": lambda n, x: x.double() * 1e300,
    "tiny": lambda n, x: x.double() * 1e-300,
    "whole numbers": lambda n, x: x.long(),
    "bits": lambda n, x: x.bool(),
    "twice as many": lambda n, x: torch.cat([x, x]) if x.ndim else x,
    "sevens": lambda n, x: torch.full_like(x, 7),
    "turned": lambda n, x: x.flip(0) if x.ndim else x,
    "scalars": lambda n, x: x.double().sum(),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_no_parameters_prove_what_is_not_so(forgery: str, content: Content, verified: Any, folder: Path) -> None:
    """Whatever a forger writes, nothing below the difference that was found is proved."""
    with_parameters(content, FORGERIES[forgery])
    for name in ("l1", "linf"):
        content["bound"][name] = content["found"][name] * (1 - 1e-6)
    outcome = verified(content, "--second", str(folder / "b.onnx"), "--format", "json")
    assert outcome.code in (1, 3)
    if outcome.code == 1:
        proved = json.loads(outcome.out)["result"]["proved"]
        assert all(proved[name] is None or proved[name] >= content["found"][name] for name in proved)


def test_no_steps_prove_nothing(content: Content, verified: Any, folder: Path) -> None:
    content["steps"] = [[]]
    outcome = verified(content, "--second", str(folder / "b.onnx"))
    assert (outcome.code, "prove nothing" in outcome.out) == (1, True)


def test_one_other_weight_is_another_file(content: Content, verified: Any, folder: Path, tmp_path: Path) -> None:
    graph = load(folder / "b.onnx")
    builder, key = graph.edit(), min(graph.params)
    value = graph[key].value
    assert value is not None
    weights = value.numpy().copy()
    weights.flat[0] = np.nextafter(weights.flat[0], np.float32(9))
    builder.replace_node(Value(key), value=Param.of(weights))
    save(builder.finish(), tmp_path / "other.onnx")
    outcome = verified(content, "--second", str(tmp_path / "other.onnx"))
    assert (outcome.code, "is not the second file" in outcome.out) == (1, True)
    assert verified(content, "--second", str(folder / "b.onnx")).code == 0


DAMAGES: Mapping[str, Callable[[Content], object]] = {
    "no sum": lambda c: c["bound"].pop("l1"),
    "no bound": lambda c: c.update(bound=[1.0]),
    "a bound that is no number": lambda c: c["bound"].update(l1=math.nan),
    "an infinite bound": lambda c: c["bound"].update(linf=math.inf),
    "a negative bound": lambda c: c["bound"].update(linf=-1.0),
    "a bound in words": lambda c: c["bound"].update(l1="3"),
    "a bound that is true": lambda c: c["bound"].update(l1=True),
    "an output that is no number": lambda c: c["bound"]["per_output"].__setitem__(0, math.nan),
    "no outputs": lambda c: c["bound"].update(per_output=None),
    "no box": lambda c: c.update(boxes=[], steps=[]),
    "a box of nothing": lambda c: c.update(boxes=[{}]),
    "a box in words": lambda c: c["boxes"][0]["x"].update(low="a"),
    "a box without an end": lambda c: c["boxes"][0]["x"].update(low=None),
    "an end that is no number": lambda c: c["boxes"][0]["x"].update(low=math.nan),
    "too many ends": lambda c: c["boxes"][0]["x"].update(low=[1.0, 2.0, 3.0]),
    "ends that are exchanged": lambda c: c["boxes"][0]["x"].update(low=2.0),
    "a shape that is none": lambda c: c.update(shape=3),
    "an extent in words": lambda c: c.update(shape={"N": "q"}),
    "no first model": lambda c: c.update(first=None),
    "no path": lambda c: c["first"].pop("path"),
    "no steps": lambda c: c.update(steps=None),
    "fewer steps than boxes": lambda c: c.update(steps=[]),
    "no domain": lambda c: c.update(domain=3),
    "another version": lambda c: c.update(pathlift_certificate=2),
    "another method": lambda c: c["steps"][0][0].update(method="oracle"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_certificate_is_refused(damage: str, content: Content, verified: Any, folder: Path) -> None:
    DAMAGES[damage](content)
    outcome = verified(content, "--second", str(folder / "b.onnx"))
    assert outcome.code == 3
    assert outcome.err[:6] in ("PL0191", "PL0192")


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '"pathlift_certificate"', "[" * 100_000, "\x00\xff"])
def test_other_files_are_refused(text: str, tmp_path: Path, pathlift: Cli) -> None:
    (tmp_path / "c.json").write_bytes(text.encode("latin-1"))
    outcome = pathlift("verify-cert", str(tmp_path / "c.json"))
    assert (outcome.code, outcome.err[:6]) == (3, "PL0192")


def test_a_file_that_is_not_there(tmp_path: Path, pathlift: Cli) -> None:
    outcome = pathlift("verify-cert", str(tmp_path / "c.json"))
    assert (outcome.code, outcome.err[:6]) == (2, "PL0470")
