"""``pathlift codegen``: the files, what is said of them, and that they compute what ONNX Runtime computes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pathlift as package
from pathlift.codegen import kernels
from pathlift.codegen.offline import Report
from pathlift.ir.builder import Builder
from pathlift.ir.cost import DEVICES
from pathlift.ir.errors import ExecutionError
from pathlift.ir.kronecker import Pattern
from pathlift.ir.types import Array
from pathlift.runtime import cards, tuning
from pathlift.verbs.codegen import text

Cli = Callable[..., Any]
DIGITS = Path(__file__).parents[2] / "examples" / "digits.onnx"
FIRST, SECOND = Pattern(4, 16, 64, 1), Pattern(1, 12, 16, 4)
RNG = np.random.default_rng(0)
FACTORS = {"h": RNG.standard_normal(FIRST.shape), "y": RNG.standard_normal(SECOND.shape)}
BIAS = RNG.standard_normal(FIRST.rows)
BARE = """
import importlib.util, json, sys

sys.modules["pathlift"] = None  # an import of it fails
import numpy as np
import torch

folder, data = sys.argv[1:]
given = {name: torch.from_numpy(x) for name, x in np.load(data).items()}
for layer in json.load(open(f"{folder}/manifest.json"))["layers"]:
    spec = importlib.util.spec_from_file_location("kernel", f"{folder}/{layer['file']}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (name,) = layer["nodes"]
    bias = given["bias"] if "bias=yes" in layer["schedule"] else None
    error = module.ks_linear(given[f"{name}.x"], given[f"{name}.k"], bias=bias) - given[name]
    assert error.norm() < 1e-5 * given[name].norm(), (name, error)
    print(name, set(sys.modules) & {"onnx", "jinja2", "pathlift.codegen"})
"""


def network(path: Path, dtype: str = "f32") -> str:
    """A layer with a bias and an activation, which is an output, and a second one that reads it."""
    kind = {"f32": np.float32, "f64": np.float64}[dtype]
    b = Builder()
    h = b.op("KSLinear", b.input("x", ("N", 256), dtype), b.param(FACTORS["h"].astype(kind)), pattern=tuple(FIRST))
    h = b.op("Relu", b.op("Add", h, b.param(BIAS.astype(kind))), name="h")
    y = b.op("KSLinear", h, b.param(FACTORS["y"].astype(kind)), name="y", pattern=tuple(SECOND))
    b.output(h, y)
    package.save(b.finish(), path)
    return str(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return network(tmp_path_factory.mktemp("ks") / "m.onnx")


@pytest.fixture(autouse=True)
def nothing_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATHLIFT_CACHE", str(tmp_path / "cache"))


def made_up(source: str, arch: str, **options: bool) -> Report:
    return Report(arch, 0.0, 40, 0, 0, 2048, "", b"")


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """None, for tests of what is around it."""
    monkeypatch.setattr(kernels, "compile_source", made_up)


def test_files_compute_what_onnx_runtime_computes_without_pathlift(model: str, tmp_path: Path) -> None:
    folder = tmp_path / "gen"
    found = package.generate_kernels(model, precision="ieee", samples=20, output=folder)
    assert sorted(os.listdir(folder)) == sorted([*found.kernels, "manifest.json"])
    assert len(found.kernels) == 2
    x = RNG.standard_normal((19, 256)).astype(np.float32)
    h, y = package.Session(model)(x)
    data: dict[str, Array] = {"h.x": x, "h": h, "y.x": h, "y": y, "bias": BIAS}
    data |= {f"{name}.k": factor for name, factor in FACTORS.items()}
    np.savez(tmp_path / "data.npz", **{name: value.astype(np.float32) for name, value in data.items()})
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", BARE, str(folder), str(tmp_path / "data.npz")],
        capture_output=True, text=True, check=False, env={**environment, "TRITON_INTERPRET": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "h set()\ny set()\n"), done.err


def test_the_manifest(model: str, tmp_path: Path) -> None:
    package.generate_kernels(model, arch="sm_80", shape={"N": 64}, precision="ieee", output=tmp_path / "gen")
    manifest = json.loads((tmp_path / "gen" / "manifest.json").read_text())
    about = {"schema_version": 1, "arch": "sm_80", "device": "a100", "precision": "ieee"}
    assert {name: manifest[name] for name in about} == about
    first, second = manifest["layers"]
    assert (first["nodes"], first["patterns"]) == (["h"], [list(FIRST)])
    assert (second["nodes"], second["patterns"]) == (["y"], [list(SECOND)])
    for layer in (first, second):
        source = (tmp_path / "gen" / layer["file"]).read_bytes()
        assert layer["sha256"] == hashlib.sha256(source).hexdigest()
        assert layer["samples"] == 64
        assert layer["stack"] == 0
        assert 0 < layer["registers"] <= 255
        assert 0 <= layer["shared"] <= 166_912
        assert layer["predicted_seconds"] > 0
        assert layer["dense_seconds"] > 0
        assert "precision=ieee" in layer["schedule"]
    assert "bias=yes residual=no activation=Relu" in first["schedule"]


@pytest.mark.usefixtures("compiler")
class TestOutput:
    def test_text(self, pathlift: Cli, model: str, tmp_path: Path) -> None:
        folder = tmp_path / "gen"
        outcome = pathlift("codegen", model, "--precision", "ieee", "-o", str(folder))
        assert (outcome.code, outcome.err) == (0, "")
        head, first, second, *rest = outcome.out.splitlines()
        assert head.split() == ["layer", "pattern", "kernel", "samples", "predicted", "dense", "registers", "shared"]
        assert first.split()[:4] == ["h", "(4,16,64,1)", "dot", "4,096"]
        assert second.split()[:4] == ["y", "(1,12,16,4)", "batched", "4,096"]
        assert second.endswith("40  2.05 kB")
        assert rest[0].startswith("h: ")
        assert rest[2] == f"wrote 2 kernels for sm_90 and manifest.json to {folder}"

    def test_factors_of_one_layer_are_named_once(self) -> None:
        layer = {
            "nodes": ["h", "h"],
            "patterns": [[1, 2, 3, 4]] * 2,
            "template": "chain",
            "samples": 8,
            "reason": "why",
        }
        layer |= dict.fromkeys(["predicted_seconds", "dense_seconds", "registers", "shared"])
        _, reason, wrote = text({"layers": [layer], "output": "gen", "files": ["k.py"], "arch": "sm_90"})
        assert (reason, wrote) == ("h: why", "wrote 1 kernel for sm_90 and manifest.json to gen")

    def test_json_and_nothing_written(self, pathlift: Cli, model: str, tmp_path: Path) -> None:
        outcome = pathlift("codegen", model, "--precision", "ieee", "--samples", "100", "--format", "json")
        found = json.loads(outcome.out)["result"]
        assert {layer["samples"] for layer in found["layers"]} == {100}
        assert found["output"] is None
        assert found["files"] == sorted(layer["file"] for layer in found["layers"])

    def test_what_exists_is_kept(self, pathlift: Cli, model: str, tmp_path: Path) -> None:
        folder = tmp_path / "gen"
        folder.mkdir()
        (folder / "mine.txt").write_text("mine")
        assert pathlift("codegen", model, "-o", str(folder)).code == 0
        before = {file: (folder / file).read_bytes() for file in os.listdir(folder)}
        outcome = pathlift("codegen", model, "--arch", "sm_80", "-o", str(folder))
        assert (outcome.code, outcome.err[:6]) == (2, "PL0703")
        assert {file: (folder / file).read_bytes() for file in os.listdir(folder)} == before
        assert pathlift("codegen", model, "--arch", "sm_80", "-o", str(folder), "--force").code == 0
        assert json.loads((folder / "manifest.json").read_text())["arch"] == "sm_80"
        assert (folder / "mine.txt").read_text() == "mine"

    def test_a_failure_leaves_nothing(self, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(source: str, arch: str, **options: bool) -> Report:
            raise ExecutionError("0931", "no cuobjdump")

        monkeypatch.setattr(kernels, "compile_source", fail)
        with pytest.raises(ExecutionError, match="PL0931"):
            package.generate_kernels(model, precision="ieee", output=tmp_path / "gen")
        assert not (tmp_path / "gen").exists()
        (tmp_path / "gen").mkdir()
        with pytest.raises(ExecutionError, match="PL0931"):
            package.generate_kernels(model, precision="ieee", output=tmp_path / "gen")
        assert os.listdir(tmp_path / "gen") == []

    def test_progress(self, model: str) -> None:
        told: list[tuple[str, int, int]] = []
        package.generate_kernels(model, progress=lambda *what: told.append(what))
        assert told == [("h", 0, 2), ("y", 1, 2)]

    def test_element_types_without_kernels(self, tmp_path: Path) -> None:
        found = package.generate_kernels(network(tmp_path / "m.onnx", "f64")).to_json()
        assert [layer["file"] for layer in found["layers"]] == [None, None]
        assert all(layer["reason"].startswith("no kernel: ") for layer in found["layers"])
        assert found["files"] == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([str(DIGITS)], "PL1444"),
        (["MODEL", "--arch", "sm_70"], "PL1442"),
        (["MODEL", "--arch", "sm_120"], "PL1445"),
        (["MODEL", "--device", "cpu"], "PL1437"),
        (["MODEL", "--tune", "--device", "h100"], "PL1439"),
        (["MODEL", "--samples", "0"], "PL1436"),
        (["MODEL", "--precision", "fp8"], "PL0400"),
        (["MODEL", "-o", str(DIGITS)], "PL1446"),
        (["MODEL", "-o", "no/such/folder"], "PL0705"),
        (["missing.onnx"], "PL0470"),
    ],
)
def test_refusals_are_one_line(pathlift: Cli, model: str, arguments: list[str], code: str) -> None:
    outcome = pathlift("codegen", *(model if word == "MODEL" else word for word in arguments))
    assert (outcome.code, outcome.out, outcome.err[:6]) == (2, "", code)
    assert outcome.err.count("\n") == 1


def test_tuning_needs_a_card_of_the_architecture(
    pathlift: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network(tmp_path / "m.onnx")
    assert "PL1447" in pathlift("codegen", model, "--tune").err
    monkeypatch.setattr(cards, "card", lambda device: DEVICES["a100"])
    assert "PL1438" in pathlift("codegen", model, "--tune").err
    tuned: list[Any] = []
    monkeypatch.setattr(tuning, "tune_product", lambda *args: tuned.append(args))
    done = pathlift("codegen", model, "--tune", "--arch", "sm_80", "--samples", "64", "--format", "json")
    assert json.loads(done.out)["assumptions"] == []
    assert [(patterns, samples) for patterns, _, samples, _ in tuned] == [((FIRST,), 64), ((SECOND,), 64)]
