"""Channels that carry nothing go, and nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.frontend.load import load
from pathlift.ir.errors import PathliftError, WitnessError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Param
from pathlift.passes.channels.groups import channel_groups
from pathlift.passes.channels.removal import remove
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.pruning.dead_channels import DeadChannels
from pathlift.testing import assert_equivalent, assert_same_as_onnxruntime, zoo
from pathlift.testing.assertions import assert_close, execute
from pathlift.testing.removal import masked, random_choice, with_zero_slices
from pathlift.testing.strategies import feeds, graphs

NETWORK = """
    %x = Input : f32[N, 2]
    %w = Param {value=[[1.0, 0.0, 2.0, 1.0], [3.0, 0.0, 1.0, 1.0]]} : f32[2, 4]
    %b = Param {value=[1.0, 0.0, 0.5, 1.0]} : f32[4]
    %h = Gemm(%x, %w, %b)
    %r = Relu(%h)
    %v = Param {value=[[1.0, 2.0, 0.0], [5.0, 1.0, 1.0], [0.0, 0.0, 3.0], [1.0, 1.0, 0.0]]} : f32[4, 3]
    %g = Gemm(%r, %v)
    %s = Relu(%g)
    %u = Param {value=[[1.0], [2.0], [0.0]]} : f32[3, 1]
    %y = Gemm(%s, %u)
    return %y
"""


def without(graph: Graph) -> Graph:
    rewritten = DeadChannels().run(graph)
    if rewritten.graph is not graph:
        rewritten.witness.check(graph, rewritten.graph)
    assert_equivalent(graph, rewritten.graph)
    return rewritten.graph


def shape(graph: Graph, name: str) -> tuple[int, ...]:
    value = graph[name].value
    assert value is not None
    return value.shape


def test_zeros_and_what_only_zeros_read_go() -> None:
    # The second of h is 0; the last of g is read by a zero, and the third of h by that one alone.
    small = without(parse_graph(NETWORK))
    assert [shape(small, name) for name in ("w", "b", "v", "u")] == [(2, 2), (2,), (2, 2), (2, 1)]
    assert_same_as_onnxruntime(small)
    assert PathNorm().run(small).norms[0].log10 == pytest.approx(PathNorm().run(parse_graph(NETWORK)).norms[0].log10)


def test_a_bias_or_an_activation_that_is_not_zero_keeps_a_channel() -> None:
    biased = parse_graph(NETWORK.replace("[1.0, 0.0, 0.5, 1.0]", "[1.0, 0.1, 0.5, 1.0]"))
    assert shape(without(biased), "w") == (2, 3)
    half = parse_graph(NETWORK.replace("%r = Relu", "%r = Sigmoid"))
    assert shape(without(half), "w") == (2, 3)


def test_one_channel_stays() -> None:
    dead = parse_graph(NETWORK.replace("[[1.0], [2.0], [0.0]]", "[[0.0], [0.0], [0.0]]"))
    rewritten = DeadChannels().run(dead)
    rewritten.witness.check(dead, rewritten.graph)
    assert [shape(rewritten.graph, name) for name in ("w", "v", "u")] == [(2, 1), (1, 1), (1, 1)]
    assert "2 dead channels stay" in rewritten.witness.describe()
    assert_equivalent(dead, rewritten.graph)


def test_nothing_to_remove() -> None:
    full = parse_graph(NETWORK.replace("0.0", "0.25"))
    assert DeadChannels().run(full).graph is full


def test_skips_keep_what_either_branch_carries() -> None:
    text = """
        %x = Input : f32[N, 2]
        %w = Param {value=[[1.0, 0.0, 0.0], [3.0, 0.0, 0.0]]} : f32[2, 3]
        %h = Gemm(%x, %w)
        %v = Param {value=[[1.0, 2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]} : f32[3, 3]
        %g = Gemm(%h, %v)
        %s = Add(%h, %g)
        %u = Param {value=[[1.0], [2.0], [4.0]]} : f32[3, 1]
        %y = Gemm(%s, %u)
        return %y
    """
    small = without(parse_graph(text))
    assert [shape(small, name) for name in ("w", "v", "u")] == [(2, 2), (2, 2), (2, 1)]


def test_the_witness_sees_a_channel_that_matters() -> None:
    before = parse_graph(NETWORK)
    rewritten = DeadChannels().run(before)
    builder = rewritten.graph.edit()
    builder.replace_node(Value("u"), value=Param.of(np.array([[1.0], [2.5]], np.float32)))
    with pytest.raises(WitnessError, match="PL0803"):
        rewritten.witness.check(before, builder.finish())


def check(data: Any, graph: Graph) -> None:
    graph = with_zero_slices(graph, np.random.default_rng(data.draw(st.integers(0, 99))))
    rewritten = DeadChannels().run(graph)
    if rewritten.graph is graph:
        return
    rewritten.witness.check(graph, rewritten.graph)
    x = data.draw(feeds(graph))
    try:
        expected = execute(graph, x)
    except PathliftError:
        return
    assert_close(execute(rewritten.graph, x), expected, rtol=1e-9)


@settings(max_examples=15)
@given(st.data())
def test_random_graphs(data: Any) -> None:
    check(data, data.draw(graphs()))


@pytest.mark.slow
@settings(max_examples=200)
@given(st.data())
def test_many_random_graphs(data: Any) -> None:
    check(data, data.draw(graphs()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vit_s16"])
def test_masks_become_smaller_tensors(name: str, tmp_path: Path) -> None:
    width = 0.34 if name == "vit_s16" else 0.125
    (tmp_path / "m.onnx").write_bytes(zoo.export(name, image=32, width=width).SerializeToString())
    graph = load(tmp_path / "m.onnx")
    groups = channel_groups(graph)
    gone = random_choice(groups, np.random.default_rng(0))
    before = masked(graph, groups.masks(gone))
    rewritten = DeadChannels().run(before)
    rewritten.witness.check(before, rewritten.graph)
    expected = remove(groups, gone)
    assert [shape(rewritten.graph, key) for key in expected.params] == [shape(expected, key) for key in expected.params]
