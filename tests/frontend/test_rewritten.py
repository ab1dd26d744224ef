"""A file whose weights were changed: they are what was asked for, and all else is what it was."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from pathlift.frontend.load import load
from pathlift.frontend.protos import all_tensors
from pathlift.frontend.save import save
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Param
from pathlift.testing import onnxruntime_session, zoo

ROOT = Path(__file__).parents[2]
PLACES = pytest.mark.parametrize("threshold", [2**30, 0], ids=["inline", "external"])


def double(model: ModelProto) -> tuple[Graph, ModelProto]:
    """Twice the matrices of a model: in its graph, computed when they are saved, and in the file, without pathlift."""
    graph, file = load(model), ModelProto.FromString(model.SerializeToString())
    stored = {t.name: t for t in file.graph.initializer if is_matrix(t)}
    b, new = graph.edit(), dict[Param, Param]()
    for key in graph.params:
        param, name = graph[key].value, graph.name_of(Value(key))
        if param is not None and name in stored:
            twice = Param(param.dtype, param.shape, partial(np.multiply, param.numpy(), np.float32(2)))
            b.replace_node(Value(key), value=new.setdefault(param, twice))
            array = numpy_helper.to_array(stored[name])
            stored[name].CopyFrom(numpy_helper.from_array(array * np.float32(2), name))
    assert new
    return b.finish(), file


def outputs(model: str | bytes, batch: int) -> list[np.ndarray]:
    session, rng = onnxruntime_session(model), np.random.default_rng(0)
    feeds: dict[str, Any] = {}
    for x in session.get_inputs():
        shape = [d if isinstance(d, int) else batch for d in x.shape]
        feeds[x.name] = rng.integers(9, size=shape) if "int" in x.type else rng.standard_normal(shape, np.float32)
    return session.run(None, feeds)  # type: ignore[no-any-return]  # ONNX Runtime says Any


NETWORKS: dict[str, Callable[[], ModelProto]] = {
    "digits": partial(onnx.load, ROOT / "examples" / "digits.onnx"),
    "resnet18": partial(zoo.export, "resnet18", image=64, width=0.125),
    "gpt2_tiny": partial(zoo.export, "gpt2_tiny"),
}


@PLACES
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, threshold: int, tmp_path: Path) -> None:
    model, path = NETWORKS[name](), tmp_path / "m.onnx"
    graph, expected = double(model)
    save(graph, path, external_threshold=threshold)
    onnx.checker.check_model(path, full_check=True)
    for batch in (1, 3):
        pairs = zip(outputs(str(path), batch), outputs(expected.SerializeToString(), batch), strict=True)
        for y, z in pairs:
            np.testing.assert_allclose(y, z, rtol=1e-4, atol=1e-4 * np.abs(z).max())
    saved = onnx.load(path)
    assert interface(saved.graph) == interface(model.graph)
    found, before = matrices(saved.graph), matrices(model.graph)
    for weight, wanted in matrices(expected.graph).items():
        if not np.array_equal(wanted, before[weight]):
            np.testing.assert_array_equal(found[weight], wanted)
    assert list(saved.metadata_props) == list(model.metadata_props)
    assert (saved.producer_name, saved.producer_version) == (model.producer_name, model.producer_version)


def interface(graph: GraphProto) -> list[tuple[str, int, list[int | str]]]:
    return [
        (v.name, v.type.tensor_type.elem_type, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in (*graph.input, *graph.output)
    ]


def matrices(graph: GraphProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in graph.initializer if is_matrix(t)}


def is_matrix(tensor: TensorProto) -> bool:
    return tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1


@PLACES
def test_whatever_a_file_says(threshold: int, tmp_path: Path) -> None:
    """Equal as messages to the file with the same change made to its weights."""
    graph, expected = double(talkative())
    save(graph, tmp_path / "m.onnx", external_threshold=threshold)
    onnx.checker.check_model(tmp_path / "m.onnx")
    assert plain(onnx.load(tmp_path / "m.onnx")) == plain(expected)


def plain(model: ModelProto) -> ModelProto:
    """The same model without what is no statement: order of declarations, empty texts, where data were read from."""
    model.graph.value_info.sort(key=lambda v: v.name)
    for described in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        if not described.doc_string:
            described.ClearField("doc_string")
    for tensor in model.graph.initializer:
        tensor.ClearField("data_location")
    return model


def talkative() -> ModelProto:
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["g"], name="gemm", doc_string="a layer", transB=1),
        helper.make_node("Relu", ["g"], ["r"], name="relu", doc_string="its activation"),
        helper.make_node("Gemm", ["r", "w", "b"], ["h"], name="gemm again", transB=1),
        helper.make_node("Fancy", ["h", "table"], ["y"], name="fancy", domain="my.ops", alpha=0.5, doc_string="?"),
    ]
    weights = {
        "w": np.linspace(-1, 1, 1600, dtype=np.float32).reshape(40, 40),
        "b": np.ones(40, np.float32),
        "table": np.arange(300),
        "unused": np.zeros((2, 500), np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "talkative",
        [described("x", ["batch", 40], "what comes in", layout="NC")],
        [described("y", ["batch", None])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
        doc_string="of the graph",
        value_info=[
            *(described(name, ["batch", 40]) for name in "grh"),
            described("w", [40, 40], "a matrix", shared="by both layers"),
        ],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in {"": 18, "my.ops": 3, "idle": 7}.items()]
    model = helper.make_model(
        graph,
        opset_imports=opsets,
        ir_version=10,
        producer_name="me",
        producer_version="2",
        domain="org.example",
        model_version=5,
        doc_string="of the model",
    )
    for node in nodes:
        helper.set_model_props(node, {"role": node.name})
    helper.set_model_props(graph, {"split": "train"})
    helper.set_model_props(model, {"author": "me", "empty": ""})
    return model


def described(name: str, shape: list[int | str | None], doc: str = "", **metadata: str) -> ValueInfoProto:
    info = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape, doc)
    helper.set_model_props(info, metadata)
    return info


def test_an_unknown_node_takes_its_external_tensors_along(tmp_path: Path) -> None:
    values = np.arange(500, dtype=np.float32)
    values.tofile(tmp_path / "values.bin")
    tensor = TensorProto(dims=[500], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="values.bin")
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Constant", [], [name], value=tensor)], name, [], [described(name, [500])]
        )
        for name in ("then", "else")
    }
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    nodes = [
        helper.make_node("If", ["c"], ["chosen"], **branches),
        helper.make_node("Fancy", ["chosen"], ["y"], domain="my.ops", table=tensor),
    ]
    graph = helper.make_graph(nodes, "g", [condition], [described("y", [None])])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("my.ops", 1)]
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    (tmp_path / "elsewhere").mkdir()
    save(load(tmp_path / "m.onnx"), tmp_path / "elsewhere" / "m.onnx")
    saved = onnx.load(tmp_path / "elsewhere" / "m.onnx", load_external_data=False)
    tensors = [tensor for _, tensor in all_tensors(saved)]
    assert len(tensors) == 3
    for tensor in tensors:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), values)


def test_what_is_said_of_a_tensor_and_of_its_value_is_kept_apart(tmp_path: Path) -> None:
    model = talkative()
    model.graph.initializer[1].doc_string = "of the tensor"
    helper.set_model_props(model.graph.initializer[0], {"unit": "mm"})
    save(load(model), tmp_path / "m.onnx")
    saved = onnx.load(tmp_path / "m.onnx").graph
    values, tensors = {v.name: v for v in saved.value_info}, {t.name: t for t in saved.initializer}
    assert tensors["b"].doc_string == "of the tensor"
    assert {e.key: e.value for e in tensors["w"].metadata_props} == {"unit": "mm"}
    assert {e.key: e.value for e in values["w"].metadata_props} == {"shared": "by both layers"}
