"""Sites that rewrites may take: all by default, and only those that are named, for whoever narrows a fault down."""

from __future__ import annotations

import pytest

from pathlift.ir.text import parse_graph
from pathlift.passes.pipeline import parse_pipeline, run_pipeline
from pathlift.passes.witness.site import limited, may_rewrite
from pathlift.testing import op_names

GEMM = "Gemm(%{x}, %w) : f32[N, 2]"
NORM = "BatchNormalization(%{x}, %s, %s, %s, %s) : f32[N, 2]"
HEAD = """
%x = Input : f32[N, 2]
%w = Param {value=[[1.0, 2.0], [3.0, 4.0]]} : f32[2, 2]
%s = Param {value=[1.0, 2.0]} : f32[2]
"""
TEXTS = {
    "fold-batchnorm": f"""{HEAD}%a = {GEMM.format(x="x")}
%b = {NORM.format(x="a")}
%r = Relu(%b)
%c = {GEMM.format(x="r")}
%d = {NORM.format(x="c")}
%y = Relu(%d)
return %y
""",
    "merge-linears": f"""{HEAD}%a = {GEMM.format(x="x")}
%b = {GEMM.format(x="a")}
%r = Relu(%b)
%c = {GEMM.format(x="r")}
%d = {GEMM.format(x="c")}
return %d
""",
    "merge-parallel": f"""{HEAD}%a1 = {GEMM.format(x="x")}
%a2 = {GEMM.format(x="x")}
%b = Add(%a1, %a2)
%r = Relu(%b)
%c1 = {GEMM.format(x="r")}
%c2 = {GEMM.format(x="r")}
%d = Add(%c1, %c2)
return %d
""",
    "constant-folding": f"""{HEAD}%a = Identity(%x)
%b = Relu(%a)
%c = Relu(%s)
%d = Mul(%b, %c)
return %d
""",
}


@pytest.mark.parametrize("name", TEXTS)
def test_rewrites_take_the_sites_that_they_may(name: str) -> None:
    graph, passes = parse_graph(TEXTS[name]), parse_pipeline(name)
    whole, (step,) = run_pipeline(graph, passes)
    with limited(None) as seen:
        assert len(run_pipeline(graph, passes)[0]) == len(whole)
    sites = list(seen.asked)
    assert step.changed
    assert len(sites) == 2
    with limited([]):
        assert run_pipeline(graph, passes)[0] is graph
    for site in sites:
        with limited([site]):
            after, (step,) = run_pipeline(graph, passes)  # and its witness holds
        assert step.changed
        assert len(op_names(whole)) < len(op_names(after)) < len(op_names(graph))


def test_filters_end_with_their_block() -> None:
    with limited(["a"]) as outer:
        with limited([]):
            assert not may_rewrite("a")
        assert may_rewrite("a")
        assert not may_rewrite("b")
    assert may_rewrite("b")
    assert list(outer.asked) == ["a", "b"]
