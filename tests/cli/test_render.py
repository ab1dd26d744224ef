"""Results as text."""

from __future__ import annotations

import copy
import sys
from decimal import ROUND_CEILING
from typing import Any

import pytest

from pathlift.cli.text import to_text
from pathlift.report.result import Result
from pathlift.report.tables import Renderer, byte_size, fixed
from pathlift.verbs import export, inspect, norm, opt, passes

NORM: dict[str, Any] = {
    "norms": [
        {"q": 1.0, "mixed": None, "log10": 30.798157, "value": 6.28e30, "upper_log10": 30.7981571, "pooling": "sum",
         "is_path_norm": True, "zero": False, "outputs": {}},
        {"q": "inf", "mixed": None, "log10": 400.25, "value": None, "upper_log10": 400.25, "pooling": "max",
         "is_path_norm": False, "zero": False, "outputs": {}},
        {"q": 2.0, "mixed": None, "log10": None, "value": 0.0, "upper_log10": None, "pooling": "sum",
         "is_path_norm": True, "zero": True, "outputs": {}},
    ],
    "layers": [
        {"node": "conv1[bold]", "share": 1.0, "log10_gain": 2.5, "log10": 1.5},
        {"node": "fc\x1b[31m\nforged", "share": 0.5, "log10_gain": -0.25, "log10": 1.25},
        {"node": "dead", "share": None, "log10_gain": None, "log10": None},
    ],
}  # fmt: skip
INSPECT: dict[str, Any] = {
    "ops": {"Relu": 1, "Conv": 2},
    "inputs": [{"name": "x", "dtype": "float32", "shape": ["N", 3, None]}],
    "outputs": [{"name": "y", "dtype": "float32", "shape": None}],
    "parameters": {"count": 12345, "bytes": 49380},
    "opset": 20,
    "ir_version": 10,
    "producer": "",
    "rescaling": {
        "free": 1234,
        "classes": [{"nodes": ["conv1", "a", "b", "c"], "count": 1200}, {"nodes": ["fc"], "count": 34}],
        "pinned": [{"node": "fc", "op": "Gemm", "reason": "a graph output", "count": 10}],
        "tied": [{"parameter": "w", "count": 2}],
    },
    "analyses": {
        "path-norm": {
            "applies": False,
            "refusals": [{"code": "PL0304", "node": "conv3", "op": "Conv", "reason": "dynamic weight"}],
        },
        "other": {"applies": True, "refusals": []},
    },
}
PASSES: dict[str, Any] = {
    "passes": [
        {"name": "canonicalize", "kind": "transform", "help": "Rescale.",
         "options": [{"name": "norm", "type": "str", "default": "l1", "help": "Which norm."}]},
    ],
}  # fmt: skip
EXPORT: dict[str, Any] = {
    "output": "m[1].onnx",
    "bytes": 1234567,
    "opset": 20,
    "inputs": INSPECT["inputs"],
    "outputs": INSPECT["outputs"],
}
OPT: dict[str, Any] = {"output": "o.onnx", "ir": [], "passes": [{"name": "fold-batchnorm", "changed": True}]}


class Fixed(Result):
    def __init__(self, payload: dict[str, Any], assumptions: tuple[str, ...] = ()) -> None:
        object.__setattr__(self, "payload", payload)
        object.__setattr__(self, "assumptions", assumptions)

    def to_json(self) -> dict[str, Any]:
        payload: dict[str, Any] = vars(self)["payload"]
        return payload


def lines(renderer: Renderer, payload: dict[str, Any], *assumptions: str) -> list[str]:
    return to_text(renderer, Fixed(payload, assumptions)).splitlines()


def test_norm() -> None:
    block = "█" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
    full, half = 24 * block, 12 * block
    assert lines(norm.text, NORM, "eval mode") == [
        "  q       log10          value        at most",
        "  1   30.798157       6.28e+30   10^30.798158  sum pooling",
        "inf  400.250000  10^400.250000  10^400.250000  max pooling, not a path-norm",
        "  2           -              0              0  sum pooling",
        "",
        "layer (q = 1)  log10 gain  log10 so far    share",
        f"conv1[bold]      2.500000      1.500000  100.0 %  {full}",
        f"fc forged       -0.250000      1.250000   50.0 %  {half}",
        "dead                    -             -        -",
        "assumes: eval mode",
    ]


def test_norm_without_layers() -> None:
    payload = copy.deepcopy(NORM)
    del payload["layers"]
    assert len(lines(norm.text, payload)) == 4


def test_inspect() -> None:
    assert lines(inspect.text, INSPECT) == [
        "model",
        "parameters  12,345 (49.4 kB)",
        "opset       20",
        "IR version  10",
        "producer    -",
        "",
        "value     dtype    shape",
        "input x   float32  [N, 3, ?]",
        "output y  float32  ?",
        "",
        "op    count",
        "Conv      2",
        "Relu      1",
        "",
        "rescaling symmetries      free scales",
        "all                             1,234",
        "  conv1, a, b and 1 more        1,200",
        "  fc                               34",
        "",
        "scales are fixed by  count  since",
        "fc (Gemm)               10  a graph output",
        "w                        2  is used at several depths, which ties or fixes the scales around it",
        "",
        "analysis",
        "path-norm  does not apply",
        "other      applies",
        "",
        "path-norm does not apply:",
        "  PL0304 node 'conv3' (Conv): dynamic weight",
    ]


def test_passes() -> None:
    assert lines(passes.text, PASSES) == [
        "pass          kind       path-norm",
        "canonicalize  transform             Rescale.",
        "  norm=l1     str                   Which norm.",
    ]


def test_export() -> None:
    assert lines(export.text, EXPORT)[0] == "wrote m[1].onnx (1.23 MB, opset 20)"


def test_opt_with_output() -> None:
    assert lines(opt.text, OPT) == ["pass", "fold-batchnorm  changed", "wrote o.onnx"]


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" in lines(norm.text, NORM)[0]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in "".join(lines(norm.text, NORM))


@pytest.mark.parametrize("columns", ["1", "20", "64", "80"])
def test_figures_are_whole_on_narrow_terminals(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    payload = copy.deepcopy(NORM)
    payload["layers"][0]["node"] = "block." * 20
    text = lines(norm.text, payload)
    assert any(line.startswith("inf  400.250000") and line.count("10^400.250000") >= 1 for line in text)
    assert any("2.500000" in line and "100.0 %" in line for line in text)
    assert not any(set(line.strip()) <= {"█", "#"} and line for line in text)  # a bar stays on its row


def test_long_names_are_never_cut() -> None:
    payload = copy.deepcopy(NORM)
    payload["layers"][0]["node"] = name = "block." * 100
    assert any(name in line for line in lines(norm.text, payload))


def test_long_ir_lines_are_never_wrapped() -> None:
    line = "%x = Conv(" + "1, " * 9000 + ")"
    assert lines(opt.text, {"output": None, "ir": [line], "passes": []}) == [line]


@pytest.mark.parametrize(
    ("number", "rounded"), [(1.0000001, "1.000001"), (1.0, "1.000000"), (-1.0000001, "-1.000000"), (None, "-")]
)
def test_upper_bounds_round_up(number: float | None, rounded: str) -> None:
    assert fixed(number, ROUND_CEILING) == rounded


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (45_600_000, "45.6 MB"), (3_000_000_000_000, "3 TB")],
)
def test_byte_size(count: int, text: str) -> None:
    assert byte_size(count) == text
