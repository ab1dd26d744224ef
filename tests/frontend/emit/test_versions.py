"""Operators of an older opset in a newer one: the same meaning, or refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from pathlift.frontend.emit.versions import carried
from pathlift.frontend.save import to_onnx
from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import ModelInfo, Origin
from pathlift.ir.types import DTYPES, TensorType
from pathlift.testing import assert_same_as_onnxruntime, onnxruntime_session


def test_local_response_normalization_of_opset_9(opset: Any, opaque: Any) -> None:
    b = Builder(ModelInfo(opsets={"": 9}))
    b.input("x", ("N", 4, 3, 3))
    opaque(b, helper.make_node("LRN", ["x"], ["n"], size=3, alpha=0.5), "x", version=9)
    graph = b.finish(b.op("ReduceMax", "n", axes=(2, 3), name="y"))
    assert opset(graph) == 13
    assert_same_as_onnxruntime(graph)


X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)


KEPT: list[tuple[str, int, int, list[Any], dict[str, Any]]] = [
    # operator, its opset, that of the model, inputs, attributes
    ("Squeeze", 11, 13, [X[:, None]], {"axes": [1]}),
    ("Unsqueeze", 9, 13, [X], {"axes": [0, 2]}),
    ("ReduceSum", 11, 13, [X], {"axes": [1], "keepdims": 0}),
    ("ReduceSum", 9, 18, [X], {}),
    ("ReduceL2", 11, 18, [X], {"axes": [-1]}),
    ("ReduceMax", 13, 20, [X], {"axes": [0]}),
    ("ReduceLogSumExp", 13, 21, [X], {}),
    ("Split", 11, 13, [X], {"axis": 1, "split": [1, 2]}),
    ("Split", 13, 18, [X, np.array([1, 2])], {"axis": 1}),
    ("Clip", 7, 13, [X], {"min": -0.5, "max": 0.25}),
    ("Clip", 10, 13, [X], {"max": 0.25}),
    ("Clip", 10, 13, [X], {}),
    ("Pad", 10, 13, [X], {"pads": [0, 1, 0, 0], "value": 2.0}),
    ("Slice", 9, 13, [X], {"starts": [1], "ends": [3], "axes": [1]}),
    ("TopK", 9, 13, [X], {"k": 2}),
    ("Where", 9, 18, [X > 0, X, -X], {}),
    ("Cast", 9, 19, [X], {"to": TensorProto.INT32}),
    ("ArgMax", 11, 13, [X], {"axis": 1}),
    ("Scatter", 9, 13, [X, np.array([[1, 0, 1]]), X[:1]], {}),
    ("ScatterElements", 11, 18, [X, np.array([[1, 0, 1]]), X[:1]], {"axis": 0}),
    ("MaxPool", 8, 13, [X[None]], {"kernel_shape": [2]}),
    ("Dropout", 9, 13, [X], {"ratio": 0.3}),
    ("BatchNormalization", 9, 15, [X, *np.float32([[1, 2, 3], [0, 1, 0], [1, 1, 1], [2, 1, 3]])], {}),
    ("LSTM", 7, 14, [X[None], np.ones((1, 8, 3), np.float32), np.ones((1, 8, 2), np.float32)], {"hidden_size": 2}),
]


@pytest.mark.parametrize(
    ("op_type", "old", "new", "arrays", "attrs"), KEPT, ids=lambda v: str(v) if isinstance(v, str | int) else ""
)
def test_older_operators_keep_their_meaning(
    op_type: str, old: int, new: int, arrays: list[Any], attrs: dict[str, Any]
) -> None:
    feeds = {f"i{k}": a for k, a in enumerate(arrays)}
    outputs = ["o", "p"] if op_type in {"TopK", "Split"} else ["o"]
    node = helper.make_node(op_type, list(feeds), outputs, **attrs)
    want = run([node], old, feeds, outputs)
    fresh: Iterator[int] = iter(range(9))
    moved = carried(node, old, new, lambda hint: f"{hint}_{next(fresh)}")
    assert all(n.op_type in {"Constant", op_type, "ScatterElements"} for n in moved)
    for a, b in zip(run(moved, new, feeds, outputs), want, strict=True):
        np.testing.assert_array_equal(a, b)


def run(nodes: list[NodeProto], version: int, feeds: dict[str, Any], outputs: list[str]) -> list[Any]:
    inputs = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for k, a in feeds.items()
    ]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_empty_tensor_value_info(name) for name in outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)
    return list(onnxruntime_session(model.SerializeToString()).run(None, feeds))


@pytest.mark.parametrize(
    ("op_type", "old", "new", "inputs", "attrs"),
    [
        ("Upsample", 9, 13, 2, {"mode": "nearest"}),
        ("Resize", 10, 13, 2, {"mode": "nearest"}),
        ("RoiAlign", 10, 16, 3, {}),
        ("GroupNormalization", 18, 21, 3, {"num_groups": 2}),
        ("Softmax", 11, 13, 1, {"axis": 1}),
        ("Hardmax", 11, 13, 1, {}),
        ("GridSample", 16, 20, 2, {}),
        ("GridSample", 16, 20, 2, {"mode": "bilinear"}),
        ("BatchNormalization", 7, 13, 5, {"spatial": 0}),
        ("Pad", 7, 13, 1, {"pads": [1, 1], "mode": "edge", "value": 1.0}),
        ("Scan", 8, 13, 2, {"num_scan_inputs": 1}),
        ("DFT", 17, 20, 1, {}),
        ("NoSuchOperator", 9, 13, 1, {}),
    ],
)
def test_operators_whose_meaning_moved_are_refused(
    opaque: Any, op_type: str, old: int, new: int, inputs: int, attrs: dict[str, Any]
) -> None:
    b = Builder(ModelInfo(opsets={"": new}))
    names = [b.input(f"i{k}", None) for k in range(inputs)]
    node = helper.make_node(op_type, [f"i{k}" for k in range(inputs)], ["y"], **attrs)
    opaque(b, node, *names, version=old, origin=Origin(("old",)))
    message = rf"PL0372 node 'old' \({op_type}\): {op_type} of opset {old} has no known equal in opset {new}"
    with pytest.raises(UnsupportedError, match=message):
        to_onnx(b.finish("y"))


@pytest.mark.parametrize("attrs", [{}, {"ratio": 0.4}])
@pytest.mark.parametrize("old", [7, 10])
def test_masks_of_older_dropouts_are_other_numbers(opaque: Any, old: int, attrs: dict[str, Any]) -> None:
    for outputs in (["y", "m"], ["y", ""]):
        b = Builder(ModelInfo(opsets={"": 13}))
        opaque(b, helper.make_node("Dropout", ["x"], outputs, **attrs), b.input("x", (2, 3)), version=old)
        if outputs[1]:
            with pytest.raises(UnsupportedError, match="PL0372"):
                to_onnx(b.finish("y"))
        else:
            onnxruntime_session(to_onnx(b.finish("y")).SerializeToString())


def test_older_operators_inside_subgraphs(opaque: Any, body: Any) -> None:
    b = Builder(ModelInfo(opsets={"": 11}))
    x, c = b.input("x", (1, 2)), b.input("c", (), "bool")
    squeeze = body("then", [helper.make_node("Squeeze", ["x"], ["t"], axes=[0])], "t")
    reduce = body("else", [helper.make_node("ReduceSum", ["x"], ["e"], axes=[0], keepdims=0)], "e")
    proto = helper.make_node("If", ["c"], ["y"], then_branch=squeeze, else_branch=reduce)
    opaque(b, proto, c, x, version=11, captures=("x",), types=[TensorType(DTYPES["f32"], (2,))])
    model = to_onnx(b.finish(b.op("Relu", "y", name="z")))
    onnx.checker.check_model(model, full_check=True)
    for condition in (True, False):
        (z,) = onnxruntime_session(model.SerializeToString()).run(
            None, {"x": np.float32([[1, -2]]), "c": np.array(condition)}
        )
        np.testing.assert_array_equal(z, [1, 0])


def test_versions_mix(opset: Any, opaque: Any) -> None:
    b = Builder(ModelInfo(opsets={"": 14}))
    b.input("x", (2, 3))
    opaque(b, helper.make_node("Squeeze", ["x"], ["y"]), "x", version=21)
    assert opset(b.finish("y")) == 21
