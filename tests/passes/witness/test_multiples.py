"""Graphs of multiples: what a change of weights does to a function is seen, whatever made the change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.errors import WitnessError
from pathlift.ir.graph import Graph, ModelInfo, Value
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Array, Param
from pathlift.passes.witness.multiples import check_multiples

WINDOW: dict[str, Any] = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
MIDDLE: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "Conv, 2 groups": ("Conv", (6, 2, 1, 2), {"groups": 2}),
    "Conv, dilated": ("Conv", (6, 4, 1, 2), {"dilations": (1, 3)}),
    "Conv, depthwise": ("Conv", (4, 1, 1, 2), {"groups": 4}),
    "Conv, depthwise, 2 each": ("Conv", (8, 1, 1, 2), {"groups": 4}),
    "ConvTranspose": ("ConvTranspose", (4, 6, 1, 2), {"output_padding": (0, 0)}),
    "ConvTranspose, 2 groups": ("ConvTranspose", (4, 3, 1, 2), {"output_padding": (0, 0), "groups": 2}),
}
"""Op, weights and attributes of the second of three layers; it reads 4 channels."""


def network(middle: str) -> tuple[Graph, Array, Array]:
    """A convolution, one of the middle with a bias, a ReLU, another convolution; and factors of what lies between."""
    rng, b = np.random.default_rng(0), Builder()
    op, shape, attrs = MIDDLE[middle]
    out = shape[0] if op == "Conv" else shape[1] * attrs.get("groups", 1)

    def weights(name: str, *extents: int) -> Value:
        return b.param(rng.standard_normal(extents).astype(np.float32), name)

    h = b.op("Conv", b.input("x", ("N", 3, "H", 20)), weights("a", 4, 3, 1, 1), **WINDOW)
    g = b.op(op, h, weights("b", *shape), weights("bias", out), **{**WINDOW, **attrs}, name="g")
    y = b.op("Conv", b.op("Relu", g), weights("c", 2, out, 1, 1), **WINDOW, name="y")
    return b.finish(y), 2 ** rng.uniform(-6, 6, 4), 2 ** rng.uniform(-6, 6, out)


def scaled(graph: Graph, **factors: Array) -> Graph:
    """Parameters times factors that broadcast to them."""
    b = graph.edit()
    for name, factor in factors.items():
        key = b.value(name)
        value = b[key].value
        assert value is not None
        b.replace_node(key, value=Param.of((value.numpy() * factor).astype(value.dtype)))
    return b.finish()


def rescaled(middle: str, h: Array, g: Array, *, swapped: bool = False) -> Graph:
    """The network with its channels times h and g; or with those read in another order than they are written."""
    graph, *_ = network(middle)
    op, shape, attrs = MIDDLE[middle]
    groups, read = attrs.get("groups", 1), h[::-1] if swapped else h
    if op == "Conv":
        inside = read.reshape(groups, 1, -1).repeat(shape[0] // groups, 1).reshape(shape[0], shape[1], 1, 1)
        between = g.reshape(-1, 1, 1, 1) / inside
    else:
        rows = g.reshape(groups, 1, -1).repeat(4 // groups, 1).reshape(4, shape[1], 1, 1)
        between = rows / read.reshape(-1, 1, 1, 1)
    return scaled(graph, a=h.reshape(-1, 1, 1, 1), b=between, bias=g, c=1 / g.reshape(1, -1, 1, 1))


def check(before: Graph, after: Graph, *factors: Array) -> None:
    check_multiples("it", before, after, np.log2(np.concatenate(factors)) if factors else np.zeros(0))


def refused(before: Graph, after: Graph, *factors: Array) -> str:
    with pytest.raises(WitnessError, match="PL0813") as error:
        check(before, after, *factors)
    return error.value.message


@pytest.mark.parametrize("middle", MIDDLE)
def test_a_rescaling_is_seen_through_without_being_told(middle: str) -> None:
    graph, h, g = network(middle)
    check(graph, rescaled(middle, h, g))
    check(rescaled(middle, h, g), graph, 1 / h, 1 / g)
    check(graph, rescaled(middle, h * 2.0**60, g / 2.0**60), h, g)
    with np.errstate(over="ignore"):
        assert "not finite" in refused(graph, rescaled(middle, h * 2.0**200, g))


@pytest.mark.parametrize("middle", MIDDLE)
def test_channels_in_another_order(middle: str) -> None:
    graph, h, g = network(middle)
    assert "node 'g'" in refused(graph, rescaled(middle, h, g, swapped=True), h, g)
    assert "node 'y'" in refused(graph, scaled(graph, bias=g, b=between(middle, g), c=1 / g[::-1, None, None]), h, g)


def between(middle: str, g: Array) -> Array:
    op, shape, attrs = MIDDLE[middle]
    groups = attrs.get("groups", 1)
    if op == "Conv":
        return g.reshape(-1, 1, 1, 1)
    return g.reshape(groups, 1, -1).repeat(4 // groups, 1).reshape(4, shape[1], 1, 1)


@pytest.mark.parametrize("middle", MIDDLE)
@pytest.mark.parametrize("name", ["a", "b", "bias", "c"])
def test_a_parameter_that_was_forgotten_or_is_scaled_the_other_way(middle: str, name: str) -> None:
    graph, h, g = network(middle)
    after = rescaled(middle, h, g)
    old, new = (x[x.edit().value(name).node].value.numpy() for x in (graph, after))  # type: ignore[union-attr]  # a parameter has a value
    for factor in (old / new, (old / new) ** 2):
        refused(graph, scaled(after, **{name: factor}), h, g)


@pytest.mark.parametrize("middle", MIDDLE)
def test_one_channel_a_little_off(middle: str) -> None:
    graph, h, g = network(middle)
    little = np.ones_like(g)
    little[1] = 1 + 1e-4
    refused(graph, scaled(rescaled(middle, h, g), bias=little), h, g)


MLP = """
    %x = Input : f32[N, 2]
    %w = Param {value=[[1.0, 2.0, 0.0], [3.0, -2.0, 0.0]]} : f32[2, 3]
    %b = Param {value=[-4.0, 1.0, 0.0]} : f32[3]
    %h = Gemm(%x, %w, %b)
    %r = Relu(%h)
    %v = Param {value=[[0.5], [-1.0], [3.0]]} : f32[3, 1]
    %y = Gemm(%r, %v)
    return %y
"""


def test_what_is_always_zero_may_be_read_with_any_weight() -> None:
    graph = parse_graph(MLP)
    check(graph, scaled(graph, v=np.array([[1.0], [1.0], [0.0]])))
    assert "'y'" in refused(graph, scaled(graph, v=np.array([[1.0], [0.0], [1.0]])))
    # Nothing but what the first zero reads may become zero, unless nothing reads it in turn.
    assert "'y'" in refused(graph, scaled(graph, w=np.array([1.0, 0.0, 1.0]), b=np.array([1.0, 0.0, 1.0])))
    unread = scaled(graph, v=np.array([[1.0], [0.0], [1.0]]))
    check(unread, scaled(unread, w=np.array([1.0, 0.0, 1.0]), b=np.array([1.0, 0.0, 1.0])))
    alive = parse_graph(MLP.replace("1.0, 0.0]} : f32[3]", "1.0, 5.0]} : f32[3]"))
    assert "'h'" in refused(graph, alive)


def test_signs_stay() -> None:
    graph = parse_graph(MLP)
    flipped = scaled(
        graph, w=np.array([-1.0, 1.0, 1.0]), b=np.array([-1.0, 1.0, 1.0]), v=np.array([[-1.0], [1.0], [1.0]])
    )
    assert "'h'" in refused(graph, flipped)


@pytest.mark.parametrize("op", ["Tanh(%h)", "Clip(%h) {low=0.0, high=6.0}", "Softmax(%h)"])
def test_what_is_not_homogeneous_fixes_the_scale(op: str) -> None:
    graph = parse_graph(MLP.replace("Relu(%h)", op))
    factors = np.array([2.0, 4.0, 1.0])
    assert "'r'" in refused(graph, scaled(graph, w=factors, b=factors, v=1 / factors[:, None]), factors)


def test_a_node_without_a_rule_must_read_what_it_read() -> None:
    node = 'Opaque(%h) {op_type="F", reason="it is custom", proto=b64""} : f32[N, 3]'
    graph, factors = parse_graph(MLP.replace("Relu(%h)", node)), np.array([2.0, 4.0, 1.0])
    check(graph, graph)
    assert "'r' (Opaque) has no rule" in refused(graph, scaled(graph, w=factors, b=factors))
    check(graph, scaled(graph, b=np.array([1.0, 1.0, 7.0])))  # zero times 7


def test_what_a_caller_may_replace_is_any_number() -> None:
    b = parse_graph(MLP.replace("-4.0, 1.0, 0.0", "0.0, 0.0, 0.0")).edit()
    b.info = ModelInfo(ir_version=10, overridable=("b",))
    graph, factors = b.finish(), np.array([2.0, 4.0, 1.0])
    assert "'h'" in refused(graph, scaled(graph, w=factors, v=1 / factors[:, None]), factors)
    assert "a caller may replace" in refused(graph, scaled(graph, b=factors))


def test_an_output_keeps_its_scale() -> None:
    graph = parse_graph(MLP)
    assert "the output 'y'" in refused(graph, scaled(graph, v=np.array(2.0)))


def test_positions_may_have_factors_of_their_own() -> None:
    """Also where an axis is longer than what is tried at first."""
    graph = parse_graph(
        """
        %x = Input : f32[N, 2, 9]
        %a = Param {value=[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 0.0]]} : f32[1, 9]
        %h = Mul(%x, %a)
        %f = Flatten(%h)
        %r = Relu(%f)
        %b = Param {value=VALUES} : f32[18]
        %y = Mul(%r, %b)
        return %y
    """.replace("VALUES", str([float(i) for i in range(1, 19)]))
    )
    factors = 2.0 ** np.arange(9)
    check(graph, scaled(graph, a=factors, b=np.tile(1 / factors, 2)), factors)
    assert "'y'" in refused(graph, scaled(graph, a=factors, b=np.tile(1 / factors, 2)[::-1]), factors)
    keep = np.ones(18)
    keep[[8, 17]] = 0
    check(graph, scaled(graph, b=keep))


def test_numbers_without_all_their_digits_are_left_out() -> None:
    graph = parse_graph(MLP.replace("f32", "f16").replace("[[1.0, 2.0, 0.0]", "[[1.0, 2.0, 3e-7]"))
    factors = np.array([3.0, 0.7, 0.7])
    check(graph, scaled(graph, w=factors, b=factors, v=1 / factors[:, None]), factors)


def test_zeros_at_the_border_of_an_axis_that_is_longer_than_what_is_tried_first() -> None:
    graph = parse_graph("""
        %x = Input : f32[N, 1, 9]
        %a = Param {value=[[[3.0]]]} : f32[1, 1, 1]
        %h = Conv(%x, %a) {strides=[1], pads=[0, 0], dilations=[1]}
        %p = Pad(%h) {pads=[0, 0, 2, 0, 0, 0], value=0.0}
        %v = Param {value=[[[5.0]]]} : f32[1, 1, 1]
        %y = Conv(%p, %v) {strides=[1], pads=[0, 0], dilations=[1]}
        return %y
    """)
    check(graph, scaled(graph, a=np.array(2.0), v=np.array(0.5)), np.array([2.0]))
    assert "'y'" in refused(graph, scaled(graph, a=np.array(2.0)), np.array([2.0]))
