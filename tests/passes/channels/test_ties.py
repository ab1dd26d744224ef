"""Factors of neurons, where a signal stands in a parameter's place."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.ir.text import parse_graph
from pathlift.passes.channels.symmetry import symmetry
from pathlift.passes.rescaling.random_rescale import RandomRescale
from pathlift.testing.assertions import assert_equivalent

BIAS = """
    %x = Input : f32[1, 1, 1, 3]
    %z = Input : f32[1]
    %k = Param {value=[[[[1.0]]], [[[-2.0]]], [[[3.0]]]]} : f32[3, 1, 1, 1]
    %m = Param {value=[[1.0, 2.0, 4.0]]} : f32[1, 3]
    %b = Gemm(%z, %m)
    %h = Conv(%x, %k, %b) {strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]}
    %r = Relu(%h)
    %w = Param {value=[[[[1.0]], [[2.0]], [[-3.0]]]]} : f32[1, 3, 1, 1]
    %y = Conv(%r, %w) {strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]}
    return %y
"""


POINTWISE = "{strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]"
MIDDLES = {
    "sigmoid": (0, "%g = Sigmoid(%h)"),
    "relu": (2, "%g = Relu(%h)"),
    "prelu": (2, "%s = Param {value=[0.5, -2.0]} : f32[2]\n%g = PRelu(%h, %s)"),
    "padding by a constant": (0, "%g = Pad(%h) {pads=[0, 0, 0, 1], value=-0.5}"),
    "padding by zeros": (3, "%g = Pad(%h) {pads=[0, 0, 0, 1]}"),
    "a factor": (4, "%s = Param {value=[0.5, -2.0]} : f32[2]\n%g = Mul(%h, %s)"),
    "a divisor": (4, "%s = Param {value=[0.5, -2.0]} : f32[2]\n%g = Div(%h, %s)"),
    "a skip": (2, "%s = Param {value=[[0.5, -2.0], [1.0, 3.0]]} : f32[2, 2]\n%r = Gemm(%h, %s)\n%g = Add(%r, %h)"),
    "channels in another order": (2, "%g = Gather(%h) {axis=1, indices=[1, 0]}"),
    "a mean over channels": (1, "%r = ReduceMean(%h) {axes=[1]}\n%g = Expand(%r) {shape=[1, 2]}"),
}


@pytest.mark.parametrize("name", MIDDLES)
def test_what_lies_between_two_layers_says_which_neurons_are_free(name: str) -> None:
    """So many factors are free, and a copy rescaled by them computes the same."""
    count, middle = MIDDLES[name]
    values = "[1.0], [2.0], [-3.0]" if "padding" in name else "[1.0], [2.0]"
    graph = parse_graph(f"""
        %x = Input : f32[1, 2]
        %w = Param {{value=[[1.0, -2.0], [3.0, 4.0]]}} : f32[2, 2]
        %b = Param {{value=[0.5, -1.0]}} : f32[2]
        %h = Gemm(%x, %w, %b)
        {middle}
        %v = Param {{value=[{values}]}} : f32[{values.count("[")}, 1]
        %y = Gemm(%g, %v)
        return %y
    """)
    assert symmetry(graph).count == count
    for seed in range(3):
        assert_equivalent(graph, RandomRescale(seed=seed, octaves=4, exact=True).run(graph).graph)


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_channels_of_groups_are_those_that_their_weights_meet(op: str) -> None:
    weights = "[[[[1.0]], [[2.0]]], [[[3.0]], [[4.0]]], [[[5.0]], [[6.0]]], [[[7.0]], [[8.0]]]]"
    padding = "" if op == "Conv" else ", output_padding=[0, 0]"
    graph = parse_graph(f"""
        %x = Input : f32[1, 1, 2, 2]
        %k = Param {{value=[[[[1.0]]], [[[-2.0]]], [[[3.0]]], [[[4.0]]]]}} : f32[4, 1, 1, 1]
        %h = Conv(%x, %k) {POINTWISE}}}
        %r = Relu(%h)
        %w = Param {{value={weights}}} : f32[4, 2, 1, 1]
        %g = {op}(%r, %w) {POINTWISE}, groups=2{padding}}}
        %s = Relu(%g)
        %v = Param {{value=[[[[1.0]], [[2.0]], [[-3.0]], [[0.5]]]]}} : f32[1, 4, 1, 1]
        %y = Conv(%s, %v) {POINTWISE}}}
        return %y
    """)
    assert symmetry(graph).count == 8
    for seed in range(3):
        assert_equivalent(graph, RandomRescale(seed=seed, octaves=4, exact=True).run(graph).graph)


def test_what_a_caller_may_replace_keeps_its_scale() -> None:
    text = """
        graph "g" {OVERRIDABLE}
        %x = Input : f32[1, 2]
        %w = Param {value=[[1.0, -2.0], [3.0, 4.0]]} : f32[2, 2]
        %h = Gemm(%x, %w)
        %r = Relu(%h)
        %v = Param {value=[[1.0], [2.0]]} : f32[2, 1]
        %y = Gemm(%r, %v)
        return %y
    """
    for names, count in (("", 2), ('overridable=["v"]', 0), ('overridable=["w"]', 0)):
        assert symmetry(parse_graph(text.replace("OVERRIDABLE", names))).count == count


def test_a_bias_from_the_input_is_tied_to_its_channel() -> None:
    """Also where the last axis is as long as that of channels."""
    graph = parse_graph(BIAS)
    found = symmetry(graph)
    assert found.count == 3
    assert [pin.reason for pin in found.pins] == ["a graph output"]
    assert_equivalent(graph, RandomRescale(seed=1, octaves=4, exact=True).run(graph).graph)


@pytest.mark.parametrize("node", ["PRelu(%h, %s)", "Mul(%h, %s)", "Gemm(%h, %s)"])
def test_a_parameter_from_the_input_fixes_what_it_meets(node: str) -> None:
    graph = parse_graph(f"""
        %x = Input : f32[2, 2]
        %w = Param {{value=[[1.0, 2.0], [3.0, 4.0]]}} : f32[2, 2]
        %h = Gemm(%x, %w)
        %s = Relu(%x)
        %g = {node}
        %v = Param {{value=[[1.0, 2.0], [3.0, 4.0]]}} : f32[2, 2]
        %y = Gemm(%g, %v)
        return %y
    """)
    found = symmetry(graph)
    assert found.count == 0
    assert found.pins[0].reason == "a parameter of this node is computed from the network's input"


def test_each_output_of_a_node_without_a_rule_has_its_own_shape() -> None:
    """The second one is read as what it is, so that what a layer makes of it is free."""
    found = symmetry(
        parse_graph("""
        graph "g" {opset=18, opsets={"a"=1}}
        %x = Input : f32[2, 3]
        %p, %q = Opaque(%x) {op_type="T", domain="a", version=1, reason="", proto=b64"AP8="} : f32[2], f32[1, 1, 2]
        %k = Param {value=[[[1.0]], [[2.0]]]} : f32[2, 1, 1]
        %h = Conv(%q, %k) {strides=[1], pads=[0, 0], dilations=[1]}
        %r = Relu(%h)
        %v = Param {value=[[[1.0], [3.0]]]} : f32[1, 2, 1]
        %y = Conv(%r, %v) {strides=[1], pads=[0, 0], dilations=[1]}
        return %y, %p
    """)
    )
    assert found.count == 2


def grouped(op: str, shape: tuple[int, ...], **attrs: Any) -> Graph:
    """A convolution of four channels that a layer computes and another one reads."""
    b, window = Builder(), {"strides": (1,), "pads": (0, 0), "dilations": (1,)}
    out = shape[0] if op == "Conv" else shape[1] * attrs.get("groups", 1)
    values = iter(np.random.default_rng(0).standard_normal(200).astype(np.float32))

    def weights(*extents: int) -> Value:
        return b.param(np.array([next(values) for _ in range(prod(extents))]).reshape(extents))

    h = b.op("Conv", b.input("x", ("N", 2, 9)), weights(4, 2, 1), **window)
    g = b.op(op, h, weights(*shape), **{**window, **attrs})
    return b.finish(b.op("Conv", b.op("Relu", g), weights(1, out, 1), name="y", **window))


@pytest.mark.parametrize(
    ("op", "shape", "attrs", "free"),
    [
        ("Conv", (6, 4, 2), {}, 4 + 6),
        ("Conv", (6, 4, 2), {"dilations": (3,)}, 4 + 6),
        ("Conv", (6, 2, 2), {"groups": 2}, 4 + 6),
        ("Conv", (4, 1, 2), {"groups": 4}, 4 + 4),
        ("Conv", (8, 1, 2), {"groups": 4}, 4 + 8),
        ("ConvTranspose", (4, 6, 2), {"output_padding": (0,)}, 4 + 6),
        ("ConvTranspose", (4, 3, 2), {"output_padding": (0,), "groups": 2}, 4 + 6),
        ("ConvTranspose", (4, 1, 2), {"output_padding": (0,), "groups": 4}, 4 + 4),
    ],
)
def test_every_channel_of_a_group_is_free(op: str, shape: tuple[int, ...], attrs: dict[str, Any], free: int) -> None:
    graph = grouped(op, shape, **attrs)
    assert symmetry(graph).count == free
    step = RandomRescale(seed=1, octaves=4).run(graph)
    assert_equivalent(graph, step.graph, rtol=1e-5)
    step.witness.check(graph, step.graph)
