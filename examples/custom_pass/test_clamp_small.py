"""The pass on ten lines of text, on a sample of every linear op, and in pipelines."""

from __future__ import annotations

import math

import pytest
from clamp_small import LINEAR, Clamped, ClampSmall

from pathlift.ir.errors import TextError, WitnessError
from pathlift.ir.graph import Value
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Param
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.pipeline import parse_pipeline, run_pipeline
from pathlift.testing import assert_path_norm, samples

BEFORE = """
%x = Input : f32[N, 2]
%w = Param {value=[[1.0, -0.01], [0.0, 0.02]]} : f32[2, 2]
%b = Param {value=[0.001, 2.0]} : f32[2]
%y = Gemm(%x, %w, %b)
return %y
"""
AFTER = BEFORE.replace("-0.01", "0.0")
SCALES = """
%x = Input : f32[2, 2]
%w = Param {value=[[1.0, -0.01], [0.0, 0.02]]} : f32[2, 2]
%h = Gemm(%x, %w)
%y = Mul(%h, %w)
return %y
"""


def test_small_weights_become_zero_and_biases_stay() -> None:
    rewritten = ClampSmall(0.015).run(parse_graph(BEFORE))
    assert str(rewritten.graph) == str(parse_graph(AFTER))
    assert rewritten.witness.describe() == "1 weights set to zero, the largest 0.01"
    assert_path_norm(rewritten.graph, 1 + 0.02 + 0.001 + 2)


@pytest.mark.parametrize("name", [name for name in samples() if name.split("/")[0] in LINEAR])
def test_pipelines_accept_it_and_no_path_norm_grows(name: str) -> None:
    before = samples()[name]
    after, (step,) = run_pipeline(before, parse_pipeline("clamp-small{threshold=0.5}"))
    assert step.changed
    norms = [[norm.log10 or -math.inf for norm in PathNorm(q=(0.5, 1, 2)).run(g).norms] for g in (before, after)]
    assert all(new < old for old, new in zip(*norms, strict=True))


@pytest.mark.parametrize(("text", "threshold"), [(BEFORE, 1e-6), (SCALES, 10.0)], ids=["large", "also a scale"])
def test_what_is_not_to_change_is_the_same_graph(text: str, threshold: float) -> None:
    graph = parse_graph(text)
    assert ClampSmall(threshold).run(graph).graph is graph


def test_a_false_witness_is_found() -> None:
    before = parse_graph(BEFORE)
    builder = before.edit()
    builder.replace_node(Value("w"), value=Param.of([[0.0, -0.01], [0.0, 0.02]]))
    with pytest.raises(WitnessError, match="'w' changed in another way"):
        Clamped({"w": (1, 0.5)}).check(before, builder.finish())


@pytest.mark.parametrize("options", ["", "{threshold=0}", "{threshold=-1}", "{threshold=small}"])
def test_wrong_thresholds_are_usage_errors(options: str) -> None:
    with pytest.raises(TextError):
        parse_pipeline(f"clamp-small{options}")
