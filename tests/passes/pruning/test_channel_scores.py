"""Costs of groups of channels in paths, against norms of networks without them."""

from __future__ import annotations

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.passes.channels.groups import channel_groups
from pathlift.passes.channels.removal import remove
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.pruning.channel_scores import path_costs, reading_shares, summed_scores


def network(batch: str = "N") -> Graph:
    """A residual stream of three channels over two blocks, one with a depthwise convolution, and a head."""
    b, rng = Builder(), np.random.default_rng(3)
    window = {"strides": (1, 1), "dilations": (1, 1)}

    def conv(x: str, name: str, *shape: int, groups: int = 1) -> str:
        pads = (shape[-1] // 2,) * 4
        w = b.param(rng.standard_normal(shape).astype(np.float32), f"{name}.w")
        bias = b.param(rng.standard_normal(shape[0]).astype(np.float32), f"{name}.b")
        return b.op("Conv", x, w, bias, name=name, pads=pads, groups=groups, **window).node

    b.input("x", (batch if batch == "N" else int(batch), 2, 4, 4))
    h = b.op("Relu", conv("x", "stem", 3, 2, 3, 3))
    for i in range(2):
        inner = conv(b.op("Relu", conv(h.node, f"up{i}", 5, 3, 1, 1)).node, f"dw{i}", 5, 1, 3, 3, groups=5)
        h = b.op("Add", conv(inner, f"down{i}", 3, 5, 1, 1), h)
    pooled = b.op("ReduceMean", h, axes=(2, 3), keepdims=False)
    return b.finish(b.op("Gemm", pooled, b.param(rng.standard_normal((3, 2)).astype(np.float32), "head")))


def norm(graph: Graph) -> float:
    value = PathNorm().run(graph).norms[0].value
    assert value is not None
    return value


@pytest.mark.parametrize("batch", ["N", "1"])
def test_costs_are_differences_of_norms(batch: str) -> None:
    graph = network(batch)
    groups = channel_groups(graph)
    assert groups.count == 13
    costs, fast = path_costs(groups), path_costs(groups, fast=True)
    whole, several = norm(graph), 0
    for group in range(1, groups.count + 1):
        gone = np.arange(groups.count + 1) == group
        assert costs[group] == pytest.approx(1 - norm(remove(groups, gone)) / whole, rel=1e-9)
        assert fast[group] >= costs[group] * (1 - 1e-12)
        several += bool(fast[group] > costs[group] * (1 + 1e-9))
    assert several == 3  # those of the residual stream
    assert costs[0] == fast[0] == 0


def test_many_groups_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = channel_groups(network())
    costs = path_costs(groups)
    monkeypatch.setattr("pathlift.passes.pruning.channel_scores.AT_ONCE", 2)
    np.testing.assert_allclose(path_costs(groups), costs, rtol=1e-12)


def test_scores_of_weights_add_up() -> None:
    graph = parse_graph("""
        %x = Input : f32[N, 2]
        %w = Param {value=[[1.0, -2.0], [3.0, 4.0]]} : f32[2, 2]
        %h = Gemm(%x, %w)
        %v = Param {value=[[10.0], [20.0]]} : f32[2, 1]
        %y = Gemm(%h, %v)
        return %y
    """)
    groups = channel_groups(graph)
    scores = {key: np.abs(p.numpy()) for key in graph.params if (p := graph[key].value) is not None}
    assert summed_scores(groups, scores).tolist() == [0, 14, 26]
    assert reading_shares(groups, scores).tolist() == [0, 10, 20]
    assert summed_scores(groups, {"v": scores["v"]}).tolist() == [0, 10, 20]


def test_a_network_that_paths_do_not_cover_is_refused() -> None:
    b = Builder()
    h = b.op("Softmax", b.op("Gemm", b.input("x", ("N", 5, 4)), b.param(np.ones((4, 6), np.float32))), axis=1, name="s")
    graph = b.finish(b.op("Gemm", h, b.param(np.ones((6, 2), np.float32))))
    with pytest.raises(UnsupportedError, match="node 's'"):
        path_costs(channel_groups(graph))
