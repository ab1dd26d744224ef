"""Broadcasting along a batch that is a symbol, as exporters spell it, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

import pathlift
from pathlift.frontend.load import load
from pathlift.frontend.save import to_onnx
from pathlift.testing import onnxruntime_session, op_names
from pathlift.testing.onnx_models import f32, node

Rng = np.random.Generator


def number(value: float, dtype: int = 1) -> Any:
    return helper.make_tensor("value", dtype, [1], [value])


TARGET = [node("Shape", "x", "n", start=0, end=1), node("Concat", "n rest", "t", axis=0)]
COLUMN = ["Slice", "Pad", "Reshape"]


def test_class_token(compare: Any, dyn: Any, rng: Rng) -> None:
    nodes = [*TARGET, node("Expand", "token t", "e"), node("Concat", "e x", "y", axis=1)]
    constants = {"rest": np.array([1, 4]), "token": f32(rng, 1, 1, 4)}
    graph = compare(nodes, {"x": dyn(f32(rng, 3, 5, 4), ("N", 5, 4))}, constants, ["y"])
    assert op_names(graph) == [*COLUMN, "Add", "Concat"]
    assert graph["e"].types[0].shape == ("N", 1, 4)
    assert graph["y"].types[0].shape == ("N", 6, 4)


def test_class_token_of_the_older_exporter(compare: Any, dyn: Any, rng: Rng) -> None:
    # A target of −1 keeps the extent: Where(target == −1, 1, target).
    nodes = [
        *TARGET, node("ConstantOfShape", "rank", "ones", value=number(1, 7)), node("Mul", "ones minus", "keep"),
        node("Equal", "t keep", "kept"), node("Where", "kept ones t", "shape"), node("Expand", "token shape", "e"),
        node("Concat", "e x", "y", axis=1),
    ]  # fmt: skip
    constants = {
        "rest": np.array([1, -1]), "token": f32(rng, 1, 1, 4), "rank": np.array([3]), "minus": np.int64(-1).reshape(()),
    }  # fmt: skip
    graph = compare(nodes, {"x": dyn(f32(rng, 3, 5, 4), ("N", 5, 4))}, constants, ["y"])
    assert op_names(graph) == [*COLUMN, "Add", "Concat"]


@pytest.mark.parametrize("shape", [(), (4,), (1, 1), (5, 1), (1, 5, 4)])
def test_expand_of_fewer_axes(compare: Any, dyn: Any, rng: Rng, shape: Any) -> None:
    nodes = [*TARGET, node("Expand", "c t", "e"), node("Max", "e x", "y")]
    constants = {"rest": np.array([5, 4]), "c": f32(rng, *shape)}
    graph = compare(nodes, {"x": dyn(f32(rng, 3, 5, 4), ("N", 5, 4))}, constants, ["y"])
    assert "Opaque" not in op_names(graph)


def test_expand_keeps_its_own_symbol(compare: Any, dyn: Any, rng: Rng) -> None:
    nodes = [*TARGET, node("Expand", "x t", "y")]
    graph = compare(nodes, {"x": dyn(f32(rng, 3, 1, 4), ("N", 1, 4))}, {"rest": np.array([5, 4])}, ["y"])
    assert op_names(graph) == ["Expand"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zeros_to_join(compare: Any, dyn: Any, rng: Rng, dtype: Any) -> None:
    value = {} if dtype == np.float32 else {"value": number(0.5, 11)}
    nodes = [*TARGET, node("ConstantOfShape", "t", "z", **value), node("Cast", "z", "c", to=1)]
    nodes.append(node("Concat", "x c", "y", axis=1))
    graph = compare(nodes, {"x": dyn(f32(rng, 3, 5, 4), ("N", 5, 4))}, {"rest": np.array([2, 4])}, ["y"])
    assert "Opaque" not in op_names(graph)
    assert graph["z"].types[0].dtype == dtype
    assert graph["y"].types[0].shape == ("N", 7, 4)


def test_batch_of_a_vector(compare: Any, dyn: Any, rng: Rng) -> None:
    nodes = [*TARGET, node("Expand", "c t", "e"), node("Unsqueeze", "x axis", "column"), node("Add", "e column", "y")]
    constants = {"rest": np.array([4]), "c": f32(rng, 4), "axis": np.array([1])}
    graph = compare(nodes, {"x": dyn(f32(rng, 3), ("N",))}, constants, ["y"])
    assert sorted(op_names(graph)) == ["Add", "Add", "Expand", "Pad", "Reshape", "Slice", "Unsqueeze", "Unsqueeze"]


@pytest.mark.parametrize("source", [np.full((3, 5), np.nan), np.full((3, 5), -np.inf), np.ones((3, 0))])
def test_no_value_of_the_input_is_read(compare: Any, dyn: Any, source: Any) -> None:
    nodes = [*TARGET, node("Expand", "c t", "y"), node("ConstantOfShape", "t", "z")]
    constants = {"rest": np.array([4]), "c": np.float32([1, -0.0, np.inf, np.nan])}
    feed = {"x": dyn(source.astype(np.float32), ("N", "M"))}
    graph = compare(nodes, feed, constants, ["y", "z"])
    (y, _) = onnxruntime_session(to_onnx(graph).SerializeToString()).run(None, {"x": feed["x"].value})
    assert y.view(np.int32)[:, :3].tolist() == [constants["c"].view(np.int32)[:3].tolist()] * 3


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.bool_])
def test_batch_of_token_ids(compare: Any, dyn: Any, rng: Rng, dtype: Any) -> None:
    ids = dyn(np.arange(15).reshape(3, 5).astype(dtype), ("N", "T"))
    constants = {"rest": np.array([4]), "c": f32(rng, 4)}
    graph = compare([*TARGET, node("Expand", "c t", "y")], {"x": ids}, constants, ["y"])
    assert op_names(graph) == ["Slice", "Cast", "Pad", "Reshape", "Expand", "Add"]
    assert pathlift.norm(graph, shape={"T": 5}).value == pytest.approx(
        np.abs(graph["c"].value.numpy().astype(np.float64)).sum()
    )


def test_what_stays_opaque(compare: Any, dyn: Any, rng: Rng) -> None:
    expand = [*TARGET, node("Expand", "c t", "y")]
    x = dyn(f32(rng, 3, 5), ("N", "M"))
    two = [node("Shape", "x", "t"), node("Expand", "c t", "y")]
    wider = {"rest": np.array([4]), "c": f32(rng, 3, 4)}
    integers = {"rest": np.array([4]), "c": np.arange(4)}
    for nodes, feed, constants in (
        (two, x, {"c": f32(rng, 1)}),
        (expand, x, wider),  # 3 rows against N
        (expand, x, integers),
        (expand, dyn(np.ones((3, 5), np.uint64), ("N", 5)), {"rest": np.array([4]), "c": f32(rng, 4)}),
    ):
        graph = compare(nodes, {"x": feed}, constants, ["y"])
        assert graph["y"].attrs["reason"] == "its shape depends on an unknown extent"
    graph = compare(
        [*TARGET, node("ConstantOfShape", "t", "y", value=number(1, 7))], {"x": x}, {"rest": np.array([4])}, ["y"]
    )
    assert graph["y"].op == "Opaque"


def test_path_norm_counts_the_token_once(model_of: Any, dyn: Any, rng: Rng) -> None:
    nodes = [*TARGET, node("Expand", "token t", "e"), node("Concat", "e x", "j", axis=1), node("MatMul", "j w", "y")]
    constants = {"rest": np.array([1, 4]), "token": f32(rng, 1, 1, 4), "w": f32(rng, 4, 2)}
    model = model_of(nodes, {"x": dyn(f32(rng, 3, 5, 4), ("N", 5, 4))}, constants, ["y"])
    rows = 5 * np.ones(4) + np.abs(constants["token"]).reshape(-1)
    expected = (rows @ np.abs(constants["w"].astype(np.float64))).sum()
    assert pathlift.norm(load(model)).value == pytest.approx(expected, rel=1e-12)
