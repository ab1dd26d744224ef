"""`pathlift ks detect`: what is found, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pathlift as package
from pathlift.frontend.save import save
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Origin
from pathlift.ir.kronecker import Pattern, dense

Cli = Callable[..., Any]
DIGITS = Path(__file__).parents[2] / "examples" / "digits.onnx"


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A layer of eight blocks, the same in another order, and a grouped convolution."""
    rng = np.random.default_rng(0)
    blocks = dense(rng.standard_normal((8, 1, 64, 64)).astype(np.float32))
    b = Builder()
    h = b.op("Gemm", b.input("x", ("N", 512)), b.param(blocks, "a.weight"), trans_w=True, origin=Origin(("a",)))
    shuffled = np.ascontiguousarray(blocks[rng.permutation(512)][:, rng.permutation(512)])
    h = b.op("Gemm", h, b.param(shuffled, "b.weight"), trans_w=True, origin=Origin(("b",)))
    h = b.op("Reshape", h, shape=(0, 128, 4))
    weight = b.param(rng.standard_normal((64, 32, 1)).astype(np.float32), "c.weight")
    geometry: dict[str, Any] = {"strides": (1,), "pads": (0, 0), "dilations": (1,), "groups": 4}
    path = tmp_path / "m.onnx"
    save(b.finish(b.op("Conv", h, weight, name="y", origin=Origin(("c",)), **geometry)), path)
    return str(path)


def result(cli: Cli, *arguments: str) -> dict[str, Any]:
    outcome = cli("ks", "detect", *arguments, "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    payload: dict[str, Any] = json.loads(outcome.out)
    return payload


def test_json(pathlift: Cli, model: str) -> None:
    payload = result(pathlift, model, "--samples", "8", "--device", "h100")
    assert "H100" in payload["assumptions"][0]
    found = payload["result"]
    assert (found["samples"], found["device"]) == (8, "h100")
    first, last = found["layers"]
    assert {k: v for k, v in first.items() if k != "predicted_speedup"} == {
        "node": "a",
        "op": "Gemm",
        "kind": "zeros",
        "pattern": [8, 64, 64, 1],
        "rows": 512,
        "cols": 512,
        "density": 0.125,
        "flops": 2 * 8 * 8 * 64 * 64,
        "flops_dense": 2 * 8 * 512 * 512,
        "bytes": 4 * (8 * 1024 + 8 * 64 * 64),
        "bytes_dense": 4 * (8 * 1024 + 512 * 512),
        "permuted": False,
    }
    assert first["predicted_speedup"] > 1
    assert (last["node"], last["op"], last["kind"], last["pattern"]) == ("c", "Conv", "grouped", [4, 16, 32, 1])


def test_permutations_are_looked_for_when_asked(pathlift: Cli, model: str) -> None:
    layers = result(pathlift, model, "--permutation")["result"]["layers"]
    assert [(x["node"], x["pattern"], x["permuted"]) for x in layers] == [
        ("a", [8, 64, 64, 1], False),
        ("b", [8, 64, 64, 1], True),
        ("c", [4, 16, 32, 1], False),
    ]
    assert layers[1]["predicted_speedup"] < layers[0]["predicted_speedup"]


def test_text(pathlift: Cli, model: str) -> None:
    outcome = pathlift("ks", "detect", model, "--permutation", "--samples", "2000")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0].split() == [
        "layer",
        "op",
        "structure",
        "pattern",
        "matrix",
        "density",
        "flops",
        "of",
        "dense",
        "predicted",
    ]
    assert "a      Gemm  zeros            (8,64,64,1)  512×512   12.5 %   131 M    12.5 %" in lines[1]
    assert "zeros, permuted" in lines[2]
    assert "2,000 samples, cpu" in lines[4]
    assert lines[5].startswith("assumes: times are predicted for one thread")


def test_nothing_is_found(pathlift: Cli) -> None:
    outcome = pathlift("ks", "detect", str(DIGITS))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "no layer is Kronecker-sparse: each needs its whole matrix\n"
    assert result(pathlift, str(DIGITS))["result"]["layers"] == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["detect", "missing.onnx"], "PL0470"),
        (["detect", str(DIGITS), "--samples", "0"], "PL0455"),
        (["detect", str(DIGITS), "--samples", "many"], "PL0400"),
        (["detect", str(DIGITS), "--device", "tpu"], "PL0454"),
        ([], "PL0400"),
        (["find"], "PL0400"),
    ],
)
def test_usage_errors_are_one_line(pathlift: Cli, arguments: list[str], code: str) -> None:
    outcome = pathlift("ks", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(code)
    assert outcome.err.count("\n") == 1


def test_from_python(model: str) -> None:
    found = package.ks_detect(model, permutation=True)
    assert found.to_json()["device"] == "cpu"
    assert [layer.pattern for layer in found.detection.layers] == [Pattern(8, 64, 64, 1)] * 2 + [Pattern(4, 16, 32, 1)]
    rewritten = package.opt(model, "ks-replace{always=true, permutation=true}")
    assert [rewritten.graph[key].op for key in rewritten.graph.order].count("KSLinear") == 3
