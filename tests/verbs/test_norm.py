"""`pathlift norm` on networks small enough to do by hand: exponents, mixed norms, the heaviest path, usage."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pathlift.frontend.save import save
from pathlift.ir.text import parse_graph

Cli = Callable[..., Any]

# Paths to y₀: 1·2, 3·2 and the bias 5; to y₁: 4·|-1| from x₁, since the other weights are zero.
NETWORK = """
    %x = Input : f32[N, 2]
    %w = Param {value=[[1.0, 0.0], [3.0, 4.0]]} : f32[2, 2]
    %h = Gemm(%x, %w)
    %r = Relu(%h)
    %v = Param {value=[[2.0, 0.0], [0.0, -1.0]]} : f32[2, 2]
    %b = Param {value=[5.0, 0.0]} : f32[2]
    %y = Gemm(%r, %v, %b)
    return %y
"""


@pytest.fixture
def network(tmp_path: Path) -> str:
    save(parse_graph(NETWORK), tmp_path / "m.onnx")
    return str(tmp_path / "m.onnx")


def result(cli: Cli, *arguments: str) -> dict[str, Any]:
    outcome = cli("norm", *arguments, "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    payload: dict[str, Any] = json.loads(outcome.out)["result"]
    return payload


# ---- exponents


def test_exponents(pathlift: Cli, network: str) -> None:
    norms = result(pathlift, network, "--q", "0,1,2,inf")["norms"]
    assert [(n["q"], n["mixed"]) for n in norms] == [(0, None), (1, None), (2, None), ("inf", None)]
    assert [n["value"] for n in norms] == pytest.approx([4, 17, (4 + 36 + 25 + 16) ** 0.5, 6], rel=1e-12)
    assert all(n["is_path_norm"] and not n["zero"] and n["log10"] <= n["upper_log10"] for n in norms)
    per_output = [[10**log for log in n["outputs"]["y"]["per_output_log10"]] for n in norms]
    assert per_output == [pytest.approx(v) for v in ([3, 1], [13, 4], [65**0.5, 4], [6, 4])]


def test_exponents_in_text(pathlift: Cli, network: str) -> None:
    lines = pathlift("norm", network, "--q", "0,inf").out.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [["0", "0.602060", "4"], ["inf", "0.778151", "6"]]


@pytest.mark.parametrize(
    ("q", "mixed", "value"), [("1", "inf", 13), ("inf", "1", 10), ("2", "1", 65**0.5 + 4), ("0", "2", 10**0.5)]
)
def test_mixed_norms(pathlift: Cli, network: str, q: str, mixed: str, value: float) -> None:
    (norm,) = result(pathlift, network, "--q", q, "--mixed", mixed)["norms"]
    assert norm["value"] == pytest.approx(value, rel=1e-12)
    assert (str(norm["q"]), str(norm["mixed"])) == tuple(e if e == "inf" else f"{e}.0" for e in (q, mixed))
    heading, row = pathlift("norm", network, "--q", q, "--mixed", mixed).out.splitlines()
    assert heading.split()[0] == "‖Φ‖_{q,r}"
    assert row.split()[0] == f"{q},{mixed}"


def test_layers_count_paths_for_q_0(pathlift: Cli, network: str) -> None:
    layers = result(pathlift, network, "--q", "0,1", "--per-layer")["layers"]
    assert [(item["node"], item["share"]) for item in layers] == [
        ("h", pytest.approx(3 / 4)),
        ("y", pytest.approx(3 / 4)),
    ]
    assert 10 ** layers[0]["log10_gain"] == pytest.approx(3 / 2)


def test_a_zero_norm(pathlift: Cli, tmp_path: Path) -> None:
    zero = NETWORK.replace("[[2.0, 0.0], [0.0, -1.0]]", "[[0.0, 0.0], [0.0, 0.0]]").replace("[5.0, 0.0]", "[0.0, 0.0]")
    save(parse_graph(zero), tmp_path / "m.onnx")
    payload = result(pathlift, str(tmp_path / "m.onnx"), "--q", "0,1,inf", "--heaviest-path")
    assert [(n["zero"], n["log10"], n["value"]) for n in payload["norms"]] == [(True, None, 0)] * 3
    assert payload["heaviest_path"] == {"log10": None, "start": None, "steps": [], "output": "", "position": []}
    assert "no path has a non-zero weight" in pathlift("norm", str(tmp_path / "m.onnx"), "--heaviest-path").out


def test_many_outputs_are_listed_on_request(pathlift: Cli, tmp_path: Path) -> None:
    wide = "%x = Input : f32[N, 2]\n%w = Param : f32[2, 10001]\n%y = Gemm(%x, %w)\nreturn %y"
    save(parse_graph(wide, {"w": np.ones((2, 10001), np.float32)}), tmp_path / "m.onnx")
    path = str(tmp_path / "m.onnx")
    assert result(pathlift, path)["norms"][0]["outputs"] == {"y": {}}
    assert len(result(pathlift, path, "--full")["norms"][0]["outputs"]["y"]["per_output_log10"]) == 10001


# ---- the heaviest path


def test_heaviest_path(pathlift: Cli, network: str) -> None:
    payload = result(pathlift, network, "--heaviest-path")
    factors = {"parameter": None, "index": [0, 1], "value": 1.0}
    assert payload["heaviest_path"] == {
        "log10": pytest.approx(0.7781512503836436),
        "start": {"node": "x", "op": "Input", **factors},
        "steps": [
            {"node": "h", "op": "Gemm", "parameter": "w", "index": [1, 0], "value": 3.0, "position": [0, 0]},
            {"node": "y", "op": "Gemm", "parameter": "v", "index": [0, 0], "value": 2.0, "position": [0, 0]},
        ],
        "output": "y",
        "position": [0, 0],
    }
    assert pathlift("norm", network, "--heaviest-path").out.splitlines()[2:] == [
        "",
        "heaviest path, to y[0, 0]: log10 0.778151",
        "node  op     weight   value",
        "x     Input  x[0, 1]      1",
        "h     Gemm   w[1, 0]      3",
        "y     Gemm   v[0, 0]      2",
    ]


def test_what_a_heaviest_path_rests_on_is_said_once(pathlift: Cli, tmp_path: Path) -> None:
    save(parse_graph(NETWORK.replace("Relu(%h)", "Tanh(%h)")), tmp_path / "m.onnx")
    out = pathlift("norm", str(tmp_path / "m.onnx"), "--heaviest-path").out
    assert out.count("assumes: Tanh") == 1


def test_a_heaviest_path_may_start_at_a_bias(pathlift: Cli, tmp_path: Path) -> None:
    save(parse_graph(NETWORK.replace("5.0", "-7.0")), tmp_path / "m.onnx")
    path = result(pathlift, str(tmp_path / "m.onnx"), "--heaviest-path")["heaviest_path"]
    assert path["start"] == {"node": "y", "op": "Gemm", "parameter": "b", "index": [0], "value": -7.0}
    assert path["steps"] == []
    path = result(pathlift, str(tmp_path / "m.onnx"), "--heaviest-path", "--inputs-only")["heaviest_path"]
    assert path["start"]["op"] == "Input"


# ---- usage


@pytest.mark.parametrize(
    ("flags", "code", "named"),
    [
        ("--q nan", "PL0401", "'nan'"),
        ("--q -1", "PL0420", "-1.0"),
        ("--q 1e-7", "PL0420", "1e-07"),
        ("--q 1,-inf", "PL0420", "-inf"),
        ("--mixed 0", "PL0425", "0.0"),
        ("--mixed -1", "PL0425", "-1.0"),
        ("--mixed nan", "PL0425", "nan"),
        ("--mixed 1e7", "PL0425", "1e7|10000000"),
        ("--mixed two", "PL0400", "'--mixed'"),
        ("--q 0 --weights w.npz", "PL0426", "number of paths"),
        ("--weights w.txt", "PL0448", "'w.txt'"),
        ("--chart c.jpg", "PL0446", "'c.jpg'"),
        ("--chart c", "PL0446", r"\.svg, \.png or \.pdf"),
        ("--device toaster", "PL0427", "'toaster'"),
        ("--device cuda:99", "PL0427", "'cuda:99'"),
        ("--device meta", "PL0427", "'meta'"),
        ("--regions --per-layer", "PL0445", "layers"),
        ("--regions --chart c.svg", "PL0445", "chart"),
        ("--regions --weights w.npz", "PL0445", "weights"),
        ("--regions --heaviest-path", "PL0445", "heaviest path"),
    ],
)
def test_usage(
    pathlift: Cli, network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, code: str, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = pathlift("norm", network, *flags.split())
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(code)
    assert outcome.err.count("\n") == 1
    assert re.search(named, outcome.err)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
