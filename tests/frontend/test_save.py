"""The saved file: what the graph says about itself is in it, and nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pathlift.frontend.load import load
from pathlift.frontend.save import save, to_onnx
from pathlift.ir.builder import Builder
from pathlift.ir.errors import OutputError, UnsupportedError
from pathlift.ir.graph import Graph, ModelInfo
from pathlift.ir.text import parse_graph
from pathlift.ir.types import DTYPES, TensorType
from pathlift.testing import assert_same_as_onnxruntime, onnxruntime_session, sample


def network(width: int = 64) -> Graph:
    rng, b = np.random.default_rng(0), Builder()
    x = b.input("x", ("N", 8))
    w1 = b.param(rng.standard_normal((8, width)).astype(np.float32), "w1")
    w2 = b.param(rng.standard_normal((width, width)).astype(np.float32), "w2")
    h = b.op("Relu", b.op("Gemm", x, w1, b.param(np.ones(width, np.float32), "b1"), name="a"), name="h")
    return b.finish(b.op("Gemm", h, w2, name="y"))


def run(source: str | bytes, graph: Graph) -> list[np.ndarray]:
    feeds = {name: np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8) for name in graph.inputs}
    results: list[np.ndarray] = onnxruntime_session(source).run(None, feeds)
    return results


# The model.


def test_model_and_graph_fields() -> None:
    info = ModelInfo(
        name="net",
        doc="of the graph",
        ir_version=8,
        opsets={"": 17, "ai.onnx.ml": 3},
        properties={
            "producer_name": "torch",
            "producer_version": "2",
            "domain": "d",
            "model_version": "7",
            "doc_string": "m",
        },
        metadata={"author": "me"},
        graph_metadata={"split": "train"},
    )
    b = Builder(info)
    model = to_onnx(b.finish(b.op("Relu", b.input("x", ("N", 3)))))
    assert (model.graph.name, model.graph.doc_string, model.ir_version) == ("net", "of the graph", 8)
    assert (model.producer_name, model.producer_version, model.domain) == ("torch", "2", "d")
    assert (model.model_version, model.doc_string) == (7, "m")
    assert {e.domain: e.version for e in model.opset_import} == {"": 17, "ai.onnx.ml": 3}
    assert [(e.key, e.value) for e in model.metadata_props] == [("author", "me")]
    assert [(e.key, e.value) for e in model.graph.metadata_props] == [("split", "train")]


@pytest.mark.parametrize(
    ("opset", "ir_version", "saved"),
    [(9, 3, 7), (9, 0, 10), (13, 3, 4), (13, 6, 6), (13, 10, 10), (21, 4, 4), (25, 0, 13)],
)
def test_ir_version_is_the_file_s_unless_the_opset_rises(opset: int, ir_version: int, saved: int) -> None:
    b = Builder(ModelInfo(opsets={"": opset}, ir_version=ir_version))
    assert to_onnx(b.finish(b.op("Relu", b.input("x", (3,))))).ir_version == saved


def test_shapes_with_symbols() -> None:
    b = Builder()
    b.op("Relu", b.input("x", ("N", None, 3)), name="h")
    model = to_onnx(b.finish(b.op("Tanh", "h", name="y")))
    for info in (model.graph.input[0], model.graph.value_info[0], model.graph.output[0]):
        dims = info.type.tensor_type.shape.dim
        assert [d.WhichOneof("value") for d in dims] == ["dim_param", None, "dim_value"]
        assert (dims[0].dim_param, dims[2].dim_value) == ("N", 3)
    assert [info.name for info in model.graph.value_info] == ["h"]


def test_overridable_and_unused_parameters() -> None:
    b = Builder(ModelInfo(overridable=("w",)))
    b.param([1.0, 2.0], "w")
    b.param([3.0], "unused")
    model = to_onnx(b.finish(b.op("Add", b.input("x", (2,)), "w", name="y")))
    assert [info.name for info in model.graph.input] == ["x", "w"]
    assert [tensor.name for tensor in model.graph.initializer] == ["w", "unused"]
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime_session(model.SerializeToString())
    one = np.ones(2, np.float32)
    np.testing.assert_array_equal(session.run(None, {"x": one})[0], [2, 3])
    np.testing.assert_array_equal(session.run(None, {"x": one, "w": one})[0], [2, 2])


def test_every_initializer_of_ir_version_3_was_an_input() -> None:
    b = Builder(ModelInfo(ir_version=3, opsets={"": 9}, overridable=("w",)))
    model = to_onnx(b.finish(b.op("Add", b.input("x", (2,)), b.param([1.0, 2.0], "w"), name="y")))
    assert [info.name for info in model.graph.input] == ["x"]


def test_outputs_that_no_node_computes() -> None:
    b = Builder()
    x, w = b.input("x", (2,)), b.param([1.0, 2.0], "w")
    graph = b.finish(x, w, b.op("Relu", x, name="y"), "y")
    model = to_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    feed = np.float32([-1, 1])
    results = onnxruntime_session(model.SerializeToString()).run(None, {"x": feed})
    assert [info.name for info in model.graph.output] == ["x", "w", "y", "y"]
    for got, want in zip(results, [feed, [1, 2], [0, 1], [0, 1]], strict=True):
        np.testing.assert_array_equal(got, want)


# The file.


def test_saved_file(tmp_path: Path) -> None:
    graph = network()
    save(graph, tmp_path / "m.onnx")
    assert os.listdir(tmp_path) == ["m.onnx"]
    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)
    np.testing.assert_array_equal(run(str(tmp_path / "m.onnx"), graph), run(to_onnx(graph).SerializeToString(), graph))


def test_external_data(tmp_path: Path) -> None:
    graph, path = network(), tmp_path / "m.onnx"
    save(graph, path, external_threshold=1000)
    assert sorted(os.listdir(tmp_path)) == ["m.onnx", "m.onnx.data"]
    onnx.checker.check_model(str(path), full_check=True)
    np.testing.assert_array_equal(run(str(path), graph), run(to_onnx(graph).SerializeToString(), graph))
    model = onnx.load(path, load_external_data=False)
    inside = {t.name: t.data_location != TensorProto.EXTERNAL for t in model.graph.initializer}
    assert inside == {"w1": False, "w2": False, "b1": True}
    entries = {t.name: {e.key: e.value for e in t.external_data} for t in model.graph.initializer if t.external_data}
    assert entries["w1"] == {"location": "m.onnx.data", "offset": "0", "length": "2048"}
    assert entries["w2"] == {"location": "m.onnx.data", "offset": "65536", "length": "16384"}
    assert (tmp_path / "m.onnx.data").stat().st_size == 65536 + 16384


@pytest.mark.parametrize("threshold", [0, 2**30])
def test_nothing_is_overwritten(tmp_path: Path, threshold: int) -> None:
    (tmp_path / "m.onnx").write_text("mine")
    with pytest.raises(OutputError, match="PL0703"):
        save(network(), tmp_path / "m.onnx", external_threshold=threshold)
    assert os.listdir(tmp_path) == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_text() == "mine"


def test_a_data_file_is_not_overwritten_either(tmp_path: Path) -> None:
    (tmp_path / "m.onnx.data").write_text("mine")
    with pytest.raises(OutputError, match="PL0703"):
        save(network(), tmp_path / "m.onnx", external_threshold=0)
    assert os.listdir(tmp_path) == ["m.onnx.data"]
    assert (tmp_path / "m.onnx.data").read_text() == "mine"


def test_data_is_never_appended(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(network(), path, external_threshold=0)
    size = (tmp_path / "m.onnx.data").stat().st_size
    save(network(), path, external_threshold=0, force=True)
    assert (tmp_path / "m.onnx.data").stat().st_size == size
    np.testing.assert_array_equal(run(str(path), network()), run(to_onnx(network()).SerializeToString(), network()))


@pytest.mark.parametrize("threshold", [0, 2**30])
def test_a_refusal_leaves_nothing_behind(tmp_path: Path, threshold: int) -> None:
    b = Builder()
    attrs = {"op_type": "Upsample", "version": 9, "reason": "it is old", "proto": UPSAMPLE.SerializeToString()}
    types = [TensorType(DTYPES["f32"], None)]
    b.input("x", (1, 1, 2, 2))
    b.node("Opaque", "x", b.param(np.ones(4, np.float32), "s"), names=["y"], types=types, **attrs)
    with pytest.raises(UnsupportedError, match="PL0372"):
        save(b.finish("y"), tmp_path / "m.onnx", external_threshold=threshold)
    assert os.listdir(tmp_path) == []


UPSAMPLE = onnx.helper.make_node("Upsample", ["x", "s"], ["y"])


def test_the_newest_opset_that_onnxruntime_runs() -> None:
    graph = sample("Conv")
    assert_same_as_onnxruntime(Graph(graph.nx, graph.outputs, ModelInfo(opsets={"": 23})))


def test_functions_that_stay_calls_are_saved_with_their_bodies(tmp_path: Path) -> None:
    body = helper.make_function(
        "pathlift", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 18)]
    )
    float_ = onnx.TensorProto.FLOAT
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node("Twice", ["x"], ["y"], domain="pathlift")],
            "g",
            [helper.make_tensor_value_info("x", float_, ["N", 2])],
            [helper.make_tensor_value_info("y", float_, ["N", 2])],
        ),
        functions=[body],
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("pathlift", 1)],
        ir_version=10,
    )
    graph = load(proto)
    save(graph, tmp_path / "m.onnx")
    saved = onnx.load(tmp_path / "m.onnx")
    assert [(f.domain, f.name) for f in saved.functions] == [("pathlift", "Twice")]
    (y,) = onnxruntime_session(str(tmp_path / "m.onnx")).run(None, {"x": np.ones((3, 2), np.float32)})
    np.testing.assert_array_equal(y, np.full((3, 2), 2, np.float32))
    assert parse_graph(str(graph)).info == graph.info
