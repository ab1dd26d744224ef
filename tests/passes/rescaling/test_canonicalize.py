"""Canonical forms by hand: networks of a few neurons, whose factors can be told by looking at them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pathlift.ir.errors import InvalidModelError, UnsupportedError, UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.passes.rescaling.canonicalize import Canonicalize
from pathlift.passes.rescaling.random_rescale import RandomRescale
from pathlift.testing import assert_equivalent, execute

# Two neurons; the paths to them add up to |1| + |3| + |4| = 8, and |2| + |-2| + |0| = 4.
CHAIN = """
    %x = Input : f32[N, 2]
    %w = Param {value=[[1.0, 2.0], [3.0, -2.0]]} : f32[2, 2]
    %b = Param {value=[-4.0, 0.0]} : f32[2]
    %h = Gemm(%x, %w, %b)
    %r = Relu(%h)
    %v = Param {value=[[0.5], [-1.0]]} : f32[2, 1]
    %y = Gemm(%r, %v)
    return %y
"""

# A batch norm between them: its input has a scale of its own, which its mean has too, and its variance never.
NORMALIZED = """
    %x = Input : f32[N, 1, 4]
    %w = Param {value=[[[2.0]], [[4.0]]]} : f32[2, 1, 1]
    %h = Conv(%x, %w) {strides=[1], pads=[0, 0], dilations=[1]}
    %gamma = Param {value=[6.0, 8.0]} : f32[2]
    %beta = Param {value=[1.0, 1.0]} : f32[2]
    %mean = Param {value=[1.0, 0.0]} : f32[2]
    %var = Param {value=[3.5, 15.5]} : f32[2]
    %n = BatchNormalization(%h, %gamma, %beta, %mean, %var) {epsilon=0.5}
    %r = Relu(%n)
    %v = Param {value=[[[8.0], [9.0]]]} : f32[1, 2, 1]
    %y = Conv(%r, %v) {strides=[1], pads=[0, 0], dilations=[1]}
    return %y
"""

# The neuron is never reached: its batch norm adds 1 - 3·2 all the same.
UNREACHED = """
    %x = Input : f32[N, 1, 4]
    %w = Param {value=[[[0.0]]]} : f32[1, 1, 1]
    %h = Conv(%x, %w) {strides=[1], pads=[0, 0], dilations=[1]}
    %gamma = Param {value=[3.0]} : f32[1]
    %beta = Param {value=[1.0]} : f32[1]
    %mean = Param {value=[2.0]} : f32[1]
    %var = Param {value=[0.5]} : f32[1]
    %y = BatchNormalization(%h, %gamma, %beta, %mean, %var) {epsilon=0.5}
    return %y
"""

DEAD = CHAIN.replace("[[1.0, 2.0], [3.0, -2.0]]", "[[1.0, 0.0], [3.0, 0.0]]")


def weights(graph: Graph) -> dict[str, object]:
    values = {key: graph[key].value for key in graph.params}
    return {key: v.numpy().reshape(-1).tolist() for key, v in values.items() if v is not None}


def test_every_neuron_has_norm_one(golden: Callable[[str, str], None]) -> None:
    graph = parse_graph(CHAIN)
    after = Canonicalize().run(graph).graph
    golden("passes/rescaling/canonicalize.txt", f"{graph}\n\nbecomes\n\n{after}")
    assert weights(after) == {"w": [0.125, 0.5, 0.375, -0.5], "b": [-0.5, 0.0], "v": [4.0, -4.0]}


def test_through_a_batch_norm() -> None:
    # The convolution's outputs have norms 2 and 4; s = 3 and 2, the shift 1 - 3·1 and 1, so the norms are 8 and 9.
    after = Canonicalize().run(parse_graph(NORMALIZED)).graph
    expected = {"w": [1.0, 1.0], "gamma": [6 * 2 / 8, 8 * 4 / 9], "beta": [1 / 8, 1 / 9], "mean": [0.5, 0.0]}
    expected |= {"var": [3.5, 15.5], "v": [64.0, 81.0]}
    for name, values in weights(after).items():
        assert np.allclose(values, expected[name], rtol=1e-6), name  # type: ignore[arg-type]  # numbers, or lists of them


def test_a_neuron_without_paths_loses_its_weights() -> None:
    graph = parse_graph(DEAD)
    rewritten = Canonicalize().run(graph)
    assert weights(rewritten.graph)["v"] == [4.0, 0.0]
    assert "1 of them dead" in rewritten.witness.describe()
    assert_equivalent(graph, rewritten.graph)


def test_a_batch_norm_may_read_a_neuron_without_paths() -> None:
    graph = parse_graph(UNREACHED)
    after = Canonicalize().run(graph).graph
    assert weights(after) == {"w": [0.0], "gamma": [6.0], "beta": [1.0], "mean": [1.0], "var": [0.5]}
    assert_equivalent(graph, after)


def test_the_second_time_changes_nothing() -> None:
    once = Canonicalize().run(parse_graph(NORMALIZED)).graph
    assert Canonicalize().run(once).graph is once


def test_powers_of_two_change_no_bit() -> None:
    graph = parse_graph(NORMALIZED)
    after = Canonicalize(exact=True).run(graph).graph
    x = {"x": np.linspace(-3, 7, 8, dtype=np.float32).reshape(2, 1, 4)}
    assert np.array_equal(execute(after, x)["y"], execute(graph, x)["y"])
    rescaled = RandomRescale(exact=True, octaves=20).run(graph).graph
    assert weights(Canonicalize(exact=True).run(rescaled).graph) == weights(after)


@pytest.mark.parametrize("norm", ["l3", "", "lq:", "lq:nan", "lq:-1", "lq:1e9", "L1"])
def test_an_unknown_norm_is_refused(norm: str) -> None:
    with pytest.raises(UsageError, match=r"PL0450.*lq:Q"):
        Canonicalize(norm=norm).run(parse_graph(CHAIN))


def test_nan_is_refused_by_name() -> None:
    with pytest.raises(InvalidModelError, match="PL0180 tensor 'v': 1 of 2"):
        Canonicalize().run(parse_graph(CHAIN.replace("0.5", "nan")))


def test_what_a_format_cannot_hold_is_refused_by_name() -> None:
    graph = parse_graph(CHAIN.replace("f32", "f16").replace("-4.0", "60000.0").replace("0.5", "2000.0"))
    after = Canonicalize().run(graph).graph
    with pytest.raises(UnsupportedError, match=r"PL0332 .*'v': rescaled weights overflow in float16"):
        after["v"].value.numpy()  # type: ignore[union-attr]  # a parameter has a value
