"""Shapes in files: nothing is computed from declarations, unnamed extents are symbols, given ones hold."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from pathlift.frontend.load import load, load_with_report
from pathlift.frontend.save import to_onnx
from pathlift.ir.compare import graphs_equal
from pathlift.testing import onnxruntime_session, samples
from pathlift.testing.onnx_models import node

N = node


def network(nodes: Any, shape: Any, opset: int, **constants: Any) -> ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_empty_tensor_value_info("y")], tensors)
    graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def networks(batch: Any = "N", height: Any = "H", width: Any = "W") -> Iterator[tuple[str, ModelProto]]:
    """Idioms of exporters: shapes that are computed from shapes, for inputs of three open extents."""
    shape, rng = [batch, 3, height, width], np.random.default_rng(0)
    flat = [
        N("Shape", "x", "s"), N("Slice", "s zero one", "n"), N("Concat", "n rest", "t", axis=0),
        N("Reshape", "x t", "f"),
    ]  # fmt: skip
    ints = {"zero": np.array([0]), "one": np.array([1]), "rest": np.array([-1])}
    yield "flatten", network([*flat, N("Relu", "f", "y")], shape, 17, **ints)
    yield "softmax before opset 13", network([*flat, N("Softmax", "f", "y", axis=1)], shape, 11, **ints)
    yield "a part of the shape is kept", network(
        [N("Shape", "x", "s"), N("Gather", "s pick", "n"), N("Concat", "n rest", "t", axis=0),
         N("Reshape", "x t", "y")],
        shape, 17, pick=np.array([0, 1]), rest=np.array([-1]),
    )  # fmt: skip
    yield "one for each sample", network(
        [N("Shape", "x", "s"), N("Slice", "s zero one", "n"), N("Concat", "n rest", "t", axis=0),
         N("Expand", "token t", "e"), N("ReduceMean", "x", "m", axes=[2, 3]), N("Add", "m e", "y")],
        shape, 17, zero=np.array([0]), one=np.array([1]), rest=np.array([3]), token=np.ones((1, 3), np.float32),
    )  # fmt: skip
    yield "resized to the size of another", network(
        [N("MaxPool", "x", "p", kernel_shape=[2, 2], strides=[2, 2]), N("Shape", "x", "hw", start=2),
         N("Shape", "p", "nc", end=2), N("Concat", "nc hw", "sizes", axis=0),
         helper.make_node("Resize", ["p", "", "", "sizes"], ["u"], mode="nearest",
                          coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
         N("Add", "u x", "y")],
        shape, 17,
    )  # fmt: skip
    yield "behind data-dependent rows", network(
        [N("Relu", "x", "r0"), N("ReduceSum", "x axes", "total", keepdims=0), N("Greater", "total zero", "c"),
         N("Compress", "r0 c", "r", axis=0), N("Shape", "r", "s"), N("Cast", "s", "sf", to=TensorProto.FLOAT),
         N("Cast", "sf", "t", to=TensorProto.INT64), N("Reshape", "r t", "a"), N("Relu", "a", "y")],
        shape, 17, axes=np.array([1, 2, 3]), zero=np.float32(0),
    )  # fmt: skip
    w = rng.standard_normal((1, 4 * 5, 3)).astype(np.float32)
    r = rng.standard_normal((1, 4 * 5, 5)).astype(np.float32)
    yield "behind a recurrence", network(
        [N("ReduceMean", "x", "m", axes=[3], keepdims=0), N("Transpose", "m", "q", perm=[2, 0, 1]),
         N("LSTM", "q w r", "l", hidden_size=5), N("Shape", "l", "s"), N("Gather", "s pick", "tb"),
         N("Concat", "tb rest", "t", axis=0), N("Reshape", "l t", "y")],
        shape, 17, w=w, r=r, pick=np.array([0, 2]), rest=np.array([-1]),
    )  # fmt: skip


NETWORKS = dict(networks())


def run(model: ModelProto, shape: tuple[int, ...]) -> np.ndarray:
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    return onnxruntime_session(model.SerializeToString()).run(None, {"x": x})[0]  # type: ignore[no-any-return]  # ONNX Runtime says Any


# Declarations of computed values.


def declared(model: ModelProto, rng: np.random.Generator) -> ModelProto:
    """The model with right, wrong and no declarations of what it computes, at random; element types are right."""
    model = ModelProto.FromString(model.SerializeToString())
    bare = ModelProto.FromString(model.SerializeToString())
    del bare.graph.value_info[:]
    inferred = {v.name: v for v in onnx.shape_inference.infer_shapes(bare).graph.value_info}
    known = {**inferred, **{v.name: v for v in (*model.graph.value_info, *model.graph.output)}}
    symbols = [d.dim_param for v in model.graph.input for d in v.type.tensor_type.shape.dim if d.dim_param]
    del model.graph.value_info[:]
    for name, info in known.items():
        claim = ValueInfoProto.FromString(info.SerializeToString())
        tensor = claim.type.tensor_type
        kind = rng.choice(["right", "wrong rank", "wrong extents", "symbols", "none"])
        if kind == "wrong rank" or (kind != "right" and not tensor.HasField("shape")):
            rank = rng.integers(4)
            claim.CopyFrom(helper.make_tensor_value_info(name, tensor.elem_type, rng.integers(1, 9, rank).tolist()))
        elif kind == "wrong extents":
            for dim in tensor.shape.dim:
                dim.dim_value = int(rng.integers(1, 9))
        elif kind == "none":
            tensor.ClearField("shape")
        elif kind == "symbols":
            for dim in tensor.shape.dim:
                dim.dim_param = str(rng.choice([*symbols, "unk__1", "?", "other"]))
        if info in model.graph.output:
            model.graph.output.remove(info)
            model.graph.output.append(claim)
        elif kind != "none" or name not in inferred:  # of which nobody else tells the element type
            model.graph.value_info.append(claim)
    return model


def without_declarations(model: ModelProto) -> ModelProto:
    model = ModelProto.FromString(model.SerializeToString())
    for info in model.graph.value_info:
        info.type.tensor_type.ClearField("shape")
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model


def check_declarations(model: ModelProto, seed: int) -> ModelProto:
    wanted, found = load(without_declarations(model)), load(liar := declared(model, np.random.default_rng(seed)))
    assert graphs_equal(found, wanted, info=False) == ""
    again = load(to_onnx(found))
    assert (graphs_equal(again, found, info=False), again.info.declared) == ("", found.info.declared)
    return liar


@pytest.mark.parametrize("name", samples())
def test_declarations_mean_nothing_to_an_op(name: str) -> None:
    check_declarations(to_onnx(samples()[name]), 0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", NETWORKS)
def test_declarations_mean_nothing_to_a_network(name: str, seed: int) -> None:
    liar = check_declarations(NETWORKS[name], seed)
    expected = run(NETWORKS[name], (2, 3, 4, 6))
    np.testing.assert_allclose(run(to_onnx(load(liar)), (2, 3, 4, 6)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", range(12))
def test_declarations_mean_nothing_where_nothing_else_is_known(seed: int) -> None:
    nodes = [
        helper.make_node("Fancy", ["x"], ["r"], domain="own"), N("Transpose", "r", "q"), N("Squeeze", "q", "p"),
        N("Shape", "p", "s"), N("Slice", "s zero one", "n"), N("Concat", "n rest", "t", axis=0),
        N("Reshape", "p t", "y"),
    ]  # fmt: skip
    ints = {"zero": np.array([0]), "one": np.array([1]), "rest": np.array([-1])}
    model = network(nodes, ["N", 3], 17, **ints)
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.value_info.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3] if seed % 2 else [2, 1, 3]) for name in "rqp"
    )
    check_declarations(model, seed)


def test_a_declaration_that_is_wrong_is_a_warning() -> None:
    model = ModelProto.FromString(NETWORKS["flatten"].SerializeToString())
    model.graph.value_info.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, ["N", 3, 2]))
    graph, report = load_with_report(model)
    assert [str(graph[key].types[0]) for key in ("f", "y")] == ["f32[N, ?]"] * 2
    assert report.warnings == ("value 'f' is declared as f32[N, 3, 2], but is f32[N, ?]",)


def test_a_declaration_that_says_more_is_shown_and_saved_alone() -> None:
    model = ModelProto.FromString(NETWORKS["behind data-dependent rows"].SerializeToString())
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["T", 3, 7, None]))
    graph = load(model)
    (y,) = graph.outputs
    assert (str(graph.type_of(y)), str(graph.shown_type(y))) == ("f32[?, ?, ?, ?]", "f32[T, 3, 7, ?]")
    dims = to_onnx(graph).graph.output[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["T", 3, 7, 0]


def test_runtimes_refuse_a_wrong_element_type() -> None:
    """The reason why element types are believed."""
    model = ModelProto.FromString(NETWORKS["flatten"].SerializeToString())
    model.graph.value_info.append(helper.make_tensor_value_info("f", TensorProto.INT64, None))
    with pytest.raises(Exception, match="Type Error"):
        onnxruntime_session(model.SerializeToString())


# Extents without a name.


@pytest.mark.parametrize("nameless", [None, "", "?", "None", "-1", -1])
@pytest.mark.parametrize("name", NETWORKS)
def test_unnamed_extents_are_symbols(name: str, nameless: Any) -> None:
    model = dict(networks(None, None, None))[name]
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        if not dim.HasField("dim_value") and nameless is not None:
            setattr(dim, "dim_value" if nameless == -1 else "dim_param", nameless)
    graph, text = load(model), str(load(NETWORKS[name]))
    assert str(graph).splitlines()[1] == "%x = Input : f32[?, 3, ?, ?]"
    for axis, symbol in enumerate("N HW"):
        text = text.replace(f"[{symbol}", f'["?x.{axis}"').replace(f" {symbol}", f' "?x.{axis}"')
    assert str(graph).splitlines()[2:] == text.splitlines()[2:]
    saved = to_onnx(graph)
    unnamed = [d for v in (*saved.graph.input, *saved.graph.value_info) for d in v.type.tensor_type.shape.dim]
    assert {d.dim_param for d in unnamed} == {""}
    assert graphs_equal(load(saved), graph, info=False) == ""
    for shape in ((2, 3, 4, 6), (1, 3, 6, 4)):
        np.testing.assert_allclose(run(saved, shape), run(model, shape), rtol=1e-5, atol=1e-6)


def test_names_that_shape_inference_gives_are_names() -> None:
    graph = load(dict(networks("unk__1", "unk__2", "unk__2"))["flatten"])
    assert str(graph[graph.inputs[0]].types[0]) == "f32[unk__1, 3, unk__2, unk__2]"


# Given extents.


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("given", [{"N": 2}, {"N": 2, "H": 4, "W": 6}, {"x.0": 2, "x.2": 4, "W": 6}])
def test_given_extents_are_those_of_a_file_that_has_them(name: str, given: dict[str, int]) -> None:
    sizes = [given.get(d, given.get(f"x.{axis}", d)) for axis, d in zip((0, 2, 3), "NHW", strict=True)]
    assert graphs_equal(load(NETWORKS[name], shapes=given), load(dict(networks(*sizes))[name])) == ""


def test_extents_settle_what_is_computed_from_shapes() -> None:
    ops = {n: g[k].op for n, g in ((n, load(NETWORKS["resized to the size of another"], shapes=s)) for n, s in (
        ("open", {}), ("given", {"N": 2, "H": 4, "W": 6}))) for k in g if g[k].names[0] == "u"}  # fmt: skip
    assert ops == {"open": "Opaque", "given": "Resize"}


def test_unnamed_extents_are_given_by_axis() -> None:
    for axes in itertools.product([None, 5], repeat=2):
        model = dict(networks(*axes, None))["flatten"]
        left_open = {f"x.{axis}": n for axis, n, known in ((0, 5, axes[0]), (2, 5, axes[1]), (3, 6, None)) if not known}
        assert str(load(model, shapes=left_open)["f"].types[0]) == "f32[5, 90]"
