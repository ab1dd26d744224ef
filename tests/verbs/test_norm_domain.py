"""`pathlift norm --domain`: the norm of the network as it is on a box, beside its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pathlift as library
from pathlift.frontend.save import save
from pathlift.ir.text import parse_graph

Cli = Callable[..., Any]

# On [0, 1]: x + 1 and x + 2 are active, and their difference is −1; x − 2 is dead.
NETWORK = """
    %x = Input : f32[N, 1]
    %w = Param {value=[[1.0, 1.0, 1.0]]} : f32[1, 3]
    %c = Param {value=[1.0, 2.0, -2.0]} : f32[3]
    %h = Gemm(%x, %w, %c)
    %r = Relu(%h)
    %v = Param {value=[[1.0], [-1.0], [8.0]]} : f32[3, 1]
    %y = Gemm(%r, %v)
    %z = Softmax(%y) {axis=-1}
    return %z
"""


@pytest.fixture
def network(tmp_path: Path) -> str:
    save(parse_graph(NETWORK), tmp_path / "m.onnx")
    return str(tmp_path / "m.onnx")


def test_both_norms(pathlift: Cli, network: str) -> None:
    outcome = pathlift("norm", network, "--domain", "x=0:1", "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    envelope = json.loads(outcome.out)
    (plain,), local = envelope["result"]["norms"], envelope["result"]["local"]
    assert (plain["value"], plain["is_path_norm"]) == (pytest.approx(2 + 3 + 24), True)
    assert (local["norms"][0]["value"], local["norms"][0]["is_path_norm"]) == (pytest.approx(1, rel=1e-12), False)
    assert local["domain"] == {"x": {"low": 0.0, "high": 1.0}}
    assert local["recentred"] == []
    assert "3 elements of 1 gates" in local["changes"]
    assert any("local norms hold for x in [0, 1]" in line for line in envelope["assumptions"])


def test_text_has_a_row_for_each(pathlift: Cli, network: str) -> None:
    lines = pathlift("norm", network, "--domain", "x=0:1").out.splitlines()
    assert lines[1].split()[2:] == ["29", "10^1.462398", "sum", "pooling"]
    assert "on the domain, not a path-norm" in lines[2]
    assert lines[2].split()[2] == "1"


def test_recentred(pathlift: Cli, network: str) -> None:
    wide = ["norm", network, "--domain", "x=-8:1", "--format", "json"]
    result = json.loads(pathlift(*wide, "--recentre").out)
    assert result["result"]["local"]["recentred"] == ["x"]
    assert any("x counts as the distance" in line for line in result["assumptions"])
    # x = u − 3.5: u − 2.5, u − 1.5, and u − 5.5, which is dead
    assert result["result"]["local"]["norms"][0]["value"] == pytest.approx(3.5 + 2.5)


def test_arrays_are_boxes_too(network: str) -> None:
    result = library.norm(network, domain={"x": (np.zeros((1, 1)), np.ones((1, 1)))})
    assert result.local is not None
    assert result.local.norms[0].value == pytest.approx(1)
    assert library.norm(network).local is None


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--recentre"], "PL0436"),
        (["--domain", "y=0:1"], "PL1476"),
        (["--domain", "x=0:1", "--regions"], "PL0445"),
    ],
)
def test_usage(pathlift: Cli, network: str, arguments: list[str], code: str) -> None:
    outcome = pathlift("norm", network, *arguments)
    assert outcome.code == 2
    assert outcome.err.startswith(code)


def test_several_boxes_are_no_domain(network: str) -> None:
    with pytest.raises(library.PathliftError, match="PL1474 the domain is 2 boxes"):
        library.norm(network, domain={"x": (np.zeros((2, 1)), np.ones((2, 1)))})
