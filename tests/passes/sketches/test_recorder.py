"""Sketches of graphs: what all kinds of layers read, and gradients by what they write, against explicit ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Array
from pathlift.passes.layers.dense import dense_layers
from pathlift.passes.sketches.layer import LayerSketch
from pathlift.passes.sketches.layers import linear_layers
from pathlift.passes.sketches.moments import second_moments
from pathlift.passes.sketches.recorder import Recorder, Settings

RNG = np.random.default_rng(0)
MLP = """
    %x = Input : f32[N, 6]
    %w = Param : f32[6, 5]
    %h = Gemm(%x, %w)
    %r = Relu(%h)
    %v = Param : f32[5, 3]
    %y = Gemm(%r, %v)
    %p = Softmax(%y) {axis=-1}
    return %p
"""


def mlp() -> Graph:
    shapes = {"w": (6, 5), "v": (5, 3)}
    return parse_graph(MLP, {name: RNG.normal(size=shape).astype(np.float32) for name, shape in shapes.items()})


def recorded(graph: Graph, *batches: dict[str, Array], **settings: Any) -> dict[str, LayerSketch]:
    layers = linear_layers(graph)
    recorder = Recorder(graph, layers, Settings(**settings), np.random.default_rng(0))
    for batch in batches:
        recorder.add(batch, lambda at: f"sample {at}")
    return dict(zip(layers, recorder.finish()[0], strict=True))


def test_moments_are_those_of_a_fit() -> None:
    graph, x = mlp(), RNG.normal(size=(300, 6)).astype(np.float32)
    batches = [{"x": part} for part in np.split(x, [64, 200])]
    found, expected = recorded(graph, *batches), second_moments(graph, dense_layers(graph, "*")[0], batches)
    assert found.keys() == expected.keys()
    for key, moment in expected.items():
        np.testing.assert_allclose(found[key].moments()[0], moment, rtol=1e-12, atol=1e-12)
        assert found[key].rows == 300


def test_gradients_are_those_of_the_jacobian() -> None:
    """In the mean over signs; of one output, a sign does not matter."""
    graph, x = mlp(), RNG.normal(size=(40, 6)).astype(np.float32)
    w, v = (layer.weight().T for layer in dense_layers(graph, "*")[0])
    active = (x @ w > 0).astype(np.float64)
    jacobians = active[:, :, None] * v  # of scores before the softmax, by what the first layer writes
    expected = np.einsum("nik,njk->ij", jacobians, jacobians) / 40
    first, second = recorded(graph, *[{"x": np.tile(x, (500, 1))}] * 6, outputs=True).values()
    found = first.gradient_moments()
    assert found is not None
    np.testing.assert_allclose(found, expected, atol=0.03 * np.abs(expected).max())
    last = second.gradient_moments()
    assert last is not None
    np.testing.assert_allclose(last.diagonal(), 1.0)
    np.testing.assert_allclose(last, np.eye(3), atol=0.03)
