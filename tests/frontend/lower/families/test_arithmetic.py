"""Sums, products and extrema with constants: the same function in whatever shape the constant comes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pathlift
from pathlift.frontend.save import to_onnx
from pathlift.testing import execute

DIMS = [2, 3, 4]
SHAPES: dict[str, tuple[int, ...]] = {
    "a scalar": (), "one element": (1,), "one by one": (1, 1), "per channel": (3, 1), "per row": (4,),
    "per position": (3, 4), "whole": (2, 3, 4),
}  # fmt: skip


def model(op: str, constant: Any, *, dims: Any = DIMS, first: bool = False) -> bytes:
    names = ["c", "x"] if first else ["x", "c"]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", dims), ("y", None)))
    graph = helper.make_graph(
        [helper.make_node(op, names, ["y"])], "g", [x], [y], [numpy_helper.from_array(constant, "c")]
    )
    proto: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(proto.SerializeToString())


@pytest.mark.parametrize("op", ["Max", "Min"])
@pytest.mark.parametrize("number", [-2.0, 0.0, 6.0])
def test_the_shape_of_a_bound_says_nothing(op: str, number: float) -> None:
    found = set()
    for i, shape in enumerate(SHAPES.values()):
        data = model(op, np.full(shape, number, np.float32), first=bool(i % 2))
        graph = pathlift.load(data)
        (op_of,) = {node.op for _, node in graph.nx.nodes(data="node")} - {"Input", "Param"}
        norm = pathlift.norm(graph).norms[0]
        found.add((op_of, norm.log10, norm.is_path_norm))
    assert len(found) == 1, found


@pytest.mark.parametrize("op", ["Max", "Min"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("values", [[-2.0], [0.0], [np.nan], [-1.0, 2.0]])
def test_values_are_those_of_onnxruntime(op: str, shape: tuple[int, ...], values: list[float]) -> None:
    data = model(op, np.resize(np.array(values, np.float32), shape))
    x = np.random.default_rng(0).standard_normal(DIMS).astype(np.float32)
    wanted = pathlift.run(data, {"x": x}).outputs["y"]
    np.testing.assert_array_equal(execute(pathlift.load(data), {"x": x})["y"].astype(np.float32), wanted)


@pytest.mark.parametrize(("dims", "shape"), [([2, 3, 1], (3, 4)), (["N", 3, "W"], (4,)), ([4], (2, 4))])
def test_a_bound_that_makes_the_result_larger_is_an_operand(dims: list[int | str], shape: tuple[int, ...]) -> None:
    graph = pathlift.load(model("Max", np.full(shape, 2, np.float32), dims=dims))
    assert {node.op for _, node in graph.nx.nodes(data="node")} == {"Input", "Param", "Max"}


def test_a_bound_that_varies_is_a_pool_with_constants() -> None:
    graph = pathlift.load(model("Max", np.array([[-2], [-2], [-1]], np.float32)))
    norm = pathlift.norm(graph, shape={}).norms[0]
    assert norm.is_path_norm
    assert norm.value == 12 + 4 * (2 + 2 + 1)


@pytest.mark.parametrize("op", ["Max", "Min"])
@pytest.mark.parametrize(
    "constants",
    [
        [np.float32(1), np.float32([[2]])],
        [np.float32([1, 2, -1, 0]), np.float32(0.5)],
        [np.float32([np.nan, 1, 2, 3])] * 2,
    ],
)
def test_several_constants_are_their_extreme(op: str, constants: list[Any]) -> None:
    proto = onnx.ModelProto.FromString(model(op, np.maximum(*constants) if op == "Max" else np.minimum(*constants)))
    one, several = proto, onnx.ModelProto.FromString(proto.SerializeToString())
    several.graph.node[0].input[:] = ["a", "x", "b"]
    del several.graph.initializer[:]
    several.graph.initializer.extend(map(numpy_helper.from_array, constants, "ab"))
    x = np.random.default_rng(0).standard_normal(DIMS).astype(np.float32)
    wanted = pathlift.run(several, {"x": x}).outputs["y"]
    np.testing.assert_array_equal(execute(pathlift.load(several), {"x": x})["y"].astype(np.float32), wanted)
    assert list(to_onnx(pathlift.load(several)).graph.node[0].input) == ["a", "x", "b"]
    if not np.isnan(wanted).any():
        assert pathlift.compare(one, several, modulo=("rescaling",)).exit_code == 0
        assert pathlift.norm(one).norms[0].log10 == pathlift.norm(several).norms[0].log10


def test_constants_whose_extreme_is_larger_stay_apart() -> None:
    proto = onnx.ModelProto.FromString(model("Max", np.ones((3, 1), np.float32)))
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(4, np.float32), "d"))
    proto.graph.node[0].input.append("d")
    assert len(pathlift.load(proto).params) == 2
