"""Constants: folding, ties, shape arithmetic, and what asks for too much."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from pathlift.frontend.load import load
from pathlift.ir.errors import UnsafeModelError
from pathlift.testing import op_names
from pathlift.testing.onnx_models import f32, node

Rng = np.random.Generator


def test_transposed_weight_stays_the_users(compare: Any, rng: Rng) -> None:
    nodes = [node("Transpose", "w", "t", perm=[1, 0]), node("MatMul", "x t", "m"), node("Add", "m b", "y")]
    graph = compare(nodes, {"x": f32(rng, 2, 5, 4)}, {"w": f32(rng, 3, 4), "b": f32(rng, 3)}, ["y"])
    assert op_names(graph) == ["Gemm", "Add"]
    assert graph.params == ("w", "b")
    assert graph["m"].attrs["trans_w"] is True


def test_tied_weights_are_one_parameter(compare: Any, rng: Rng) -> None:
    nodes = [
        node("Transpose", "w", "t"), node("Transpose", "w", "u"), node("MatMul", "x t", "a"), node("Relu", "a", "r"),
        node("MatMul", "r u", "b"), node("Gemm", "b w s", "c", alpha=0.5), node("Gemm", "c w s", "y", alpha=0.5),
    ]  # fmt: skip
    graph = compare(nodes, {"x": f32(rng, 2, 4)}, {"w": f32(rng, 4, 4), "s": np.float32([0.3])}, ["y"])
    assert graph.params == ("w", "number", "s")


def test_computed_weight(compare: Any, rng: Rng) -> None:
    # Weight normalization: w = g·v/‖v‖.
    nodes = [
        node("ReduceL2", "v axes", "n", keepdims=1), node("Div", "v n", "d"), node("Mul", "d g", "w"),
        node("Gemm", "x w b", "y", transB=1),
    ]  # fmt: skip
    constants = {"v": f32(rng, 3, 4), "g": f32(rng, 3, 1), "axes": np.array([1]), "b": f32(rng, 3)}
    graph = compare(nodes, {"x": f32(rng, 2, 4)}, constants, ["y"])
    assert op_names(graph) == ["Gemm"]
    assert graph.params == ("w", "b")


def test_standardized_weight(compare: Any, rng: Rng) -> None:
    # Weights normalized by their own statistics: PyTorch spells it as a batch normalization of the weights.
    nodes = [
        node("Reshape", "v row", "r"), node("ReduceMean", "r axes", "m", keepdims=0), node("Sub", "r m1", "c"),
        node("Mul", "c c", "cc"), node("ReduceMean", "cc axes", "s", keepdims=0),
        node("BatchNormalization", "r gain shift m s", "n", epsilon=1e-3), node("Reshape", "n shape", "w"),
        node("Conv", "x w", "y"),
    ]  # fmt: skip
    nodes.insert(2, node("ReduceMean", "r axes", "m1", keepdims=1))
    constants = {
        "v": f32(rng, 4, 3, 2, 2), "row": np.array([1, 4, -1]), "axes": np.array([0, 2]), "gain": f32(rng, 4),
        "shift": f32(rng, 4), "shape": np.array([4, 3, 2, 2]),
    }  # fmt: skip
    graph = compare(nodes, {"x": f32(rng, 2, 3, 5, 5)}, constants, ["y"])
    assert op_names(graph) == ["Conv"]


def test_big_results_are_computed_on_demand(compare: Any, rng: Rng) -> None:
    nodes = [node("Reshape", "v s", "w"), node("Mul", "w two", "w2"), node("MatMul", "x w2", "y")]
    constants = {"v": f32(rng, 300, 10, 30), "s": np.array([300, -1]), "two": np.float32(2)}
    graph = compare(nodes, {"x": f32(rng, 2, 300)}, constants, ["y"])
    assert graph.params == ("w2",)
    assert graph["w2"].value.numpy() is graph["w2"].value.numpy()


@pytest.mark.parametrize("deep", [20, 500])
def test_long_chains(compare: Any, rng: Rng, deep: int) -> None:
    nodes = [node("Neg", f"v{i}", f"v{i + 1}") for i in range(deep)] + [node("Add", f"x v{deep}", "y")]
    compare(nodes, {"x": f32(rng, 200, 100)}, {"v0": f32(rng, 200, 100)}, ["y"])


def test_repeated_values_are_views(compare: Any, rng: Rng) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["w"], value=helper.make_tensor("v", 1, [1], [0.25])),
        node("Expand", "one t", "b"), node("Gemm", "x w b", "y"),
    ]  # fmt: skip
    constants = {"s": np.array([40, 500]), "t": np.array([500]), "one": np.float32([3])}
    graph = compare(nodes, {"x": f32(rng, 2, 40)}, constants, ["y"])
    assert graph["w"].value.numpy().strides == (0, 0)
    assert graph["b"].value.numpy().strides == (0,)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("ConstantOfShape", "huge", "w"), node("Add", "x w", "y")],
        [node("Expand", "x huge", "y")],
        [node("Expand", "one huge", "w"), node("Add", "x w", "y")],
        [node("Tile", "x many", "y")],
        [node("Pad", "x pads", "y")],
        [node("Range", "zero end one0", "w"), node("Relu", "w", "y")],
    ],
)
def test_bombs(nodes: Any, model_of: Any) -> None:
    constants = {
        "huge": np.array([2**20, 2**20]), "one": np.float32([[1]]), "many": np.array([2**20, 2**20]),
        "pads": np.array([0, 0, 2**20, 2**20]),
        "zero": np.zeros((), np.float32), "one0": np.ones((), np.float32), "end": np.full((), 2**40, np.float32),
    }  # fmt: skip
    used = {name for n in nodes for name in n.input}
    model = model_of(
        nodes, {"x": np.ones((1, 1), np.float32)}, {k: v for k, v in constants.items() if k in used}, ["y"]
    )
    with pytest.raises(UnsafeModelError, match="PL0221") as error:
        load(model.SerializeToString())
    assert "--memory-limit" in error.value.hint


def test_constant_nodes(compare: Any, rng: Rng) -> None:
    nodes = [
        helper.make_node("Constant", [], ["a"], value_floats=[1.0, 2.0, 3.0]),
        helper.make_node("Constant", [], ["b"], value_float=4.0),
        helper.make_node("Constant", [], ["s"], value_ints=[3, -1]),
        helper.make_node("Constant", [], ["k"], value_int=0),
        helper.make_node("Constant", [], ["w"], value=helper.make_tensor("w", 1, [2], [5.0, 6.0])),
        node("Add", "x a", "p"), node("Mul", "p b", "q"), node("Reshape", "q s", "r"), node("Mul", "r w", "t"),
        node("Gather", "t k", "y"),
    ]  # fmt: skip
    compare(nodes, {"x": f32(rng, 2, 3)}, {}, ["y"])


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), ("N", 3, 4, 5), ("N", "C", 4, 5), ("N", 3, None, None)])
def test_flatten_by_shape_arithmetic(compare: Any, dyn: Any, rng: Rng, shape: Any) -> None:
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s zero", "n"), node("Unsqueeze", "n axis", "n1"),
        node("Concat", "n1 rest", "t", axis=0), node("Reshape", "x t", "y"),
    ]  # fmt: skip
    constants = {"zero": np.int64(0).reshape(()), "axis": np.array([0]), "rest": np.array([-1])}
    graph = compare(nodes, {"x": dyn(f32(rng, 2, 3, 4, 5), shape)}, constants, ["y"])
    assert op_names(graph) == ["Reshape"]
    assert graph["y"].attrs["shape"] == (shape[0] if isinstance(shape[0], int) else 0, -1)


def test_split_heads_by_shape_arithmetic(compare: Any, dyn: Any, rng: Rng) -> None:
    # [N, T, 8] -> [N, T, 2, 4] with N and T from Shape, 8/2 computed.
    nodes = [
        node("Shape", "x", "s"), node("Slice", "s zero two", "nt"), node("Slice", "s two three", "d"),
        node("Div", "d two", "dh"), node("Concat", "nt two dh", "t", axis=0), node("Reshape", "x t", "y"),
    ]  # fmt: skip
    constants = {"zero": np.array([0]), "two": np.array([2]), "three": np.array([3])}
    graph = compare(nodes, {"x": dyn(f32(rng, 3, 5, 8), ("N", "T", 8))}, constants, ["y"])
    assert op_names(graph) == ["Reshape"]
    assert graph["y"].attrs["shape"] == (0, 0, 2, 4)


def test_sizes_by_shape_arithmetic(compare: Any, dyn: Any, rng: Rng) -> None:
    nodes = [
        node("Shape", "x", "s"), node("Slice", "s zero two", "nc"), node("Shape", "r", "rs"),
        node("Slice", "rs two four", "hw"), node("Concat", "nc hw", "t", axis=0),
        node("Resize", "x _ _ t", "y", mode="nearest"),
    ]  # fmt: skip
    constants = {"zero": np.array([0]), "two": np.array([2]), "four": np.array([4])}
    inputs = {"x": dyn(f32(rng, 2, 3, 4, 4), ("N", 3, 4, 4)), "r": dyn(f32(rng, 2, 1, 8, 12), ("N", 1, 8, 12))}
    graph = compare(nodes, inputs, constants, ["y"])
    assert op_names(graph) == ["Resize"]
    assert graph["y"].attrs["sizes"] == (8, 12)


def test_unused_initializers_are_kept(compare: Any, rng: Rng) -> None:
    constants = {"w": f32(rng, 3), "unused": f32(rng, 2), "shape": np.array([-1])}
    nodes = [node("Add", "x w", "a"), node("Reshape", "a shape", "y"), node("Relu", "x", "dead")]
    graph = compare(nodes, {"x": f32(rng, 2, 3)}, constants, ["y"])
    assert set(graph.params) == {"w", "unused"}
    assert op_names(graph) == ["Add", "Reshape"]


def test_constant_outputs(compare: Any, rng: Rng) -> None:
    nodes = [node("Neg", "w", "y"), node("Neg", "w", "z"), node("Identity", "x", "v")]
    graph = compare(nodes, {"x": f32(rng, 2)}, {"w": f32(rng, 2)}, ["y", "z", "v", "w", "x"])
    assert [graph.name_of(v) for v in graph.outputs] == ["y", "z", "v", "w", "x"]


def test_random_values_are_not_folded(compare: Any, model_of: Any) -> None:
    model = model_of(
        [helper.make_node("RandomNormal", [], ["r"], shape=[2]), node("Add", "x r", "y")],
        {"x": np.ones(2, np.float32)},
        {},
        ["y"],
    )
    assert load(model.SerializeToString())["r"].op == "Opaque"


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axes", [[0], [2, 0], [0, 2], [-1]])
def test_constant_unsqueeze(compare: Any, rng: Rng, opset: int, axes: list[int]) -> None:
    operands = {"w": f32(rng, 3)} | ({"axes": np.array(axes)} if opset >= 13 else {})
    made = node("Unsqueeze", " ".join(operands), "v", **({} if opset >= 13 else {"axes": axes}))
    graph = compare([made, node("Mul", "x v", "y")], {"x": f32(rng, 1, 3, 1)}, operands, ["y"], opset)
    assert op_names(graph) == ["Mul"]


@pytest.mark.parametrize("axes", [None, [0], [0, 1]])
def test_constant_integers_are_summed(compare: Any, rng: Rng, axes: Any) -> None:
    constants = {"v": np.arange(6, dtype=np.int32).reshape(2, 3)}
    nodes = [
        node("ReduceSumSquare", "v", "s", **({} if axes is None else {"axes": axes})), node("Cast", "s", "c", to=1),
        node("Mul", "x c", "y"),
    ]  # fmt: skip
    assert op_names(compare(nodes, {"x": f32(rng, 2, 3)}, constants, ["y"], 13)) == ["Mul"]


@pytest.mark.parametrize("opset", [9, 13])
def test_constant_softmax_keeps_the_meaning_of_its_opset(compare: Any, rng: Rng, opset: int) -> None:
    nodes = [node("Softmax", "v", "s"), node("Mul", "x s", "y")]
    compare(nodes, {"x": f32(rng, 2, 3, 4)}, {"v": f32(rng, 2, 3, 4)}, ["y"], opset)
