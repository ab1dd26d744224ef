"""Windows and interpolation as ONNX nodes, at the opsets that have what they need."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.frontend.save import to_onnx
from pathlift.ir.builder import Builder
from pathlift.ir.graph import ModelInfo
from pathlift.testing import assert_same_as_onnxruntime


@pytest.mark.parametrize("version", [13, 18])
@pytest.mark.parametrize("extents", [{"scales": (2.0, 1.5)}, {"sizes": (7, 4)}])
@pytest.mark.parametrize("axes", [(2, 3), (-2, -1), (3, 2)])
def test_resize(opset: Any, axes: tuple[int, ...], extents: dict[str, Any], version: int) -> None:
    b = Builder(ModelInfo(opsets={"": version}))
    b.op("Resize", b.input("x", ("N", 2, 5, 6)), axes=axes, mode="linear", name="y", **extents)
    graph = b.finish("y")
    assert opset(graph) == (18 if "sizes" in extents else version)
    assert_same_as_onnxruntime(graph)


def test_a_dilated_average_pool_raises_the_opset(opset: Any) -> None:
    b = Builder(ModelInfo(opsets={"": 15}))
    x = b.input("x", ("N", 2, 7, 7))
    graph = b.finish(b.op("AveragePool", x, kernel=(2, 2), strides=(1, 1), pads=(0,) * 4, dilations=(2, 3), name="y"))
    assert opset(graph) == 19
    assert_same_as_onnxruntime(graph)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    ("size", "kernel", "strides", "opset"), [((2, 2), (1, 1), (1, 2), 18), ((2, 5), (1, 2), (2, 2), 22)]
)
def test_a_dropped_window_does_not_mislead_onnxruntime(
    op: str, size: Any, kernel: Any, strides: Any, opset: int
) -> None:
    """What follows depends on the pool's shape, which ONNX Runtime infers before it runs."""
    b = Builder()
    x = b.input("x", (1, 1, *size))
    pool = b.op(op, x, kernel=kernel, strides=strides, pads=(0,) * 4, dilations=(1, 1), ceil_mode=True)
    width = b.type_of(pool).shape[-1]
    y = b.op("Concat", b.op("Relu", pool), b.op("Gemm", pool, b.param(np.ones((width, width), np.float32))), axis=-1)
    graph = b.finish(y)
    assert to_onnx(graph).opset_import[0].version == opset
    assert_same_as_onnxruntime(graph)
