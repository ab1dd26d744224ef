"""The layers of a norm as they are shown: which, in which order, in blocks, and with which figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pathlift.cli.text import to_text
from pathlift.frontend.save import save
from pathlift.ir.text import parse_graph
from pathlift.report.norms import _grouped
from pathlift.verbs import norm

Cli = Callable[..., Any]

# A skip, so that shares differ; without a bias.
NETWORK = """
    %x = Input : f32[N, 1]
    %w = Param {value=[[2.0]]} : f32[1, 1]
    %"net.0.fc" = Gemm(%x, %w)
    %v = Param {value=[[3.0]]} : f32[1, 1]
    %"net.0.proj" = Gemm(%"net.0.fc", %v)
    %a = Add(%"net.0.proj", %x)
    %u = Param {value=[[0.5]]} : f32[1, 1]
    %head = Gemm(%a, %u)
    return %head
"""
CHAIN = NETWORK.replace('Add(%"net.0.proj", %x)', 'Relu(%"net.0.proj")')


@pytest.fixture
def shown(pathlift: Cli, tmp_path: Path) -> Callable[..., list[list[str]]]:
    """The words of each line of the table of layers."""

    def call(text: str, *flags: str) -> list[list[str]]:
        save(parse_graph(text), tmp_path / "m.onnx", force=True)
        outcome = pathlift("norm", str(tmp_path / "m.onnx"), *flags)
        assert (outcome.code, outcome.err) == (0, "")
        return [line.split() for line in outcome.out.splitlines()[3:]]

    return call


def test_the_norm_so_far_is_that_of_the_outputs(pathlift: Cli, tmp_path: Path) -> None:
    save(parse_graph(NETWORK), tmp_path / "m.onnx")
    layers = json.loads(pathlift("norm", str(tmp_path / "m.onnx"), "--per-layer", "--format", "json").out)["result"][
        "layers"
    ]
    assert [10 ** layer["log10"] for layer in layers] == pytest.approx([2, 6, 3.5])
    assert [10 ** layer["log10_gain"] for layer in layers] == pytest.approx([2, 3, 0.5])
    assert [layer["share"] for layer in layers] == pytest.approx([6 / 7, 6 / 7, 1])


def test_shares_are_shown_where_paths_branch(shown: Any) -> None:
    heading, *_ = shown(NETWORK, "--per-layer")
    assert heading[-2:] == ["far", "share"]
    heading, _, row, *_ = shown(CHAIN, "--per-layer")
    assert heading[-1] == "far"
    assert row == ["fc", "0.301030", "0.301030"]


def test_layers_stand_under_their_block(shown: Any) -> None:
    lines = shown(CHAIN, "--per-layer")
    assert [line[0] for line in lines[1:]] == ["net.0", "fc", "proj", "head"]


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ("--sort gain", ["net.0.proj", "net.0.fc", "head"]),
        ("--sort share", ["head", "net.0.fc", "net.0.proj"]),
        ("--sort gain --top 2", ["net.0.proj", "net.0.fc", "and"]),
        ("--top 1", ["net.0.fc", "and"]),
        ("--top 3", ["net.0", "fc", "proj", "head"]),
    ],
)
def test_the_top_layers(shown: Any, flags: str, names: list[str]) -> None:
    assert [line[0] for line in shown(NETWORK, *flags.split())[1:]] == names


def test_what_is_left_out_is_counted(shown: Any) -> None:
    assert " ".join(shown(NETWORK, "--top", "1")[-1]) == "and 2 more, which --format json lists"


def test_json_has_all_layers_in_their_order(pathlift: Cli, tmp_path: Path) -> None:
    save(parse_graph(NETWORK), tmp_path / "m.onnx")
    told = json.loads(
        pathlift("norm", str(tmp_path / "m.onnx"), "--top", "1", "--sort", "gain", "--format", "json").out
    )
    assert [layer["node"] for layer in told["result"]["layers"]] == ["net.0.fc", "net.0.proj", "head"]


def test_charts_have_the_same_layers() -> None:
    pytest.importorskip("matplotlib")
    figure = norm.norm(parse_graph(NETWORK), top=2, sort="gain").plot()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["net.0.proj", "net.0.fc"]


@pytest.mark.parametrize(("flags", "code"), [("--top -1", "PL1419"), ("--sort size", "PL0400")])
def test_usage(pathlift: Cli, tmp_path: Path, flags: str, code: str) -> None:
    save(parse_graph(NETWORK), tmp_path / "m.onnx")
    outcome = pathlift("norm", str(tmp_path / "m.onnx"), *flags.split())
    assert (outcome.code, outcome.err.split()[0]) == (2, code)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ([], []),
        (["a", "b"], ["a", "b"]),
        (["a.b", "c.d"], ["a.b", "c.d"]),
        (["l.0.conv", "l.0.down.0", "l.1.conv"], ["l.0:", "  conv", "  down.0", "l.1.conv"]),
        (["f.0", "f.2", "f.10", "g"], ["f:", "  0", "  2", "  10", "g"]),
        (["/a/b/x", "/a/b/y"], ["/a/b:", "  x", "  y"]),
        (["/x", "/y"], ["/x", "/y"]),
        (["l1.a", "l10.a", "l10.b"], ["l1.a", "l10:", "  a", "  b"]),
        (["same.w", "same.w"], ["same:", "  w", "  w"]),
    ],
)
def test_blocks(names: list[str], shown: list[str]) -> None:
    found = [line for heading, name in _grouped(names) for line in [*(f"{h}:" for h in heading), name]]
    assert found == shown


def test_a_result_without_choices_is_shown_as_before() -> None:
    result = norm.norm(parse_graph(CHAIN), per_layer=True)
    assert to_text(norm.text, result).splitlines()[3].split()[:4] == ["layer", "(q", "=", "1)"]
