"""Supported regions: where they lie, what bounds them, and that their path-norms are those of the parts built alone."""

from collections.abc import Mapping
from typing import Any

import networkx as nx
import numpy as np
import onnx_ir
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pathlift.frontend.export import export
from pathlift.frontend.load import load
from pathlift.ir.builder import Builder
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Array, TensorType
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.path_norm.support import support
from pathlift.passes.regions.supported import Cut, End, NodeRef, Region, Regions, Skipped, Start, supported_regions
from pathlift.passes.rewrites.strip_head import StripHead
from pathlift.testing import assert_close, execute
from pathlift.testing.strategies import feeds, graphs
from pathlift.testing.zoo import transformers


def find(graph: Graph | str, **sizes: int) -> Regions:
    return supported_regions(parse_graph(graph) if isinstance(graph, str) else graph, sizes)


def norm(region: Region, q: float = 1.0) -> float:
    value = PathNorm((q,)).run(region.graph).norms[0].value
    assert value is not None
    return value


def per_output(graph: Graph) -> Mapping[str, Array]:
    outputs = PathNorm().run(graph).norms[0].outputs
    return {name: 10.0 ** logs.numpy() for name, logs in outputs.items()}


def alive(graph: Graph) -> Graph:
    """The graph with every value that nothing reads as an output."""
    unread = (Value(key, port) for key in graph for port in range(len(graph[key].types)) if not graph.users(key))
    return graph.edit().finish(*(v for v in unread if v not in graph.outputs))


OPS = {"Gemm", "Conv", "Add", "Sum", "Relu", "Gelu", "Product", "Softmax"}
NETWORKS = graphs(batch=1, max_nodes=20, ops=OPS).map(alive)


# ---- laws


@given(st.data())
def test_a_region_computes_what_the_network_computes_there(data: st.DataObject) -> None:
    """From the values that enter, those that leave."""
    graph = StripHead().run(data.draw(NETWORKS)).graph
    found = find(graph).found
    boundary = {name: None for r in found for name in (*starts(r), *ends(r))}
    builder = graph.edit()
    builder.outputs = [builder.value(name) for name in boundary]
    values = execute(builder.finish(), data.draw(feeds(graph)))
    for region in found:
        actual = execute(region.graph, {name: values[name] for name in starts(region)})
        assert_close(actual, {name: values[name] for name in ends(region)}, rtol=1e-12)


@given(NETWORKS)
def test_every_supported_layer_is_in_one_region(graph: Graph) -> None:
    verdict = support(StripHead().run(graph).graph)
    found = find(graph)
    assert not found.skipped
    assert sorted(layer for r in found.found for layer in r.layers) == sorted(graph[k].label for k in verdict.weighted)


@given(NETWORKS)
def test_no_path_leaves_a_region_and_comes_back(graph: Graph) -> None:
    for region in find(graph).found:
        inside = set(region.nodes)
        after = set().union(*(nx.descendants(graph.nx, key) for key in inside))
        before = set().union(*(nx.ancestors(graph.nx, key) for key in inside))
        assert not (after & before) - inside


@given(graphs(batch=1, homogeneous=True))
def test_nothing_is_cut_from_a_supported_network(graph: Graph) -> None:
    whole = per_output(graph)
    for region in find(graph).found:
        assert all(start.cut_by is None for start in region.starts)
        assert all(end.is_output and not end.read_by for end in region.ends)
        for name, values in per_output(region.graph).items():
            np.testing.assert_allclose(values, whole[name], rtol=1e-9)


def starts(region: Region) -> list[str]:
    assert [start.name for start in region.starts] == [region.graph[key].names[0] for key in region.graph.inputs]
    return [start.name for start in region.starts]


def ends(region: Region) -> list[str]:
    assert [end.name for end in region.ends] == [region.graph.name_of(v) for v in region.graph.outputs]
    return [end.name for end in region.ends]


# ---- architectures, against norms computed by hand


def test_the_perceptrons_of_a_transformer() -> None:
    """Two pre-norm blocks; the perceptrons' activation is a ReLU. A perceptron's region holds the skip around it."""
    torch.manual_seed(0)
    encoder = transformers.encoder(8, 2, 2, causal=False)
    perceptrons: list[Any] = [encoder[1].body, encoder[3].body]
    for perceptron in perceptrons:
        perceptron[2] = torch.nn.ReLU()
    graph = load(onnx_ir.to_proto(export(encoder, ((2, 5, 8),))))
    found = [r for r in find(graph).found if len(r.layers) == 2]
    for perceptron, region in zip(perceptrons, found, strict=True):
        _, first, _, second = perceptron
        w1, b1, w2, b2 = (p.detach().double().abs().numpy() for p in (*first.parameters(), *second.parameters()))
        per_token = w2 @ (w1.sum(1) + b1) + b2 + 1  # the skip adds a path of weight 1 to each feature
        (logs,) = PathNorm().run(region.graph).norms[0].outputs.values()
        np.testing.assert_allclose(10 ** logs.numpy(), np.broadcast_to(per_token, (1, 5, 8)), rtol=1e-6)
        normalized, stream = region.starts
        assert normalized.cut_by is not None
        assert normalized.cut_by.op == "LayerNormalization"
        assert stream.cut_by is not None
        assert "in another region" in stream.cut_by.reason
        assert "(LayerNormalization) lies between" in stream.cut_by.reason


def test_the_linear_maps_between_gelus() -> None:
    found = find("""
        %x = Input : f32[N, 2]
        %w1 = Param {value=[[1.0, -2.0], [0.5, 3.0]]} : f32[2, 2]
        %b1 = Param {value=[-1.0, 0.0]} : f32[2]
        %h1 = Gemm(%x, %w1, %b1)
        %g1 = Gelu(%h1)
        %w2 = Param {value=[[4.0], [-5.0]]} : f32[2, 1]
        %h2 = Gemm(%g1, %w2)
        %g2 = Gelu(%h2)
        %h3 = Mul(%g2, %b1)
        return %h3
    """).found
    assert [r.layers for r in found] == [("h1",), ("h2",), ("h3",)]
    assert [norm(r) for r in found] == pytest.approx([7.5, 9.0, 1.0])
    assert [norm(r, 2.0) ** 2 for r in found] == pytest.approx([15.25, 41.0, 1.0])
    reason = "Gelu inside the network is not homogeneous, nor 1-Lipschitz with f(0) = 0"
    assert [r.starts for r in found] == [
        (Start("x", None),),
        (Start("g1", Cut("g1", "Gelu", reason)),),
        (Start("g2", Cut("g2", "Gelu", reason)),),
    ]
    assert [r.ends for r in found] == [
        (End("h1", (NodeRef("g1", "Gelu"),), is_output=False),),
        (End("h2", (NodeRef("g2", "Gelu"),), is_output=False),),
        (End("h3", (), is_output=True),),
    ]


SQUEEZE_AND_EXCITE = """
    %x = Input : f32[N, 2, 2, 2]
    %k1 = Param {value=[[[[1.0]], [[-2.0]]], [[[3.0]], [[4.0]]]]} : f32[2, 2, 1, 1]
    %y = Conv(%x, %k1) {strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]}
    %pooled = ReduceMean(%y) {axes=[2, 3]}
    %squeeze = Param {value=[[[[0.5]], [[-1.0]]]]} : f32[1, 2, 1, 1]
    %s = Conv(%pooled, %squeeze) {strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]}
    %r = Relu(%s)
    %excite = Param {value=[[[[2.0]]], [[[-3.0]]]]} : f32[2, 1, 1, 1]
    %e = Conv(%r, %excite) {strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]}
    %gate = Sigmoid(%e)
    %scaled = Product(%y, %gate)
    %k2 = Param {value=[[[[1.0]], [[1.0]]]]} : f32[1, 2, 1, 1]
    %z = Conv(%scaled, %k2) {strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]}
    return %z
"""


def test_squeeze_and_excitation() -> None:
    trunk, rest = find(SQUEEZE_AND_EXCITE).found
    assert trunk.layers == ("y", "s", "e")
    assert trunk.nodes == ("y", "pooled", "s", "r", "e")
    np.testing.assert_allclose(per_output(trunk.graph)["y"], np.broadcast_to([[[3]], [[7]]], (1, 2, 2, 2)))
    np.testing.assert_allclose(per_output(trunk.graph)["e"], 8.5 * np.reshape([2, 3], (1, 2, 1, 1)))
    assert norm(trunk) == pytest.approx(4 * (3 + 7) + 8.5 * (2 + 3))
    assert trunk.ends == (
        End("y", (NodeRef("scaled", "Product"),), is_output=False),
        End("e", (NodeRef("gate", "Sigmoid"),), is_output=False),
    )
    assert norm(rest) == pytest.approx(8)
    assert rest.starts == (
        Start("scaled", Cut("scaled", "Product", "a product of two activations is not piecewise linear")),
    )


# ---- boundaries


def dense(b: Builder, x: Value | str, name: str, out: int = 2) -> Value:
    (*_, width) = b.type_of(x).shape  # type: ignore[union-attr, misc]  # a tensor of known shape
    assert isinstance(width, int)
    return b.op("Gemm", x, b.param(np.ones((width, out), np.float32)), name=name)


def test_a_value_may_be_an_output_and_be_read() -> None:
    b = Builder()
    y = dense(b, b.input("x", (1, 2)), "y")
    b.op("Tanh", y, name="dead")
    first, second = find(b.finish(y, dense(b, b.op("Gelu", y, name="g"), "z"))).found
    assert first.ends == (End("y", (NodeRef("g", "Gelu"),), is_output=True),)
    assert second.ends == (End("z", (), is_output=True),)


def test_a_value_that_enters_twice_is_one_input() -> None:
    b = Builder()
    g = b.op("Gelu", b.input("x", (1, 2)), name="g")
    (region,) = find(b.finish(dense(b, b.op("Add", g, g), "y"))).found
    assert starts(region) == ["g"]
    assert norm(region) == 8


def test_nodes_with_several_outputs() -> None:
    b = Builder()
    g = b.op("Gelu", dense(b, b.input("x", (1, 2)), "h", 6))
    opaque: dict[str, Any] = {"op_type": "Halves", "reason": "it is custom", "proto": b""}
    types = [TensorType(np.dtype(np.float32), (1, n)) for n in (2, 4)]
    low, high = b.node("Opaque", g, names=("low", "high"), types=types, **opaque)
    left, right, _ = b.node("Split", dense(b, high, "y", 4), names=("left", "right", "_"), axis=1, parts=(2, 1, 1))
    found = find(b.finish(left, b.op("Gelu", right, name="end"), dense(b, low, "z"))).found
    assert [(starts(r), ends(r)) for r in found] == [(["x"], ["h"]), (["high"], ["left", "right"]), (["low"], ["z"])]
    assert found[1].starts[0].cut_by == found[2].starts[0].cut_by == Cut("low", "Halves", "it is custom")


def test_a_parameter_of_several_regions_is_one_object() -> None:
    b = Builder()
    w = b.param([[1.0, 2.0], [3.0, 4.0]], "w")
    h = b.op("Gemm", b.op("Gemm", b.input("x", (1, 2)), w), w)
    found = find(b.finish(b.op("Gemm", b.op("Gelu", h), w))).found
    assert len(found) == 2
    assert all(r.graph["w"].value is b[w].value for r in found)


def test_names_and_origins_are_the_network_s() -> None:
    graph = parse_graph("""
        %x = Input : f32[N, 2]
        %w = Param {value=[[1.0], [2.0]]} : f32[2, 1]
        %h = Gemm(%x, %w)  # loc: fc1
        %g = Gelu(%h)  # loc: act
        return %g
    """)
    (region,) = find(graph).found
    assert region.nodes == region.layers == ("fc1",)
    assert region.graph["h"].origin == graph["h"].origin
    assert region.ends == (End("h", (NodeRef("act", "Gelu"),), is_output=False),)


def test_what_parameters_alone_compute_is_part_of_the_regions_that_read_it() -> None:
    b = Builder()
    w = b.op("Transpose", b.param([[1.0, 2.0], [3.0, 4.0]], "w"), perm=(1, 0), name="wt")
    position = b.op("Relu", b.op("Gemm", b.param([[5.0, -6.0]], "p"), w), name="position")
    h = b.op("Add", b.op("Gemm", b.input("x", (1, 2)), w, name="h"), position, name="first")
    y = b.op("Gemm", b.op("Add", b.op("Gelu", h), position, name="second"), w, name="y")
    found = find(b.finish(y)).found
    assert [r.nodes for r in found] == [("h", "first"), ("second", "y")]
    assert [starts(r) for r in found] == [["x"], ["gelu"]]
    # |p|·|wᵀ| = (17, 39); the columns of wᵀ add up to 3 and 7, its rows to 4 and 6
    assert [norm(r) for r in found] == [(3 + 17) + (7 + 39), (1 + 17) * 4 + (1 + 39) * 6]


def test_what_a_refused_node_makes_of_parameters_is_a_start() -> None:
    b = Builder()
    bias = b.op("Gelu", b.param([[1.0, 2.0]]), name="bias")
    (region,) = find(b.finish(b.op("Add", dense(b, b.input("x", (1, 2)), "h"), bias, name="y"))).found
    assert region.nodes == ("h", "y")
    assert starts(region) == ["x", "bias"]


def test_weights_that_depend_on_the_input_cut() -> None:
    b = Builder()
    x = b.input("x", (2, 2))
    y = b.op("Gemm", dense(b, x, "h"), b.op("Tanh", x), name="y")
    first, second = find(b.finish(dense(b, y, "z"))).found
    assert (first.nodes, second.nodes) == (("h",), ("z",))
    reason = "a parameter of this node is computed from the network's input"
    assert second.starts == (Start("y", Cut("y", "Gemm", reason)),)


def test_parts_without_weights_are_no_regions() -> None:
    b = Builder()
    scores = b.op("Div", b.op("Gelu", b.input("x", (1, 2))), b.param(8.0))
    assert find(b.finish(b.op("Gelu", b.op("Add", scores, b.param([1.0, 2.0]))))) == Regions((), (), ())


def test_integers_are_no_neurons() -> None:
    b = Builder()
    ids = b.op("Slice", b.input("ids", (1, 4), "i64"), axes=(1,), starts=(0,), ends=(2,), steps=(1,), name="first")
    (region,) = find(b.finish(dense(b, b.op("Cast", ids, to="f32", name="real"), "y"))).found
    assert region.nodes == ("real", "y")
    assert region.starts == (Start("first", Cut("first", "Slice", "its values are no real numbers")),)


def test_a_final_softmax_is_left_out_and_said() -> None:
    b = Builder()
    found = find(b.finish(b.op("Softmax", dense(b, b.input("x", (1, 2)), "y"), name="probabilities")))
    assert [ends(r) for r in found.found] == [["probabilities"]]
    assert found.assumptions == ("the final Softmax 'probabilities' is left out",)


# ---- extents

SYMBOLIC = """
    %x = Input : f32[N, H, 2]
    %w = Param {value=[[1.0], [2.0]]} : f32[2, 1]
    %h = Opaque(%x) {op_type="Sin", reason="a sine", proto=b64""} : f32[N, H, 2]
    %y = Gemm(%h, %w)
    %n = Opaque(%y) {op_type="NonZero", reason="its extents depend on data", proto=b64""} : f32[K, 2]
    %z = Gemm(%n, %w)
    return %y, %z
"""


@pytest.mark.parametrize("unknown", ["f32[K, 2]", "f32[...]", "?[1, 2]"])
def test_a_region_that_starts_at_an_unknown_extent_or_type_is_skipped_and_named(unknown: str) -> None:
    regions = find(SYMBOLIC.replace("f32[K, 2]", unknown), H=5)
    assert [norm(r) for r in regions.found] == [15]
    assert regions.skipped == (Skipped(("z",), ("z",), f"it starts at 'n' ({unknown}), whose type is not known"),)


def test_extents_that_are_missing_are_asked_for() -> None:
    with pytest.raises(UsageError, match="PL0412 the extent of H"):
        find(SYMBOLIC)
