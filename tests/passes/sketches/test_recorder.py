"""Sketches of graphs: what all kinds of layers read, and gradients by what they write, against explicit ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from pathlift.frontend.load import load
from pathlift.ir.builder import Builder
from pathlift.ir.errors import InvalidModelError, UnsupportedError
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


def test_signs_do_not_depend_on_batches() -> None:
    graph, x = mlp(), RNG.normal(size=(40, 6)).astype(np.float32)
    whole = recorded(graph, {"x": x}, outputs=True)
    parts = recorded(graph, {"x": x[:7]}, {"x": x[7:]}, outputs=True)
    for key, layer in whole.items():
        assert layer.gradients is not None
        assert parts[key].gradients is not None
        np.testing.assert_allclose(layer.gradients, parts[key].gradients, rtol=1e-5, atol=1e-5)


def test_a_projection_of_gradients_has_the_diagonal() -> None:
    graph, x = mlp(), RNG.normal(size=(40, 6)).astype(np.float32)
    exact, found = (
        recorded(graph, {"x": x}, outputs=True, full_width=width, rank=3)["y"] for width in (8, 2)
    )  # of rank 3 anyway
    assert (exact.outgoing.kind, found.outgoing.kind) == ("exact", "exact")  # type: ignore[union-attr]
    hidden = [recorded(graph, {"x": x}, outputs=True, full_width=width, rank=3)["h"] for width in (8, 2)]
    full, projected = (layer.gradient_moments() for layer in hidden)
    assert hidden[1].outgoing.kind == "projected"  # type: ignore[union-attr]
    assert full is not None
    assert projected is not None
    np.testing.assert_allclose(projected.diagonal(), full.diagonal(), rtol=1e-12)
    assert np.linalg.norm(projected - full) < 0.2 * np.linalg.norm(full)


TOKENS = """
    %x = Input : f32[N, T, 4]
    %mask = Input : i64[N, T]
    %w = Param : f32[4, 3]
    %h = Gemm(%x, %w)
    %p = ReduceMean(%h) {axes=[1], keepdims=false}
    %v = Param : f32[3, 2]
    %y = Gemm(%p, %v)
    return %y
"""


def tokens() -> Graph:
    return parse_graph(TOKENS, {n: RNG.normal(size=s).astype(np.float32) for n, s in (("w", (4, 3)), ("v", (3, 2)))})


def test_masked_positions_do_not_count() -> None:
    x, mask = RNG.normal(size=(5, 7, 4)).astype(np.float32), RNG.integers(0, 2, (5, 7))
    x[mask == 0] = np.nan  # padding may hold anything
    weights = {"w": RNG.normal(size=(4, 3)).astype(np.float32)}
    graph = parse_graph(TOKENS.split("    %p")[0] + "    return %h", weights)
    (layer,) = recorded(graph, {"x": x, "mask": mask}, mask="mask").values()
    rows = x[mask == 1].astype(np.float64)
    assert layer.rows == len(rows)
    np.testing.assert_allclose(layer.moments()[0], rows.T @ rows / len(rows), rtol=1e-12)
    assert layer.counts.total == rows.size


def test_rows_per_sample_count_whatever_is_masked() -> None:
    graph, x, mask = tokens(), RNG.normal(size=(5, 7, 4)).astype(np.float32), RNG.integers(0, 2, (5, 7))
    first, second = recorded(graph, {"x": x, "mask": mask}, mask="mask", outputs=True).values()
    assert (first.rows, second.rows) == (mask.sum(), 5)
    expected = recorded(graph, {"x": x, "mask": mask}, outputs=True)
    assert first.squares is not None
    assert next(iter(expected.values())).squares.sum() > first.squares.sum() > 0  # type: ignore[union-attr]


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_a_mask_of_samples_leaves_samples_out(shape: tuple[int, ...]) -> None:
    """A row per sample counts if a position of the sample does."""
    text = TOKENS.replace("[N, T, 4]", "[N, 4]").replace("[N, T]", "[N]" if len(shape) == 1 else "[N, 1]")
    text = text.split("    %p")[0] + "    return %h"
    graph = parse_graph(text, {"w": RNG.normal(size=(4, 3)).astype(np.float32)})
    x, mask = RNG.normal(size=(6, 4)).astype(np.float32), np.array([1, 0, 1, 1, 0, 0]).reshape(shape)
    layers = linear_layers(graph)
    recorder = Recorder(graph, layers, Settings(mask="mask", outputs=True), np.random.default_rng(0))
    recorder.add({"x": x, "mask": mask}, str)
    (layer,), square = recorder.finish()
    rows = x[mask.reshape(-1) == 1].astype(np.float64)
    assert layer.rows == 3
    assert layer.counts.total == rows.size
    np.testing.assert_allclose(layer.moments()[0], rows.T @ rows / 3, rtol=1e-12)
    np.testing.assert_allclose(layer.gradient_squares(), 1.0)
    weights = next(value.numpy() for key in graph.params if (value := graph[key].value) is not None)
    assert square == pytest.approx(np.square(rows @ weights).sum(), rel=1e-5)


def test_masks_that_fit_no_rows_are_refused() -> None:
    graph, x = tokens(), RNG.normal(size=(7, 7, 4)).astype(np.float32)
    with pytest.raises(UnsupportedError, match=r"PL0306 node 'h' \(Gemm\)"):  # samples, or positions?
        recorded(graph, {"x": x, "mask": np.ones((7, 7))}, mask="mask")
    with pytest.raises(UnsupportedError, match=r"PL0306 node 'h' \(Gemm\)"):
        recorded(graph, {"x": x[:3], "mask": np.ones((3, 6))}, mask="mask")
    b = Builder()
    x_ = b.input("x", ("N", 3, 5))
    w = b.param(np.ones((2, 3, 1), np.float32), "w")
    conv = b.finish(b.op("Conv", x_, w, strides=(1,), pads=(0, 0), dilations=(1,), name="y"))
    with pytest.raises(UnsupportedError, match=r"PL0306 node 'y' \(Conv\)"):
        recorded(conv, {"x": np.ones((2, 3, 5), np.float32)}, mask="x")


def test_what_cannot_be_differentiated() -> None:
    text = MLP.replace("%p = Softmax(%y) {axis=-1}", "%p = ReduceSum(%y) {axes=[0], keepdims=true}")
    weights = {n: np.ones(s, np.float32) for n, s in (("w", (6, 5)), ("v", (5, 3)))}
    x = {"x": np.ones((2, 6), np.float32)}
    with pytest.raises(UnsupportedError, match="PL0307 output 'p' has no row per sample"):
        recorded(parse_graph(text, weights), x, outputs=True)
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"], "h"),
        onnx.helper.make_node("CumSum", ["h", "axis"], ["y"], "sums"),
    ]
    value = onnx.helper.make_tensor_value_info
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes, "g", [value("x", 1, ["N", 6])], [value("y", 1, ["N", 5])],
            [onnx.numpy_helper.from_array(weights["w"], "w"), onnx.numpy_helper.from_array(np.array(1), "axis")],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
    )  # fmt: skip
    assert len(recorded(load(proto), x)) == 1
    with pytest.raises(UnsupportedError, match=r"PL0307 node 'sums' \(CumSum\)"):
        recorded(load(proto), x, outputs=True)


def test_what_rounds_has_no_gradients_but_zero() -> None:
    text = MLP.replace("Relu(%h)", 'FakeQuantize(%h) {scale=0.1, zero_point=0, dtype="i8", low=-128, high=127}')
    weights = {n: np.ones(s, np.float32) for n, s in (("w", (6, 5)), ("v", (5, 3)))}
    assert len(recorded(parse_graph(text, weights), {"x": np.ones((2, 6), np.float32)})) == 2
    with pytest.raises(UnsupportedError, match=r"PL0307 node 'r' \(FakeQuantize\): it rounds"):
        recorded(parse_graph(text, weights), {"x": np.ones((2, 6), np.float32)}, outputs=True)


@pytest.mark.parametrize("options", [{}, {"full_width": 3, "rank": 4}])
def test_the_effective_rank_is_that_of_the_moments(options: dict[str, int]) -> None:
    (layer, _) = recorded(mlp(), {"x": RNG.normal(size=(50, 6)).astype(np.float32)}, **options).values()
    values = np.linalg.eigvalsh(layer.moments()[0])
    assert layer.effective_rank() == pytest.approx(values.sum() ** 2 / np.square(values).sum(), rel=1e-12)


def test_gradients_that_are_not_finite() -> None:
    text = MLP.replace("%r = Relu(%h)", "%u = Param : f32[5, 5]\n%r = Gemm(%h, %u)")
    graph = parse_graph(
        text, {n: np.full(s, 1e30, np.float32) for n, s in (("w", (6, 5)), ("u", (5, 5)), ("v", (5, 3)))}
    )
    with pytest.raises(InvalidModelError, match=r"PL0185 node 'h' \(Gemm\): gradients .* sample 0"):
        recorded(graph, {"x": np.zeros((2, 6), np.float32)}, outputs=True)
