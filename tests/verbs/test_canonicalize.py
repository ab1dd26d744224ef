"""`pathlift canonicalize` from a file to a file, and what `inspect` says of the symmetries it uses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pathlift.frontend.load import load
from pathlift.frontend.save import save
from pathlift.ir.text import parse_graph
from pathlift.passes.rescaling.random_rescale import RandomRescale
from pathlift.testing import assert_equivalent

Cli = Callable[..., Any]
DIGITS = Path(__file__).parents[2] / "examples" / "digits.onnx"

TIED_IN_DEPTH = """
    %x = Input : f32[N, 2]
    %w = Param {value=[[1.0, 2.0], [3.0, 4.0]]} : f32[2, 2]
    %h = Gemm(%x, %w)
    %r = Relu(%h)
    %k = Gemm(%r, %w)
    %y = Tanh(%k)
    return %y
"""


def result(cli: Cli, *arguments: str) -> dict[str, Any]:
    outcome = cli(*arguments, "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    payload: dict[str, Any] = json.loads(outcome.out)["result"]
    return payload


def test_rescaled_copies_become_one_file(pathlift: Cli, tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.onnx" for i in range(4)]
    save(RandomRescale(seed=1, octaves=5).run(load(DIGITS)).graph, files[0])
    assert pathlift("canonicalize", str(DIGITS), "-o", str(files[1])).code == 0
    assert pathlift("canonicalize", str(files[0]), "-o", str(files[2])).code == 0
    a, b = load(files[1]), load(files[2])
    for key in a.params:
        x, y = (g[key].value.numpy() for g in (a, b))  # type: ignore[union-attr]  # a parameter has a value
        assert np.allclose(x, y, rtol=1e-5, atol=0), key
    assert_equivalent(load(DIGITS), a, rtol=1e-5)
    again = result(pathlift, "canonicalize", str(files[1]), "-o", str(files[3]))
    assert (again["changed"], again["output"]) == (False, str(files[3]))
    assert files[3].exists()


def test_the_text_says_what_was_done(pathlift: Cli) -> None:
    outcome = pathlift("canonicalize", str(DIGITS), "--norm", "l2", "--exact")
    assert outcome.code == 0
    assert outcome.out.startswith("84 free scales brought to canonical form (l2, by powers of two): factors from 2^")
    assert "classes (Gemm)" in outcome.out


def test_an_existing_file_is_kept(pathlift: Cli, tmp_path: Path) -> None:
    output = tmp_path / "c.onnx"
    output.write_text("mine")
    outcome = pathlift("canonicalize", str(DIGITS), "-o", str(output))
    assert outcome.code == 2
    assert output.read_text() == "mine"
    assert pathlift("canonicalize", str(DIGITS), "-o", str(output), "--force").code == 0


def test_a_norm_that_does_not_exist(pathlift: Cli, tmp_path: Path) -> None:
    outcome = pathlift("canonicalize", str(DIGITS), "--norm", "l7", "-o", str(tmp_path / "c.onnx"))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("PL0450 there is no norm 'l7' hint: ")
    assert not (tmp_path / "c.onnx").exists()


def test_inspect_reports_free_scales_and_where(pathlift: Cli) -> None:
    rescaling = result(pathlift, "inspect", str(DIGITS))["rescaling"]
    assert rescaling["free"] == 84
    assert rescaling["classes"] == [
        {"nodes": ["stem"], "count": 16},
        {"nodes": ["stem_norm", "body_norm"], "count": 4},  # a skip, and sorting in groups of four
        {"nodes": ["body"], "count": 16},
        {"nodes": ["hidden"], "count": 48},
    ]
    assert rescaling["pinned"] == [{"node": "classes", "op": "Gemm", "reason": "a graph output", "count": 10}]


@pytest.mark.parametrize("verb", ["inspect", "canonicalize"])
def test_weights_tied_in_depth_are_named(pathlift: Cli, tmp_path: Path, verb: str) -> None:
    save(parse_graph(TIED_IN_DEPTH), tmp_path / "m.onnx")
    rescaling = result(pathlift, verb, str(tmp_path / "m.onnx"))["rescaling"]
    assert (rescaling["free"], rescaling["tied"]) == (0, [{"parameter": "w", "count": 2}])
    assert "w  " in pathlift(verb, str(tmp_path / "m.onnx")).out
