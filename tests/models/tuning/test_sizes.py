"""Bytes of choices as a sum over layers, of weights that several read; and names of layers that are called the same."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest

from pathlift.frontend.load import load
from pathlift.ir.graph import Graph
from pathlift.ir.kronecker import parse_patterns
from pathlift.models.tuning.candidates import DENSE, Option, Space, named
from pathlift.models.tuning.signatures import Signature
from pathlift.models.tuning.sizes import Sizes
from pathlift.passes.layers.dense import dense_layers

PATTERNS = parse_patterns("(1,4,2,1)(1,2,4,1)")
FACTORS = (np.ones((1, 1, 4, 2), np.float32), np.ones((1, 1, 2, 4), np.float32))


def network(*, looked_up: bool = False) -> Graph:
    """Three products, the first two of which share their weights; and a table that is these weights, too."""
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [make("MatMul", [x, w], [y], "fc") for x, w, y in (("x", "w", "a"), ("a", "w", "b"), ("b", "v", "y"))]
    outputs = [value("y", 1, ["N", 4])]
    if looked_up:
        nodes.append(make("Gather", ["w", "index"], ["z"]))
        outputs.append(value("z", 1, ["N", 4]))
    inputs = [value("x", 1, ["N", 4]), *([value("index", 7, ["N"])] if looked_up else [])]
    weights = [onnx.numpy_helper.from_array(np.eye(4, dtype=np.float32) + i, "wv"[i]) for i in range(2)]
    proto = onnx.helper.make_graph(nodes, "g", inputs, outputs, weights)
    return load(onnx.helper.make_model(proto, opset_imports=[onnx.helper.make_opsetid("", 20)]))


def space(graph: Graph) -> Space:
    layers, skipped = dense_layers(graph, "*")
    signature = Signature("Gemm", 4, 4, bias=False, dtype="float32", fused="", places=2)
    options = [[DENSE, Option(PATTERNS, factors=FACTORS)]] * len(layers)
    return Space(graph, layers, [signature] * len(layers), options, skipped)


@pytest.mark.parametrize("looked_up", [False, True])
def test_weights_that_several_read_are_gone_with_the_last(looked_up: bool) -> None:
    """Sums are exact where all that reads a weight is replaced, or none."""
    sizes = Sizes(space(network(looked_up=looked_up)), "bytes")
    costs = sizes.additive()
    for choice in itertools.product((0, 1), repeat=3):
        predicted, found = 1 + sum(c[option] for c, option in zip(costs, choice, strict=True)), sizes.measure(choice)
        if choice[0] == choice[1] or looked_up:
            assert predicted == pytest.approx(found.ratio)
        else:
            assert predicted <= found.ratio


def test_layers_that_are_called_the_same_have_names_of_their_own() -> None:
    own = space(network())
    assert [layer.label for layer in own.layers] == ["fc"] * 3
    assert len(set(named(own))) == 3
