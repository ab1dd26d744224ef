"""Quantization: pairs are gates, constant weights are dequantized, the rest is carried."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from pathlift.frontend.load import load
from pathlift.testing import op_names
from pathlift.testing.onnx_models import f32

Rng = np.random.Generator


def pair(scale: Any, zero: Any, second: Any = None, axis: int = 1) -> tuple[list[Any], dict[str, np.ndarray]]:
    constants = {"s": np.asarray(scale, np.float32), "t": np.asarray(scale if second is None else second, np.float32)}
    operands = ["s"] if zero is None else ["s", "z"]
    if zero is not None:
        constants["z"] = zero
    return [
        helper.make_node("QuantizeLinear", ["x", *operands], ["q"], axis=axis),
        helper.make_node("DequantizeLinear", ["q", "t", *operands[1:]], ["y"], axis=axis),
    ], constants


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize("zero", [None, 0, 3])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_pair(compare: Any, rng: Rng, dtype: Any, zero: Any, shape: Any) -> None:
    if zero is None and dtype != np.uint8:
        return
    nodes, constants = pair(np.full(shape, 0.0517), None if zero is None else np.full(shape, zero, dtype))
    graph = compare(nodes, {"x": 20 * f32(rng, 4, 50)}, constants, ["y"], opset=21)
    attrs = graph["y"].attrs
    assert graph["y"].op == "FakeQuantize"
    assert (attrs["low"], attrs["high"]) == (np.iinfo(dtype).min, np.iinfo(dtype).max)
    assert len(graph) == 2


def test_pair_used_twice(compare: Any, rng: Rng) -> None:
    nodes, constants = pair(0.1, np.uint8(7))
    graph = compare(nodes, {"x": f32(rng, 4, 5)}, constants, ["y", "q"], opset=13)
    assert [graph[k].op for k in ("q", "y")] == ["Opaque", "FakeQuantize"]


@pytest.mark.parametrize(
    "scale,zero,second",
    [([0.1, 0.2, 0.3], np.zeros(3, np.int8), None), (0.1, np.int8(0), 0.2)],
)
def test_other_pairs_are_opaque(compare: Any, rng: Rng, scale: Any, zero: Any, second: Any) -> None:
    nodes, constants = pair(scale, zero, second)
    graph = compare(nodes, {"x": f32(rng, 4, 3)}, constants, ["y"], opset=13)
    assert [graph[k].op for k in ("q", "y")] == ["Opaque", "Opaque"]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_constant_weight(compare: Any, rng: Rng, dtype: Any, axis: Any) -> None:
    w = rng.integers(0, 100, (4, 3)).astype(dtype)
    count = () if axis is None else (w.shape[axis],)
    constants = {
        "w": w,
        "s": np.abs(f32(rng, *count)),
        "z": np.zeros(count, dtype) if dtype == np.int32 else np.full(count, 5, dtype),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["v"], **({} if axis is None else {"axis": axis})),
        helper.make_node("MatMul", ["x", "v"], ["y"]),
    ]
    graph = compare(nodes, {"x": f32(rng, 2, 4)}, constants, ["y"], opset=13)
    assert {key: graph[key].op for key in graph} == {"x": "Input", "v": "Param", "y": "Gemm"}


def test_blocked_weight(compare: Any, rng: Rng) -> None:
    constants = {"w": rng.integers(-8, 8, (4, 3)).astype(np.int8), "s": np.abs(f32(rng, 2, 3))}
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["v"], axis=0, block_size=2),
        helper.make_node("MatMul", ["x", "v"], ["y"]),
    ]
    assert compare(nodes, {"x": f32(rng, 2, 4)}, constants, ["y"], opset=21)["y"].op == "Gemm"


def test_weight_quantized_in_the_graph(compare: Any, rng: Rng) -> None:
    constants = {"w": f32(rng, 4, 3), "s": np.float32([0.01, 0.02, 0.03]), "z": np.zeros(3, np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "s", "z"], ["q"], axis=1),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["v"], axis=1),
        helper.make_node("MatMul", ["x", "v"], ["y"]),
    ]
    graph = compare(nodes, {"x": f32(rng, 2, 4)}, constants, ["y"], opset=13)
    assert {key: graph[key].op for key in graph} == {"x": "Input", "v": "Param", "y": "Gemm"}


def test_integer_operators_are_opaque(compare: Any, rng: Rng) -> None:
    one, zero = np.float32(0.1), np.uint8(10)
    constants = {"w": rng.integers(0, 9, (4, 3)).astype(np.uint8), "s": one, "z": zero}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("QLinearMatMul", ["q", "s", "z", "w", "s", "z", "s", "z"], ["p"]),
        helper.make_node("DequantizeLinear", ["p", "s", "z"], ["y"]),
    ]
    graph = compare(nodes, {"x": f32(rng, 2, 4)}, constants, ["y"], opset=13)
    assert {graph[k].attrs["op_type"]: graph[k].attrs["reason"] for k in ("q", "p", "y")} == {
        "QuantizeLinear": "a QuantizeLinear that is not dequantized at once",
        "QLinearMatMul": "integer arithmetic",
        "DequantizeLinear": "a DequantizeLinear without its QuantizeLinear",
    }


@pytest.mark.parametrize(
    "domain,opset,first,second,scale",
    [
        ("", 23, {}, {}, np.float32(0.1)),  # the result has the type of its scale
        ("", 23, {}, {"output_dtype": TensorProto.FLOAT}, np.float16(0.1)),
        ("", 23, {"precision": TensorProto.FLOAT}, {}, np.float16(0.1)),
        ("acme", 23, {}, {}, np.float16(0.1)),
    ],
)
def test_halves_that_are_no_gate(
    model_of: Any, rng: Rng, domain: str, opset: int, first: Any, second: Any, scale: Any
) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], domain=domain, **first),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], **second),
    ]
    x = f32(rng, 4, 3).astype(np.float16)
    model = model_of(nodes, {"x": x}, {"s": np.asarray(scale), "z": np.int8(3)}, ["y"], opset)
    model.graph.value_info.append(helper.make_tensor_value_info("q", TensorProto.INT8, (4, 3)))
    graph = load(model)
    assert op_names(graph) == ["Opaque", "Opaque"]


def test_pair_in_half_precision(compare: Any, rng: Rng) -> None:
    nodes, constants = pair(0.125, np.int8(3))
    constants |= {name: constants[name].astype(np.float16) for name in "st"}
    assert op_names(compare(nodes, {"x": f32(rng, 4, 3).astype(np.float16)}, constants, ["y"], 21)) == ["FakeQuantize"]
