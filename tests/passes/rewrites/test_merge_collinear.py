"""Neurons that are multiples of others, or on no path, go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from pathlift.ir.builder import Builder
from pathlift.ir.errors import WitnessError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Param, TensorType
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.rewrites.merge_collinear import MergeCollinear
from pathlift.passes.rewrites.multiples import positive_multiples
from pathlift.testing import assert_equivalent, assert_same_as_onnxruntime
from pathlift.testing.strategies import graphs

Draw = Callable[[st.SearchStrategy[Any]], Any]
NETWORK = """
    %x = Input : f32[N, 1, 3, 3]
    %conv.weight = Param {value=[[[[1.0, 2.0]]], [[[2.0, 4.0]]], [[[-1.0, -2.0]]], [[[0.0, 0.0]]]]} : f32[4, 1, 1, 2]
    %conv.bias = Param {value=[1.0, 2.0, -1.0, 0.0]} : f32[4]
    %fc.weight = Param {value=[[1.0, 2.0, 0.5, -1.0, 3.0, 1.0, 4.0, 5.0], [0.0, 1.0, 1.0, 1.0, 2.0, 2.0, 6.0, 7.0]]} : f32[2, 8]
    %fc.bias = Param {value=[0.5, -0.5]} : f32[2]
    %h = Conv(%x, %conv.weight, %conv.bias) {strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]} : f32[N, 4, 3, 2]  # loc: conv
    %r = Relu(%h) : f32[N, 4, 3, 2]
    %p = MaxPool(%r) {kernel=[2, 2], strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]} : f32[N, 4, 2, 1]
    %f = Reshape(%p) {shape=[-1, 8]} : f32[N, 8]
    %y = Gemm(%f, %fc.weight, %fc.bias) {trans_w=true} : f32[N, 2]  # loc: fc
    return %y
"""  # noqa: E501


def test_golden(golden: Callable[[str, str], None]) -> None:
    before = parse_graph(NETWORK)
    rewritten = MergeCollinear().run(before)
    rewritten.witness.check(before, rewritten.graph)
    assert_equivalent(before, rewritten.graph)
    assert_same_as_onnxruntime(rewritten.graph)
    golden("passes/rewrites/merge_collinear.txt", f"{before}\n\n{rewritten.graph}\n\n{rewritten.witness.describe()}")


def test_laws(check_rewrite: Callable[..., None]) -> None:
    check_rewrite(MergeCollinear(), redundant_networks(), examples=100, rewritten=True)
    check_rewrite(MergeCollinear(), graphs(), examples=40)


EVERYWHERE = ["Relu", "LeakyRelu", "Abs", "Neg", "Identity", "Clip", "Tanh"]
ON_MAPS = ["MaxPool", "AveragePool", "ReduceMean", "ReduceMax", "ReduceSum", "Flatten", "Reshape"]


@st.composite
def redundant_networks(draw: Draw) -> Graph:
    """Layers some of whose neurons are multiples of others, or without weights, behind activations and pools."""
    b, rng, n = Builder(), np.random.default_rng(draw(st.integers(0, 2**16))), draw(st.integers(0, 2))
    x = b.input("x", ("N", 2, 4, 3)[: 2 + n], "f64")
    for _ in range(draw(st.integers(2, 4))):
        x = _between(draw, b, _layer(draw, b, rng, x))
    return b.finish(_layer(draw, b, rng, x))


def _layer(draw: Draw, b: Builder, rng: np.random.Generator, x: Value) -> Value:
    n, inside, out = len(_shape(b, x)) - 2, _shape(b, x)[1], draw(st.integers(1, 4))
    w, bias = (rng.integers(-4, 5, size) / 4 for size in ((out, inside, *[2] * n), out))
    if draw(st.booleans()):
        bias[:] = 0
    for i in range(out):
        match draw(st.integers(0, 3)):
            case 1:
                j, c = draw(st.integers(0, i)), draw(st.sampled_from([1.0, 2.0, 0.3, -1.0]))
                w[i], bias[i] = c * w[j], c * bias[j]
            case 2:
                w[i], bias[i] = 0, draw(st.sampled_from([0.0, 0.0, 1.0]))
    w[:, rng.random(inside) < 0.2] = 0
    operands = x, b.param(w), b.param(bias) if bias.any() else None
    if not n:
        return b.op("Gemm", *operands, trans_w=True)
    return b.op("Conv", *operands, strides=(1,) * n, pads=(1,) * 2 * n, dilations=(1,) * n)


def _between(draw: Draw, b: Builder, x: Value) -> Value:
    for op in draw(st.lists(st.sampled_from(EVERYWHERE + ON_MAPS), max_size=3)):
        n, flat = len(_shape(b, x)) - 2, int(np.prod(_shape(b, x)[1:]))
        window = {"kernel": (2,) * n, "strides": (1,) * n, "pads": (0,) * n + (1,) * n, "dilations": (1,) * n}
        if op in EVERYWHERE:
            x = b.op(op, x, **({"low": 0.0} if op == "Clip" else {}))
        elif n and op.endswith("Pool"):
            x = b.op(op, x, **window)
        elif n and op.startswith("Reduce") and op != "Reshape":
            x = b.op(op, x, axes=tuple(range(2, 2 + n)), keepdims=draw(st.booleans()))
        elif n and op in ("Flatten", "Reshape"):
            x = b.op(op, x, **({"shape": draw(st.sampled_from([(-1, flat), (0, -1)]))} if op == "Reshape" else {}))
    return x


def _shape(b: Builder, x: Value) -> tuple[Any, ...]:
    type_ = b.type_of(x)
    assert isinstance(type_, TensorType)
    return type_.shape or ()


def mlp(first: np.ndarray, second: np.ndarray, dtype: str = "f64", activation: str = "Relu") -> Graph:
    """Two matrix products; weights are ``(in, out)``."""
    b = Builder()
    h = b.op("Gemm", b.input("x", ("N", len(first)), dtype), b.param(first, "w1"), name="h")
    return b.finish(b.op("Gemm", b.op(activation, h), b.param(second, "w2"), name="y"))


def widths(graph: Graph) -> list[int]:
    """Numbers of neurons of all layers."""
    return [graph[key].types[0].shape[1] for key in graph if graph[key].op in ("Gemm", "Conv")]


def test_the_square_sum_of_paths_may_rise() -> None:
    before = mlp(np.array([[1.0, 1.0]]), np.array([[1.0], [1.0]]))
    after = MergeCollinear().run(before).graph
    assert [n.value for n in PathNorm(q=(1.0, 2.0)).run(before).norms] == [2.0, pytest.approx(2**0.5)]
    assert [n.value for n in PathNorm(q=(1.0, 2.0)).run(after).norms] == [2.0, 2.0]


def test_equal_neurons_that_cancel_leave_one_that_is_dead() -> None:
    w = np.array([[1.0, 1.0], [2.0, 2.0]])
    rewritten = MergeCollinear().run(mlp(w, np.array([[0.5], [-0.5]])))
    assert widths(rewritten.graph) == [1, 1]
    assert not rewritten.graph["w2"].value.numpy().any()
    assert MergeCollinear().run(rewritten.graph).graph is rewritten.graph


def test_dead_neurons_make_others_dead() -> None:
    before = parse_graph("""
        %x = Input : f32[N, 1]
        %a = Param {value=[[1.0, 2.0]]} : f32[1, 2]
        %ba = Param {value=[0.5, 0.0]} : f32[2]
        %b = Param {value=[[0.0, 1.0], [1.0, 0.0]]} : f32[2, 2]
        %c = Param {value=[[1.0, 0.0], [0.0, 0.0]]} : f32[2, 2]
        %d = Param {value=[[1.0], [5.0]]} : f32[2, 1]
        %h = Gemm(%x, %a, %ba)
        %r = Relu(%h)
        %k = Gemm(%r, %b)
        %s = Relu(%k)
        %l = Gemm(%s, %c)
        %t = Relu(%l)
        %y = Gemm(%t, %d)
        return %y
    """)
    rewritten = MergeCollinear().run(before)
    rewritten.witness.check(before, rewritten.graph)
    assert widths(rewritten.graph) == [1, 1, 1, 1]
    assert rewritten.witness.describe() == "1 runs of layers narrowed"
    assert_equivalent(before, rewritten.graph)
    assert rewritten.graph["a"].value.numpy().tolist() == [[2.0]]


@pytest.mark.parametrize("activation", ["Tanh", "Sigmoid", "Softmax"])
def test_what_is_not_homogeneous_keeps_its_neurons(activation: str) -> None:
    before = mlp(np.array([[1.0, 1.0, 0.0]]), np.ones((3, 2)), activation=activation)
    assert MergeCollinear().run(before).graph is before


def test_what_something_else_reads_keeps_its_neurons() -> None:
    before = mlp(np.array([[1.0, 1.0, 0.0]]), np.ones((3, 2)))
    b = before.edit()
    b.output("h")
    shown = b.finish()
    assert MergeCollinear().run(shown).graph is shown


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32", "f64"])
def test_multiples_up_to_rounding(dtype: str) -> None:
    scalar = {name: Param.of([0.0], name).dtype for name in (dtype,)}[dtype]
    rng = np.random.default_rng(0)
    w = rng.standard_normal((20, 5)).astype(scalar)
    w = np.concatenate([w, (0.3 * w[:, :3].astype(np.float64)).astype(scalar)], 1)
    before = mlp(w, rng.uniform(0.5, 1, (8, 3)).astype(scalar), dtype)
    rewritten = MergeCollinear().run(before)
    rewritten.witness.check(before, rewritten.graph)
    assert widths(rewritten.graph) == [5, 3]


def test_multiples_up_to_rounding_that_cancel_stay() -> None:
    w = np.random.default_rng(0).standard_normal((20, 1)).astype(np.float32)
    w = np.concatenate([w, np.float32(0.3) * w], 1)
    before = mlp(w, np.array([[-0.3], [1.0]], np.float32), "f32")
    rewritten = MergeCollinear().run(before)
    assert rewritten.graph is before
    assert rewritten.witness.describe() == (
        "1 collinear neurons of 'h' stay: their outgoing weights cancel, or do not fit f32"
    )


def test_multiples_are_found_like_by_comparing_all_pairs() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        rows = rng.integers(-2, 3, (12, 2)) * rng.choice([0.5, 1.0, 3.0], (12, 1))
        found = positive_multiples(rows, 1e-15)
        for j, row in enumerate(rows):
            earlier = [
                i for i in range(j) if row.any() and rows[i].any() and row @ rows[i] > 0
                and row[0] * rows[i][1] == row[1] * rows[i][0]
            ]  # fmt: skip
            assert (found[j][0] if j in found else None) == (earlier[0] if earlier else None)
            if j in found:
                assert np.allclose(row, found[j][1] * rows[found[j][0]], rtol=1e-14, atol=0)


def test_tied_weights_stay_for_their_other_use() -> None:
    before = parse_graph("""
        %x = Input : f32[N, 2]
        %w = Param {value=[[1.0, 2.0], [3.0, 6.0]]} : f32[2, 2]
        %h = Gemm(%x, %w)
        %r = Relu(%h)
        %k = Gemm(%r, %w)
        %m = TopK(%k) {k=2}
        %y = Gemm(%m, %w)
        return %y
    """)
    rewritten = MergeCollinear().run(before)
    rewritten.witness.check(before, rewritten.graph)
    assert_equivalent(before, rewritten.graph)
    assert widths(rewritten.graph) == [1, 2, 2]
    assert rewritten.graph["w"].value is before["w"].value


def test_a_wrong_factor_is_caught() -> None:
    before = parse_graph(NETWORK)
    rewritten = MergeCollinear().run(before)
    b = rewritten.graph.edit()
    weight = rewritten.graph["fc.weight"].value.numpy().copy()
    weight[:, :2] -= before["fc.weight"].value.numpy()[:, 2:4]  # as if the second neuron were the first, not twice it
    b.replace_node(Value("fc.weight"), value=Param.of(weight))
    with pytest.raises(WitnessError, match="PL0803 "):
        rewritten.witness.check(before, b.finish())
