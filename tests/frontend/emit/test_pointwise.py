"""Elementwise ops as ONNX nodes: quantization, and attributes of other types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.frontend.save import to_onnx
from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError
from pathlift.testing import assert_same_as_onnxruntime


@pytest.mark.parametrize(
    ("dtype", "low", "high", "expected"),
    [("i8", -128, 127, 18), ("i8", -127, 127, 18), ("u8", 0, 100, 18), ("i16", -32768, 32767, 21), ("u4", 0, 15, 21)],
)
def test_fake_quantize(opset: Any, op_types: Any, dtype: str, low: int, high: int, expected: int) -> None:
    b = Builder()
    attrs = {"scale": 0.0625, "zero_point": 5, "dtype": dtype, "low": low, "high": high}
    graph = b.finish(b.op("FakeQuantize", b.input("x", ("N", 40)), name="y", **attrs))
    assert opset(graph) == expected
    feed = np.random.default_rng(0).normal(0, 8, (3, 40)).astype(np.float32)
    assert_same_as_onnxruntime(graph, feeds=[{"x": feed}])
    assert ("Clip" in op_types(graph)) == ((low, high) in {(-127, 127), (0, 100)})


def test_quantization_that_onnx_does_not_have() -> None:
    b = Builder()
    b.op("FakeQuantize", b.input("x", (2,)), scale=1.0, zero_point=0, dtype="f32", low=0, high=1, name="y")
    with pytest.raises(UnsupportedError, match=r"PL0374 node 'y' \(FakeQuantize\): ONNX cannot quantize to f32"):
        to_onnx(b.finish("y"))


def test_integers_as_floating_point_attributes() -> None:
    b = Builder()
    graph = b.finish(b.op("LeakyRelu", b.input("x", ("N", 3)), alpha=2, name="y"))
    assert_same_as_onnxruntime(graph)
