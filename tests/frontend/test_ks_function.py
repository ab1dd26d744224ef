"""Kronecker-sparse layers as ONNX: what runs them, and what is recognized again."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx_ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx.reference import ReferenceEvaluator

from pathlift.frontend.ks_function import DOMAIN, FUNCTION_NAMES, is_ks_function, ks_function
from pathlift.frontend.load import load
from pathlift.frontend.save import to_onnx
from pathlift.ir.builder import Builder
from pathlift.ir.errors import PathliftError, UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.kronecker import Pattern, dense
from pathlift.passes.kronecker.epilogue import FuseEpilogue
from pathlift.testing import assert_equivalent, assert_same_as_onnxruntime, execute, op_names

ort = pytest.importorskip("onnxruntime")
NUMBERS = st.sampled_from([1, 2, 3, 5, 7])


def model(pattern: tuple[int, ...] = (2, 3, 4, 5), lead: tuple[Any, ...] = ("B", "S"), **options: Any) -> Graph:
    p, b, rng = Pattern(*pattern), Builder(), np.random.default_rng(0)
    shape = (p.cols, "N") if options.get("feature_major") else (*lead, p.cols)
    w = b.param(rng.standard_normal(p.shape).astype(np.float32), "w")
    bias = b.param(rng.standard_normal(p.rows).astype(np.float32), "b")
    return b.finish(b.op("KSLinear", b.input("x", shape), w, bias, pattern=tuple(p), name="y", **options))


def session(proto: onnx.ModelProto, *, optimized: bool = True) -> Any:
    options = ort.SessionOptions()
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), st.integers(0, 3), st.booleans())
def test_the_dense_expansion(pattern: tuple[int, int, int, int], batch: int, feature_major: bool) -> None:
    graph = model(pattern, feature_major=feature_major)
    w, b = (graph[key].value.numpy() for key in graph.params)
    x = np.random.default_rng(1).standard_normal((batch, 2, Pattern(*pattern).cols)).astype(np.float32)
    expected = x @ dense(w).T + b
    if feature_major:
        x, expected = (a.reshape(-1, a.shape[-1]).T for a in (x, expected))
    proto = to_onnx(graph)
    onnx.checker.check_model(proto, full_check=True)
    results = {
        "executor": execute(graph, {"x": x})["y"],
        "ONNX Runtime": session(proto).run(None, {"x": x})[0],
        "ONNX Runtime, as written": session(proto, optimized=False).run(None, {"x": x})[0],
        "reference evaluator": ReferenceEvaluator(proto).run(None, {"x": x})[0],
        "inlined": session(onnx.inliner.inline_local_functions(proto)).run(None, {"x": x})[0],
    }
    for name, y in results.items():
        assert y.shape == expected.shape, name
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4, err_msg=name)


def test_half_precision() -> None:
    proto = to_onnx(model())
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
        )
    for info in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    x = np.ones((2, 1, 40), np.float16)
    (y,) = session(proto).run(None, {"x": x})
    assert y.dtype == np.float16
    np.testing.assert_allclose(y, execute(load(proto), {"x": x})["y"], rtol=1e-2, atol=1e-2)


def test_onnxruntime_settles_the_branch(tmp_path: Any) -> None:
    for pattern, expected in (((3, 2, 4, 1), 1), ((3, 2, 4, 2), 4)):
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "o.onnx")
        ort.InferenceSession(to_onnx(model(pattern)).SerializeToString(), options, providers=["CPUExecutionProvider"])
        ops = [node.op_type for node in onnx.load(tmp_path / "o.onnx").graph.node]
        assert "If" not in ops
        assert ops.count("Transpose") == expected, ops  # of blocks, one more is part of the product


def test_round_trip_through_other_tools() -> None:
    proto = to_onnx(model(activation="Relu"))
    read = load(onnx_ir.to_proto(onnx_ir.from_proto(proto)))
    assert [read[key].op for key in read.order if read[key].op not in ("Input", "Param")] == ["KSLinear", "Add", "Relu"]
    assert str(load(to_onnx(read))) == str(read)
    assert [function.name for function in to_onnx(read).functions] == ["KSLinear"]


@pytest.mark.parametrize("feature_major", [False, True])
@pytest.mark.parametrize("activation", ["", "Relu", "Gelu"])
@pytest.mark.parametrize("with_bias", [False, True])
def test_an_epilogue_is_nodes_of_its_own(feature_major: bool, activation: str, with_bias: bool) -> None:
    p, b, rng = Pattern(1, 2, 3, 2), Builder(), np.random.default_rng(0)
    shapes = [(n, 4) if feature_major else (4, n) for n in (p.cols, p.rows)]  # square: no shape tells layouts apart
    x, r = (b.input(name, shape) for name, shape in zip("xr", shapes, strict=True))
    w = b.param(rng.standard_normal(p.shape).astype(np.float32), "w")
    bias = b.param(rng.standard_normal(p.rows).astype(np.float32), "b") if with_bias else None
    options: dict[str, Any] = {"feature_major": feature_major, "activation": activation}
    graph = b.finish(b.op("KSLinear", x, w, bias, r, name="y", pattern=tuple(p), **options))
    proto = to_onnx(graph)
    onnx.checker.check_model(proto, full_check=True)
    read = load(proto)
    assert op_names(read) == ["KSLinear", *["Add"] * (1 + with_bias), *filter(None, [activation])]
    assert_equivalent(graph, read, rtol=1e-12)
    assert_same_as_onnxruntime(graph)
    assert str(load(to_onnx(read))) == str(read)
    # The layer is the same again.
    fused = FuseEpilogue().run(read).graph
    assert len(fused.inputs_of("y")) == 4
    assert fused["y"].attrs == graph["y"].attrs
    assert [v is None for v in fused.inputs_of("y")] == [v is None for v in graph.inputs_of("y")]


def test_a_file_may_leave_the_function_out() -> None:
    proto = to_onnx(model())
    del proto.functions[:]
    assert "KSLinear" in {load(proto)[key].op for key in load(proto).order}


def reject(change: Any) -> Graph:
    proto = to_onnx(model())
    change(proto)
    return load(proto)


def test_another_function_of_the_name_is_not_ours() -> None:
    def change(proto: onnx.ModelProto) -> None:
        body = proto.functions[0].node
        next(n for n in body if n.op_type == "Reshape" and n.output[0] == "blocks").op_type = "Expand"

    graph = reject(change)
    (opaque,) = (graph[key] for key in graph.order if graph[key].op == "Opaque")
    assert "function KSLinear" in str(opaque.attrs["reason"])
    assert [f.name for f in to_onnx(graph).functions] == ["KSLinear"]
    assert not is_ks_function(to_onnx(graph).functions[0])
    builder = graph.edit()
    w = builder.param(np.ones((1, 1, 2, 30), np.float32), "more")
    builder.output(builder.op("KSLinear", graph.outputs[0], w, pattern=(1, 2, 30, 1)))
    with pytest.raises(UnsupportedError, match="PL0376"):
        to_onnx(builder.finish())


@pytest.mark.parametrize("abcd", [[2, 3, 4], [2, 3, 4, 0], [2, 3, 4, -5], [2, 3, 4, 6], [2**40, 2**40, 1, 1]])
def test_patterns_that_do_not_fit(abcd: list[int]) -> None:
    def change(proto: onnx.ModelProto) -> None:
        attribute = proto.graph.node[0].attribute[0]
        attribute.CopyFrom(helper.make_attribute("abcd", abcd))

    graph = reject(change)
    assert "Opaque" in {graph[key].op for key in graph.order}


def test_a_pattern_that_does_not_fit_the_input() -> None:
    b = Builder()
    with pytest.raises(PathliftError, match="PL0546"):
        b.op("KSLinear", b.input("x", ("N", 7)), b.param(np.ones((1, 1, 2, 3), np.float32)), pattern=(1, 2, 3, 1))


@pytest.mark.parametrize("opset", [13, 18, 23])
@pytest.mark.parametrize("name", FUNCTION_NAMES)
def test_the_function_of_every_opset_is_ours(name: str, opset: int) -> None:
    function = ks_function(name, opset)
    assert is_ks_function(function)
    function.node[0].output[0] = "another name"
    assert not is_ks_function(function)  # what is read is no longer what was written
    function = ks_function(name, opset)
    function.domain = "elsewhere"
    assert not is_ks_function(function)
    assert DOMAIN == "pathlift"
