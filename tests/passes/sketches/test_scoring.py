"""Figures per weight, of a sketch: norms as of the data itself, and gradients by weights as automatic ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pathlift.ir.algebras.interpret import run
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.passes.pruning.gradients import Differentiated
from pathlift.passes.pruning.inputs import input_norms
from pathlift.passes.pruning.prunable import prunables
from pathlift.passes.sketches.layer import LayerSketch
from pathlift.passes.sketches.layers import linear_layers
from pathlift.passes.sketches.recorder import Recorder, Settings
from pathlift.passes.sketches.scoring import scoring

RNG = np.random.default_rng(0)
FLAT: dict[str, Any] = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
WINDOW: dict[str, Any] = {"strides": (2, 1), "pads": (1, 0, 2, 1), "dilations": (1, 2), "groups": 2}
ACROSS: dict[str, Any] = {"strides": (1,), "pads": (0, 0), "dilations": (1,), "output_padding": (0,), "groups": 2}
KRONECKER: dict[str, Any] = {"pattern": (2, 4, 2, 3)}


def layer(op: str, x: tuple[int, ...], w: tuple[int, ...], bias: int = 0, **attrs: Any) -> Graph:
    """A layer behind which the gradient of each element is another one."""
    b = Builder()
    params = [b.param(RNG.standard_normal(w).astype(np.float32), "w")]
    params += [b.param(RNG.standard_normal(bias).astype(np.float32), "b")] if bias else []
    y = b.op(op, b.input("x", ("N", *x)), *params, name="y", **attrs)
    return b.finish(b.op("Flatten", b.op("Tanh", y)))


ONE_ROW = {
    "gemm": ((5,), layer("Gemm", (5,), (5, 4), 4)),
    "gemm, transposed": ((5,), layer("Gemm", (5,), (4, 5), 4, trans_w=True)),
    "conv": ((6, 3, 2), layer("Conv", (6, 3, 2), (4, 3, 3, 2), 4, **FLAT, groups=2)),
    "einsum": ((5,), layer("Einsum", (5,), (4, 5), equation="ni,oi->no")),
    "einsum, batched": ((3, 5), layer("Einsum", (3, 5), (5, 3, 4), equation="nbi,ibo->nbo")),
    "einsum, an ellipsis": ((5,), layer("Einsum", (5,), (5, 2, 4), equation="...i,iho->...ho")),
    "kronecker": ((12,), layer("KSLinear", (12,), (2, 3, 4, 2), 24, **KRONECKER)),
}
MANY = {
    "positions": ((3, 5), layer("Gemm", (3, 5), (5, 4), 4)),
    "conv": ((6, 5, 7), layer("Conv", (6, 5, 7), (4, 3, 3, 2), 4, **WINDOW)),
    "deconv": ((4, 5), layer("ConvTranspose", (4, 5), (4, 3, 2), 6, **ACROSS)),
    "kronecker": ((2, 12), layer("KSLinear", (2, 12), (2, 3, 4, 2), **KRONECKER)),
}


def recorded(graph: Graph, x: Array, **settings: Any) -> dict[str, LayerSketch]:
    layers = linear_layers(graph)
    recorder = Recorder(graph, layers, Settings(**settings), np.random.default_rng(0))
    for part in np.array_split(x, 1 + len(x) // 3):
        recorder.add({"x": part}, str)
    return dict(zip(layers, recorder.finish()[0], strict=True))


@pytest.mark.parametrize(("shape", "graph"), [*ONE_ROW.values(), *MANY.values()])
@pytest.mark.parametrize("full_width", [0, 4096])
def test_norms_are_those_of_the_data(shape: tuple[int, ...], graph: Graph, full_width: int) -> None:
    x, found = RNG.normal(size=(7, *shape)).astype(np.float32), prunables(graph, biases=True).found
    sketch = recorded(graph, x, full_width=full_width, rank=0)
    norms, costs = scoring(graph, found, sketch, 7)
    assert costs is None
    for name, expected in input_norms(graph, found, [{"x": x}]).items():
        np.testing.assert_allclose(norms[name], expected, rtol=1e-12)
        assert norms[name].shape == expected.shape


@pytest.mark.parametrize(("shape", "graph"), ONE_ROW.values(), ids=ONE_ROW)
def test_costs_of_one_row_are_gradients_by_weights(shape: tuple[int, ...], graph: Graph) -> None:
    """Of one row, x·gᵀ is the gradient; the signs are drawn again as they were."""
    x, found = RNG.normal(size=(1, *shape)).astype(np.float32), prunables(graph, biases=True).found
    _, costs = scoring(graph, found, recorded(graph, x, outputs=True), 1)
    leaves = {p.name: torch.from_numpy(p.values()).requires_grad_() for p in found}
    (y,) = run(graph, Differentiated(leaves), {"x": torch.from_numpy(x).double()}).values()
    signs = 2 * np.random.default_rng(0).integers(0, 2, y.shape) - 1
    (torch.from_numpy(signs) * y).sum().backward()  # type: ignore[no-untyped-call]
    assert costs is not None
    for name, leaf in leaves.items():
        assert leaf.grad is not None
        np.testing.assert_allclose(costs[name], leaf.grad.abs().numpy(), rtol=1e-4, atol=1e-6)


def test_costs_of_a_layer_with_positions_sum_over_them() -> None:
    graph = MANY["deconv"][1]
    x, found = RNG.normal(size=(1, 4, 1)).astype(np.float32), prunables(graph, biases=True).found
    _, costs = scoring(graph, found, recorded(graph, x, outputs=True), 1)
    leaves = {p.name: torch.from_numpy(p.values()).requires_grad_() for p in found}
    (y,) = run(graph, Differentiated(leaves), {"x": torch.from_numpy(x).double()}).values()
    signs = 2 * np.random.default_rng(0).integers(0, 2, y.shape) - 1
    (torch.from_numpy(signs) * y).sum().backward()  # type: ignore[no-untyped-call]
    assert costs is not None
    assert leaves["w"].grad is not None
    per_channel = leaves["w"].grad.square().sum(-1, keepdim=True).sqrt().expand(4, 3, 2)
    np.testing.assert_allclose(costs["w"], per_channel, rtol=1e-4, atol=1e-6)


def test_a_weight_of_a_strided_deconvolution_meets_one_gradient_per_stride() -> None:
    graph = layer("ConvTranspose", (4, 3), (4, 3, 2), 6, **ACROSS | {"strides": (2,)})
    x, found = np.ones((1, 4, 3), np.float32), prunables(graph, biases=True).found
    sketch = recorded(graph, x, outputs=True)
    _, costs = scoring(graph, found, sketch, 1)
    (own,) = sketch.values()
    assert costs is not None
    assert own.squares is not None
    half = np.sqrt(own.squares / 2).reshape(2, 1, 3, 1)  # x is 1: Σ g² over every other of 6 positions
    np.testing.assert_allclose(costs["w"], np.broadcast_to(half, (2, 2, 3, 2)).reshape(4, 3, 2), rtol=1e-12)
    np.testing.assert_allclose(costs["b"], np.sqrt(own.squares), rtol=1e-12)  # a bias meets all


def test_readers_of_one_weight_add_up() -> None:
    b = Builder()
    x = b.input("x", ("N", 3))
    b.param(RNG.standard_normal((3, 3)).astype(np.float32), "w")
    graph = b.finish(b.op("Gemm", b.op("Tanh", b.op("Gemm", x, "w", name="a")), "w", name="z"))
    data, found = RNG.normal(size=(9, 3)).astype(np.float32), prunables(graph).found
    sketch = recorded(graph, data, outputs=True)
    assert len(sketch) == 2
    norms, costs = scoring(graph, found, sketch, 9)
    np.testing.assert_allclose(norms["w"], input_norms(graph, found, [{"x": data}])["w"], rtol=1e-12)
    parts = [
        np.outer(layer.mean_squares()[0], layer.gradient_squares())  # type: ignore[arg-type]  # with outputs
        for layer in sketch.values()
    ]
    assert costs is not None
    np.testing.assert_allclose(costs["w"], np.sqrt(sum(parts)), rtol=1e-12)
    one = dict(list(sketch.items())[:1])
    assert scoring(graph, found, one, 9) == ({}, {})
