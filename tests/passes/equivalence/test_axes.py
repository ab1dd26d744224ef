"""Axes that count from the back, or stand in another order, are the same axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

import pathlift
from pathlift.testing.onnx_models import info, model, node

ONES = np.zeros((1, 1, 1, 1), np.int64)
AXIS = {  # what each reads besides its data
    "Softmax": {}, "LogSoftmax": {}, "Hardmax": {}, "ArgMax": {}, "ArgMin": {}, "Flatten": {}, "LpNormalization": {},
    "TopK": {"k": np.int64([2])}, "Concat": {"c": np.zeros((2, 4, 6, 3), "f")}, "Gather": {"i": np.int64([1])},
    "GatherElements": {"i": ONES}, "ScatterElements": {"i": ONES, "u": np.ones((1, 1, 1, 1), "f")},
    "Compress": {"c": np.array([True, False])},
}  # fmt: skip
REDUCE = ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd"]


def net(op: str, opset: int, **attrs: Any) -> ModelProto:
    outputs = "y z" if op == "TopK" else "y"
    tensors = [numpy_helper.from_array(a, name) for name, a in AXIS.get(op, {}).items()]
    read = " ".join(["x", *AXIS.get(op, {})])
    shown = [info(name, None) for name in outputs.split()[-1:]]
    return model([node(op, read, outputs, **attrs)], [info("x", (2, 4, 6, 3))], shown, tensors, opsets=[("", opset)])


def different(op: str, a: dict[str, Any], b: dict[str, Any], opset: int = 17) -> int:
    return pathlift.compare(net(op, opset, **a), net(op, opset, **b), modulo=("rescaling",)).exit_code


@pytest.mark.parametrize("op", AXIS)
def test_an_axis_counts_from_either_end(op: str) -> None:
    for axis in range(4):
        assert not different(op, {"axis": axis}, {"axis": axis - 4})
        assert different(op, {"axis": axis}, {"axis": (axis + 1) % 4})
        assert different(op, {"axis": axis}, {"axis": (axis + 1) % 4 - 4})


@pytest.mark.parametrize("op", REDUCE)
def test_what_is_reduced_has_no_order(op: str) -> None:
    for axes in ([2, 1], [-2, 1], [1, -2], [-2, -3]):
        assert not different(op, {"axes": [1, 2]}, {"axes": axes}, 11)
        assert different(op, {"axes": [1, 3]}, {"axes": axes}, 11)


def test_axes_of_a_result_count_there() -> None:
    assert not different("Unsqueeze", {"axes": [0, 5]}, {"axes": [-1, 0]}, 11)
    assert different("Unsqueeze", {"axes": [0, 5]}, {"axes": [-2, 0]}, 11)
