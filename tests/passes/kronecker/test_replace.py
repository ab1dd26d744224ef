"""Layers that are Kronecker-sparse become `KSLinear`, and compute what they did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from pathlift.frontend.load import load
from pathlift.frontend.save import to_onnx
from pathlift.ir.builder import Builder
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph, Origin
from pathlift.ir.kronecker import Pattern, dense
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Array
from pathlift.passes.kronecker.replace import KsReplace
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.pipeline import parse_pipeline, run_pipeline
from pathlift.testing import assert_equivalent, assert_same_as_onnxruntime, onnxruntime_session, op_names, zoo
from pathlift.testing.strategies import graphs

Draw = Callable[[st.SearchStrategy[Any]], Any]

LAYERS = """
    %x = Input : f32[N, 4, "W"]
    %shuffle.weight = Param {value=[[[1.0], [2.0]], [[0.5], [-1.0]], [[2.0], [3.0]], [[4.0], [-2.0]]]} : f32[4, 2, 1]
    %shuffle.bias = Param {value=[1.0, 2.0, 3.0, 4.0]} : f32[4]
    %k = Conv(%x, %shuffle.weight, %shuffle.bias) {strides=[1], pads=[0, 0], dilations=[1], groups=2}  # loc: shuffle
    %r = Relu(%k)
    %t = Transpose(%r) {perm=[0, 2, 1]}
    %fc.weight = Param {value=[[1.0, 0.0, 2.0, 0.0], [0.0, 3.0, 0.0, -1.0]]} : f32[2, 4]
    %fc.bias = Param {value=[0.5, 0.25]} : f32[2]
    %f = Gemm(%t, %fc.weight, %fc.bias) {trans_w=true}  # loc: fc {doc="zeros"}
    return %f
"""


def ks(matrix: Array, *, permuted: np.random.Generator | None = None) -> Array:
    """A matrix, perhaps with rows and columns in another order."""
    if permuted is not None:
        matrix = matrix[permuted.permutation(len(matrix))][:, permuted.permutation(matrix.shape[1])]
    return np.ascontiguousarray(matrix)


def factor(p: Pattern, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(1, 8, p.shape).astype(np.float32)


def run(graph: Graph, **options: Any) -> Graph:
    rewritten = KsReplace(**options).run(graph)
    rewritten.witness.check(graph, rewritten.graph)
    if rewritten.graph is not graph:
        assert_equivalent(graph, rewritten.graph, rtol=1e-12)
        assert str(parse_graph(str(rewritten.graph), params(rewritten.graph))) == str(rewritten.graph)
    assert KsReplace(**options).run(rewritten.graph).graph is rewritten.graph
    return rewritten.graph


def params(graph: Graph) -> dict[str, Any]:
    return {graph[key].names[0]: graph[key].value for key in graph.params}


def test_golden(golden: Callable[[str, str], None]) -> None:
    before = parse_graph(LAYERS)
    rewritten = KsReplace(always=True).run(before)
    rewritten.witness.check(before, rewritten.graph)
    golden("passes/kronecker/ks_replace.txt", f"{before}\n\n{rewritten.graph}\n\n{rewritten.witness.describe()}")


@st.composite
def networks(draw: Draw) -> Graph:
    """Layers of any spelling in a row, with permuted zeros, biases, and activations."""
    rng, b = np.random.default_rng(draw(st.integers(0, 2**16))), Builder()
    extents = st.sampled_from([1, 2, 3])
    h, cols = b.input("x", draw(st.sampled_from([("N", 12), (2, 3, 12), (12,)]))), 12
    for i in range(draw(st.integers(1, 3))):
        a, d = draw(st.sampled_from([(1, 2), (2, 1), (2, 2), (3, 1), (1, 3), (1, 1), (2, 3)]))
        if cols % (a * d):
            a = d = 1
        p = Pattern(a, draw(extents), cols // (a * d), d)
        matrix = dense(factor(p, i))
        if draw(st.booleans()):
            matrix = ks(matrix, permuted=rng)
        bias = b.param(rng.integers(1, 9, p.rows).astype(np.float32)) if draw(st.booleans()) else None
        if draw(st.booleans()):
            h = b.op("Gemm", h, b.param(matrix), bias, trans_w=True)
        else:
            h = b.op("Gemm", h, b.param(np.ascontiguousarray(matrix.T)), bias)
        h = b.op("Relu", h) if draw(st.booleans()) else h
        cols = p.rows
    return b.finish(b.op("Identity", h, name="y"))


@settings(max_examples=60)
@given(networks(), st.booleans())
def test_laws(graph: Graph, permutation: bool) -> None:
    note(str(graph))
    after = run(graph, always=True, permutation=permutation)
    norms = [PathNorm(q=(0.0, 1.0, 2.0)).run(g).norms for g in (graph, after)]
    for a, b in zip(*norms, strict=True):
        assert a.zero == b.zero
        assert a.zero or abs(a.log10 - b.log10) < 1e-9


@settings(max_examples=40)
@given(graphs())
def test_random_graphs(graph: Graph) -> None:
    note(str(graph))
    run(graph, always=True, permutation=True)


def two_layers(wide: int, blocks: int) -> Graph:
    """One layer that is faster as blocks, and one that is not."""
    b = Builder()
    fast = dense(factor(Pattern(blocks, wide // blocks, wide // blocks, 1)))
    slow = np.eye(wide, dtype=np.float32)
    origins = Origin(("fast",)), Origin(("slow",))
    h = b.op("Gemm", b.input("x", ("N", wide)), b.param(fast, "fast.weight"), origin=origins[0], trans_w=True)
    return b.finish(b.op("Gemm", h, b.param(slow, "slow.weight"), origin=origins[1], name="y"))


def test_only_where_it_pays() -> None:
    graph = two_layers(512, 8)
    rewritten = KsReplace().run(graph)
    assert op_names(rewritten.graph) == ["KSLinear", "Gemm"]
    assert "'slow' stays: as (512,1,1,1) it is predicted to be 0." in rewritten.witness.describe()
    assert op_names(run(graph, always=True)) == ["KSLinear", "KSLinear"]
    assert run(graph, gain=1e6) is graph
    assert KsReplace(samples=1).run(two_layers(64, 2)).graph is not None
    assert_same_as_onnxruntime(rewritten.graph)


def test_names_and_provenance_stay() -> None:
    graph = two_layers(512, 8)
    after = KsReplace().run(graph).graph
    (key,) = (key for key in after.order if after[key].op == "KSLinear")
    assert after[key].label == "fast"
    assert [after.name_of(v) for v in after.outputs] == ["y"]
    assert {after[k].names[0] for k in after.params} == {"fast.weight.ks", "slow.weight"}


def test_tied_weights_stay_tied() -> None:
    b = Builder()
    w = b.param(dense(factor(Pattern(2, 3, 3, 1))), "w")
    graph = b.finish(b.op("Gemm", b.op("Relu", b.op("Gemm", b.input("x", ("N", 6)), w)), w))
    assert len(run(graph, always=True).params) == 1


def test_weights_that_are_no_numbers_are_left_with_a_reason() -> None:
    b = Builder()
    matrix = dense(factor(Pattern(2, 3, 3, 1)))
    matrix[0, 0] = np.nan
    graph = b.finish(b.op("Gemm", b.input("x", ("N", 6)), b.param(matrix), name="y"))
    rewritten = KsReplace(always=True).run(graph)
    assert rewritten.graph is graph
    assert "NaN" in rewritten.witness.describe()


def test_a_value_that_others_read_keeps_its_shape() -> None:
    """Features that are put together by one layer stay apart for another reader."""
    b = Builder()
    h = b.op("Reshape", b.input("x", ("N", 6)), shape=(0, 2, 3))
    e = b.op("Einsum", h, b.param(factor(Pattern(2, 2, 3, 1))[:, 0]), equation="ngi,goi->ngo")
    k = b.op("Einsum", e, b.param(factor(Pattern(2, 3, 2, 1))[:, 0]), equation="ngi,goi->ngo")
    graph = b.finish(b.op("Reshape", k, shape=(0, 6)))
    assert op_names(run(graph, always=True)) == ["KSLinear", "KSLinear"]
    builder = graph.edit()
    after = run(builder.finish(builder.op("Relu", e, name="z")), always=True)
    assert op_names(after).count("KSLinear") == 2
    assert "Reshape" in op_names(after)


def test_in_a_pipeline() -> None:
    graph = two_layers(512, 8)
    after, _ = run_pipeline(graph, parse_pipeline("ks-replace{always=true, samples=8},ks-layout"))
    assert op_names(after).count("Transpose") == 2


@pytest.mark.parametrize(
    ("options", "code"), [({"gain": 0}, "0456"), ({"device": "x"}, "0454"), ({"samples": -1}, "0455")]
)
def test_options_that_make_no_sense(options: dict[str, Any], code: str) -> None:
    with pytest.raises(UsageError) as refusal:
        KsReplace(**options)
    assert refusal.value.code == f"PL{code}"


def test_grouped_convolutions_of_a_real_network() -> None:
    graph = load(zoo.light("shufflenet"))
    rewritten = KsReplace(always=True).run(graph)
    rewritten.witness.check(graph, rewritten.graph)
    assert rewritten.witness.describe() == "32 layers made Kronecker-sparse"
    sessions = [onnxruntime_session(to_onnx(g).SerializeToString()) for g in (graph, rewritten.graph)]
    image = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    before, after = (s.run(None, {s.get_inputs()[0].name: image})[0] for s in sessions)
    assert np.abs(before - after).max() < 1e-5 * np.abs(before).max()
