"""Quantized files and those that they were made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pathlift.frontend.load import load
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.passes.pairing.quantizers import with_relus
from pathlift.testing import assert_equivalent, op_names
from pathlift.testing.pairs import assert_pairs

TEXT = """
    %x = Input : f32[N, 2]
    %w = Param {value=[[1.0, 2.0], [3.0, -2.0]]} : f32[2, 2]
    %b = Param {value=[-4.0, 1.0]} : f32[2]
    %h = Gemm(%x, %w, %b)
    %r = Relu(%h)
    %v = Param {value=[[0.5, 1.0], [-1.0, 1.0]]} : f32[2, 2]
    %g = Gemm(%r, %v)
    %y = Add(%g, %r)
    return %y
"""


def quantizer(name: str, x: str, scale: float = 0.5, zero: int = 0, dtype: str = "i8") -> str:
    low, high = (-128, 127) if dtype == "i8" else (0, 255)
    attrs = f'scale={scale}, zero_point={zero}, dtype="{dtype}", low={low}, high={high}'
    return f"    %{name} = FakeQuantize(%{x}) {{{attrs}}}\n"


def ops(graph: Graph) -> list[str]:
    return [op for op in op_names(graph) if op in ("FakeQuantize", "Clip")]


def test_a_quantizer_in_one_only() -> None:
    text = TEXT.replace("Gemm(%x", "Gemm(%q")
    other = parse_graph(text.replace("    %w =", quantizer("q", "x") + "    %w ="))
    found = assert_pairs(parse_graph(TEXT), other)
    assert (ops(found.first), ops(found.second)) == (["Clip"], ["FakeQuantize"])
    clip = next(k for k in found.first.order if found.first[k].op == "Clip")
    assert not found.first[clip].attrs  # −∞ and ∞ are the defaults
    assert found.nodes[clip] == ("", "q")
    assert found.remarks == ("0 values are quantized in the first, and 1 in the second",)


def test_quantizers_in_both_at_other_places_and_in_chains() -> None:
    """Of two readers of a value, one reads it quantized in the first, the other in the second, in a chain."""
    a = TEXT.replace("Gemm(%r", "Gemm(%q").replace("    %v =", quantizer("q", "r") + "    %v =")
    b = TEXT.replace("Add(%g, %r", "Add(%g, %p").replace(
        "    %v =", quantizer("o", "r", 0.5) + quantizer("p", "o", 0.7) + "    %v ="
    )
    found = assert_pairs(parse_graph(a), parse_graph(b))
    assert sorted(ops(found.first)) == ["Clip", "Clip", "FakeQuantize"]
    assert sorted(ops(found.second)) == ["Clip", "FakeQuantize", "FakeQuantize"]
    both = TEXT.replace("%r)", "%q)").replace("%r,", "%q,").replace("    %v =", quantizer("q", "r") + "    %v =")
    found = assert_pairs(parse_graph(both), parse_graph(both.replace("scale=0.5", "scale=0.125")))
    assert ops(found.first) == ops(found.second) == ["FakeQuantize"]
    assert {side["q"].attrs["scale"] for side in (found.first, found.second)} == {0.5, 0.125}


def test_a_quantized_output() -> None:
    found = assert_pairs(
        parse_graph(TEXT), parse_graph(TEXT.replace("    return %y", quantizer("z", "y") + "    return %z"))
    )
    assert ops(found.first) == ["Clip"]


def test_a_relu_that_a_quantizer_had_taken_in() -> None:
    """Saturating at 0, with a zero point of its smallest value, is what a ReLU does."""
    fused = (
        TEXT.replace("Relu(%h)", "Identity(%h)")
        .replace("%r", "%q")
        .replace("%q = Identity(%h)\n", quantizer("q", "h", 0.25, 0, "u8").strip() + "\n")
    )
    for a, b in ((TEXT, fused), (fused, TEXT)):
        found = assert_pairs(parse_graph(a), parse_graph(b))
        assert "Relu" in op_names(found.first)
        assert "1 ReLU" in found.remarks[0]
    signed = fused.replace("zero_point=0", "zero_point=3")
    assert with_relus(parse_graph(signed))[1] == 0
    more, count = with_relus(parse_graph(fused))
    assert count == 1
    assert_equivalent(parse_graph(fused), more, rtol=0.0)


def qdq(model: Any, name: str, values: np.ndarray, axis: int | None, dtype: Any) -> str:
    """Store a weight as integers and dequantize it; returns the name of the result."""
    others = tuple(i for i in range(values.ndim) if i != axis) if axis is not None else None
    kind, low, high = np.dtype(dtype), np.iinfo(dtype).min, np.iinfo(dtype).max
    most = np.abs(values).max(others).astype(np.float32)
    scale = (most / min(-low, high) if low < 0 else 2 * most / high).astype(np.float32)
    zero = np.zeros(scale.shape, kind) if low < 0 else np.full(scale.shape, 128, kind)
    shape = [-1 if i == axis else 1 for i in range(values.ndim)] if axis is not None else []
    stored = np.clip(np.round(values / scale.reshape(shape)) + zero.reshape(shape).astype(np.int64), low, high)
    for suffix, array in (("q", stored.astype(kind)), ("s", scale), ("z", zero)):
        model.initializer.append(numpy_helper.from_array(array, f"{name}_{suffix}"))
    attrs: dict[str, Any] = {} if axis is None else {"axis": axis}
    operands = [f"{name}_{suffix}" for suffix in "qsz"]
    model.node.append(helper.make_node("DequantizeLinear", operands, [f"{name}_d"], f"{name}_dq", **attrs))
    return f"{name}_d"


def convolution(*, quantize: Any = None, axis: int | None = None, bias: bool = False) -> onnx.ModelProto:
    """Two convolutions with a ReLU in between, as files have it; quantized as ONNX Runtime does it."""
    rng = np.random.default_rng(0)
    graph = onnx.GraphProto(name="net")
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 6, 6]))
    graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    shapes = {"w": (3, 2, 3, 3), "v": (4, 3, 1, 1)}

    def activation(name: str, scale: float, zero: int) -> str:
        if quantize is None:
            return name
        graph.initializer.append(numpy_helper.from_array(np.array(scale, np.float32), f"{name}_s"))
        graph.initializer.append(numpy_helper.from_array(np.array(zero, np.uint8), f"{name}_z"))
        graph.node.append(helper.make_node("QuantizeLinear", [name, f"{name}_s", f"{name}_z"], [f"{name}_q"]))
        graph.node.append(helper.make_node("DequantizeLinear", [f"{name}_q", f"{name}_s", f"{name}_z"], [f"{name}_d"]))
        return f"{name}_d"

    h = activation("x", 0.03, 128)
    for name, out in (("w", "h"), ("v", "y")):
        values = rng.standard_normal(shapes[name]).astype(np.float32)
        b = rng.standard_normal(shapes[name][0]).astype(np.float32)
        operand = name
        if quantize is None:
            graph.initializer.append(numpy_helper.from_array(values, name))
        else:
            operand = qdq(graph, name, values, axis, quantize)
        offset = f"{name}_b"
        if quantize is not None and bias:
            graph.initializer.append(
                numpy_helper.from_array(np.round(b / np.float32(1e-3)).astype(np.int32), f"{offset}_q")
            )
            graph.initializer.append(numpy_helper.from_array(np.array(1e-3, np.float32), f"{offset}_s"))
            graph.node.append(helper.make_node("DequantizeLinear", [f"{offset}_q", f"{offset}_s"], [offset]))
        else:
            graph.initializer.append(numpy_helper.from_array(b, offset))
        graph.node.append(helper.make_node("Conv", [h, operand, offset], [out], f"conv_{name}"))
        if out == "h":
            if quantize is None:
                graph.node.append(helper.make_node("Relu", ["h"], ["r"], "relu"))
            h = activation("r" if quantize is None else "h", 0.05, 0)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize("bias", [False, True])
def test_files_with_integer_weights(dtype: Any, axis: int | None, bias: bool) -> None:
    plain, other = load(convolution()), load(convolution(quantize=dtype, axis=axis, bias=bias))
    found = assert_pairs(plain, other)
    assert set(op_names(found.second)) == {"Conv", "Relu", "FakeQuantize"}
    assert all(errors == (None, None) for errors in found.errors.values())
    for key, (name, _) in found.sources.items():
        p, q = found.first[key].value.numpy(), found.second[key].value.numpy()  # type: ignore[union-attr]  # a parameter has a value
        np.testing.assert_allclose(p, q, atol=1e-3 if name.endswith("b") else np.abs(p).max() / 100)
        assert name.endswith("b") or not np.array_equal(p, q)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_files_of_onnxruntime(tmp_path: Path, per_channel: bool, signed: bool) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    rng = np.random.default_rng(1)
    onnx.save(convolution(), tmp_path / "net.onnx")
    batches = iter([{"x": rng.standard_normal((2, 2, 6, 6)).astype(np.float32)} for _ in range(4)])

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]  # ONNX Runtime has no types
        def get_next(self) -> Any:
            return next(batches, None)

    kind = quantization.QuantType.QInt8 if signed else quantization.QuantType.QUInt8
    quantization.quantize_static(
        str(tmp_path / "net.onnx"), str(tmp_path / "int8.onnx"), Reader(),
        quant_format=quantization.QuantFormat.QDQ, per_channel=per_channel, activation_type=kind,
        weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip
    other = load(tmp_path / "int8.onnx")
    assert "FakeQuantize" in op_names(other)
    found = assert_pairs(load(convolution()), other)
    assert set(op_names(found.second)) == {"Conv", "Relu", "FakeQuantize"}
