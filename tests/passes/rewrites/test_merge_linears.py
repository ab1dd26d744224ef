"""Layers in a row become one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st

from pathlift.ir.builder import Builder
from pathlift.ir.errors import WitnessError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.text import parse_graph
from pathlift.ir.types import TensorType
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.rewrites.merge_linears import MergeLinears
from pathlift.testing import assert_equivalent, assert_same_as_onnxruntime
from pathlift.testing.strategies import graphs

Draw = Callable[[st.SearchStrategy[Any]], Any]
BOTTLENECK = """
    %x = Input : f32[N, 2, 4, 4]
    %a.weight = Param {value=[[[[1.0]], [[2.0]]], [[[0.5]], [[-1.0]]]]} : f32[2, 2, 1, 1]
    %a.bias = Param {value=[1.0, -1.0]} : f32[2]
    %b.weight = Param {value=[[[[1.0, 2.0]], [[0.0, 1.0]]], [[[0.0, 0.5]], [[1.0, -1.0]]]]} : f32[2, 2, 1, 2]
    %c.weight = Param {value=[[[[2.0]], [[-1.0]]]]} : f32[1, 2, 1, 1]
    %c.bias = Param {value=[0.5]} : f32[1]
    %h = Conv(%x, %a.weight, %a.bias) {strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]}  # loc: a {doc="first"}
    %k = Conv(%h, %b.weight) {strides=[2, 1], pads=[0, 0, 0, 0], dilations=[1, 1]}  # loc: b
    %y = Conv(%k, %c.weight, %c.bias) {strides=[1, 2], pads=[0, 0, 0, 0], dilations=[1, 1]}  # loc: c
    return %y
"""


def test_golden(golden: Callable[[str, str], None]) -> None:
    before = parse_graph(BOTTLENECK)
    rewritten = MergeLinears().run(before)
    rewritten.witness.check(before, rewritten.graph)
    golden("passes/rewrites/merge_linears.txt", f"{before}\n\n{rewritten.graph}\n\n{rewritten.witness.describe()}")


@pytest.mark.parametrize("growth", [0.5, 1.0, 10.0])
def test_laws(check_rewrite: Callable[..., None], growth: float) -> None:
    check_rewrite(MergeLinears(growth), convolutions() | products(), examples=50, rewritten=True)
    check_rewrite(MergeLinears(growth), graphs(), examples=40)


@st.composite
def convolutions(draw: Draw) -> Graph:
    """Convolutions in a row, many of them 1×1; some values in between are read twice, or cut at zero."""
    b, rng, n = Builder(), np.random.default_rng(draw(st.integers(0, 2**16))), draw(st.integers(1, 2))
    x, channels = b.input("x", ("N", 4, 5, 6)[: 2 + n]), 4
    for _ in range(draw(st.integers(2, 4))):
        out, groups = draw(st.sampled_from([2, 4])), draw(st.sampled_from([1, 1, 2]))
        kernel, strides = (tuple(draw(st.sampled_from([1, 1, k])) for _ in range(n)) for k in (3, 2))
        pads = tuple(draw(st.sampled_from([0, 0, 0, 2])) for _ in range(2 * n))
        bias = draw(st.sampled_from([None, np.zeros(out), quarters(rng, out)]))
        w = b.param(quarters(rng, out, channels // groups, *kernel))
        attrs = {"strides": strides, "pads": pads, "dilations": (draw(st.integers(1, 2)),) * n, "groups": groups}
        room = [d + pads[i] + pads[i + n] for i, d in enumerate(shape(b, x)[2:])]
        if any(r < attrs["dilations"][0] * (k - 1) + 1 for r, k in zip(room, kernel, strict=True)):
            break
        x, channels = b.op("Conv", x, w, None if bias is None else b.param(bias), **attrs), out
        x = between(draw, b, x)
    return b.finish(b.op("Identity", x))


@st.composite
def products(draw: Draw) -> Graph:
    """Matrix products in a row, written in several ways."""
    b, rng = Builder(), np.random.default_rng(draw(st.integers(0, 2**16)))
    x, inside = b.input("x", ("N", 3, 3)[: draw(st.integers(2, 3))]), 3
    for _ in range(draw(st.integers(2, 4))):
        out, trans_w, form = draw(st.integers(1, 4)), draw(st.booleans()), draw(st.integers(0, 4))
        w = b.param(quarters(rng, *((out, inside) if trans_w else (inside, out))))
        if form == 4:
            x = b.op("Einsum", x, w, equation=f"...i,{'oi' if trans_w else 'io'}->...o")
        else:
            bias = (None, quarters(rng, out), quarters(rng, 1), quarters(rng))[form]
            x = b.op("Gemm", x, w, None if bias is None else b.param(bias), trans_w=trans_w)
        x, inside = between(draw, b, x), out
    return b.finish(b.op("Identity", x))


def between(draw: Draw, b: Builder, x: Value) -> Value:
    after = draw(st.integers(0, 7))
    if after == 6:
        b.output(x)
    return b.op("Relu", x) if after == 7 else x


def quarters(rng: np.random.Generator, *size: int) -> np.ndarray:
    return np.asarray(rng.integers(-4, 5, size) / 4, np.float32)


def shape(b: Builder, x: Value) -> tuple[Any, ...]:
    type_ = b.type_of(x)
    assert isinstance(type_, TensorType)
    return type_.shape or ()


def test_the_square_sum_of_paths_may_rise() -> None:
    # About half of random pairs: what the triangle inequality gives for q ≤ 1, nothing gives for q = 2.
    rng, rises = np.random.default_rng(0), 0
    for _ in range(40):
        before = pair(rng.standard_normal((3, 3)), rng.standard_normal((3, 3)))
        norms = [PathNorm(q=(1.0, 2.0)).run(g).norms for g in (before, MergeLinears(1.0).run(before).graph)]
        assert norms[1][0].value < norms[0][0].value
        rises += norms[1][1].value > norms[0][1].value
    assert 10 < rises < 30


def pair(first: np.ndarray, second: np.ndarray, bias: np.ndarray | None = None, dtype: str = "f64") -> Graph:
    """Two matrix products; weights are ``(in, out)``."""
    b = Builder()
    h = b.op("Gemm", b.input("x", ("N", len(first)), dtype), b.param(first, "w1"), name="h")
    return b.finish(b.op("Gemm", h, b.param(second, "w2"), None if bias is None else b.param(bias, "b2"), name="y"))


def test_growth_is_what_may_be_more() -> None:
    wide = pair(np.ones((4, 1)), np.ones((1, 4)))
    rewritten = MergeLinears().run(wide)
    assert rewritten.graph is wide
    assert rewritten.witness.describe() == "'h' and 'y' stay two: 16 weights instead of 8"
    assert len(MergeLinears(growth=2.0).run(wide).graph) == 3


def test_a_bias_is_not_in_the_padding() -> None:
    text = BOTTLENECK.replace("{strides=[2, 1], pads=[0, 0, 0, 0]", "{strides=[2, 1], pads=[0, 1, 0, 0]")
    before = parse_graph(text)
    rewritten = MergeLinears().run(before)
    assert count(rewritten.graph, "Conv") == 2
    reason = "'a' and 'c' stay two: the bias of the first is not in the padding of the second"
    assert rewritten.witness.describe() == f"1 chains of linear layers merged; {reason}"
    zero = parse_graph(text.replace("{value=[1.0, -1.0]}", "{value=[0.0, -0.0]}"))
    merged = MergeLinears().run(zero).graph
    assert count(merged, "Conv") == 1
    assert_equivalent(zero, merged)


def count(graph: Graph, op: str) -> int:
    return sum(graph[key].op == op for key in graph)


def test_two_large_kernels_stay() -> None:
    before = parse_graph("""
        %x = Input : f32[N, 1, 9]
        %w = Param {value=[[[1.0, 2.0]]]} : f32[1, 1, 2]
        %h = Conv(%x, %w) {strides=[1], pads=[0, 0], dilations=[1]}
        %y = Conv(%h, %w) {strides=[1], pads=[0, 0], dilations=[1]}
        return %y
    """)
    rewritten = MergeLinears().run(before)
    assert rewritten.graph is before
    assert rewritten.witness.describe() == "'h' and 'y' stay two: neither kernel is 1×1 without stride and padding"


def test_tied_weights_stay_for_their_other_use() -> None:
    before = parse_graph("""
        %x = Input : f32[N, 2]
        %w = Param {value=[[1.0, 2.0], [3.0, 4.0]]} : f32[2, 2]
        %h = Gemm(%x, %w)
        %k = Gemm(%h, %w)
        %r = Relu(%k)
        %y = Gemm(%r, %w)
        return %y
    """)
    after = MergeLinears().run(before).graph
    assert_equivalent(before, after)
    assert after[after.inputs_of("y")[1].node].value is before["w"].value
    assert after[after.inputs_of("k")[1].node].value.numpy().tolist() == [[7.0, 10.0], [15.0, 22.0]]


@pytest.mark.parametrize(("ir_version", "merged"), [(3, True), (10, False)])
def test_what_a_caller_may_replace_stays(ir_version: int, merged: bool) -> None:
    text = str(pair(np.ones((2, 2)), np.ones((2, 2))))
    before = parse_graph(f'graph "g" {{ir_version={ir_version}, opset=18, overridable=["w1"]}}\n{text}')
    assert (MergeLinears().run(before).graph is not before) == merged


@pytest.mark.parametrize(
    ("dtype", "large", "reason"),
    [(np.float16, 300.0, "the product does not fit f16"), (np.float32, 1e-30, "the product does not fit f32")],
)
def test_products_that_overflow_or_vanish_are_left(dtype: type, large: float, reason: str) -> None:
    w = np.full((2, 2), large, dtype)
    name = {np.float16: "f16", np.float32: "f32"}[dtype]
    before = pair(w, w, dtype=name)
    rewritten = MergeLinears().run(before)
    assert rewritten.graph is before
    assert reason in rewritten.witness.describe()


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32"])
def test_element_types_are_kept(dtype: str) -> None:
    scalar = {"f16": np.float16, "bf16": ml_dtypes.bfloat16, "f32": np.float32}[dtype]
    rng = np.random.default_rng(0)
    before = pair(*(rng.uniform(0.5, 1.0, (3, 3)).astype(scalar) for _ in range(2)), dtype=dtype)
    rewritten = MergeLinears().run(before)
    rewritten.witness.check(before, rewritten.graph)
    assert {rewritten.graph[key].value.dtype for key in rewritten.graph.params} == {np.dtype(scalar)}


def test_onnx_runtime_agrees() -> None:
    before = parse_graph(BOTTLENECK)
    after = MergeLinears().run(before).graph
    assert_same_as_onnxruntime(after)


def test_a_wrong_product_is_caught() -> None:
    before = parse_graph(BOTTLENECK)
    rewritten = MergeLinears().run(before)
    b = rewritten.graph.edit()
    b.replace_node(Value("c.bias"), value=before["c.bias"].value)  # as if only the last bias counted
    with pytest.raises(WitnessError, match="PL0803 "):
        rewritten.witness.check(before, b.finish())
