"""Valid files are read, completely: opsets, orders, names, tensors of every type."""

import hashlib
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from pathlift.frontend.read import UNSORTED, read_model
from pathlift.testing.onnx_models import info, model, node

FLOATS = np.arange(6, dtype=np.float32).reshape(2, 3)


def ops(read) -> list[str]:
    return [n.op_type for n in read.model.graph]


def test_path_bytes_and_proto_are_the_same_model(mlp, tmp_path):
    path = tmp_path / "m.onnx"
    proto = mlp
    path.write_bytes(proto.SerializeToString(deterministic=True))
    reads = [read_model(source) for source in (path, str(path), path.read_bytes(), proto)]
    assert {read.sha256 for read in reads} == {hashlib.sha256(path.read_bytes()).hexdigest()}
    assert [read.path for read in reads] == [path, path, None, None]
    for read in reads:
        assert ops(read) == ["MatMul", "Relu"]
        assert read.warnings == ()
        assert np.array_equal(read.model.graph.initializers["w"].const_value.numpy(), FLOATS)


@pytest.mark.parametrize("version", range(7, onnx.defs.onnx_opset_version() + 1))
def test_every_opset(version):
    read = read_model(model([node("Relu", "x", "y")], [info("x")], [info("y")], opsets=[("", version)]))
    assert read.model.opset_imports[""] == version


@pytest.mark.parametrize("version", range(3, onnx.IR_VERSION + 1))
@pytest.mark.parametrize("is_input", [False, True])
def test_every_ir_version_with_initializers_that_are_or_are_not_inputs(mlp, version, is_input):
    proto = mlp
    proto.ir_version = version
    if is_input:
        proto.graph.input.append(info("w", (2, 3)))
    graph = read_model(proto).model.graph
    assert np.array_equal(graph.initializers["w"].const_value.numpy(), FLOATS)
    assert ["w"] * is_input == [value.name for value in graph.inputs[1:]]


def test_unsorted_nodes_are_sorted_with_a_warning():
    inner = helper.make_graph([node("Neg", "a", "b"), node("Relu", "late", "a")], "body", [], [info("b")])
    nodes = [
        node("If", "c", "y", then_branch=inner, else_branch=inner),
        node("Relu", "x", "late"),
    ]
    read = read_model(model(nodes, [info("x"), info("c", (), TensorProto.BOOL)], [info("y")]))
    assert read.warnings == (UNSORTED,)
    assert ops(read) == ["Relu", "If"]
    assert [n.op_type for n in read.model.graph[1].attributes["then_branch"].as_graph()] == ["Relu", "Neg"]


def test_sorted_nodes_keep_their_order():
    nodes = [node("Relu", "x", "b"), node("Relu", "x", "a"), node("Add", "a b", "y")]
    read = read_model(model(nodes, [info("x")], [info("y")]))
    assert [n.outputs[0].name for n in read.model.graph] == ["b", "a", "y"]
    assert read.warnings == ()


def test_duplicate_and_empty_node_names_are_kept():
    nodes = [node("Relu", "x", "a", name="n"), node("Relu", "a", "b", name="n"), node("Relu", "b", "y")]
    read = read_model(model(nodes, [info("x")], [info("y")]))
    assert [n.name or "" for n in read.model.graph] == ["n", "n", ""]


def test_nothing_is_lost():
    strings = helper.make_tensor("s", TensorProto.STRING, [2], [b"a", b"\xff"])
    nodes = [
        node("SequenceConstruct", "x x", "q"),
        node("Dropout", "x _ _", "d _"),
        node("Identity", "s", "t"),
        node("LSTM", "x w w", "_ i", hidden_size=1),
    ]
    proto = model(
        nodes,
        [info("x"), info("unused_input")],
        [helper.make_tensor_sequence_value_info("q", TensorProto.FLOAT, None), info("t", (2,), TensorProto.STRING)],
        [strings, numpy_helper.from_array(FLOATS, "unused"), numpy_helper.from_array(FLOATS, "w")],
    )
    proto.graph.metadata_props.add(key="k", value="v")
    proto.graph.node[0].doc_string = "doc"
    graph = read_model(proto).model.graph
    assert list(graph.initializers) == ["s", "unused", "w"]
    assert list(graph.initializers["s"].const_value.string_data()) == [b"a", b"\xff"]
    assert [value.name for value in graph.inputs] == ["x", "unused_input"]
    assert isinstance(graph.outputs[0].type, onnx_ir.SequenceType)
    assert [value.name for value in graph[3].outputs] == ["", "i"]
    assert graph[0].doc_string == "doc"
    assert graph.metadata_props["k"] == "v"


def test_no_outputs_and_no_nodes():
    assert not read_model(model([], [], [])).model.graph.outputs


def test_zero_proto3_scalars_are_not_missing():
    flatten = node("Flatten", "x", "y", axis=0)
    flatten.attribute[0].ClearField("i")  # proto3 writers leave zeros out
    read = read_model(model([flatten], [info("x")], [info("y", None)]))
    assert read.model.graph[0].attributes["axis"].as_int() == 0


def test_unknown_domain_needs_no_import():
    read = read_model(model([node("Mine", "x", "y", domain="org.mine")], [info("x")], [info("y")]))
    assert read.model.opset_imports["org.mine"] == 1
    assert "org.mine" in read.warnings[0]


def test_both_spellings_of_the_default_domain():
    proto = model([node("Relu", "x", "y", domain="ai.onnx")], [info("x")], [info("y")], opsets=[("ai.onnx", 17)])
    read = read_model(proto)
    assert read.model.opset_imports == {"": 17}
    assert read.model.graph[0].domain == ""


@pytest.mark.parametrize("dtype", [onnx_ir.DataType(value) for value in onnx_ir.DataType if value not in (0, 8)])
def test_every_element_type(dtype):
    array = np.array([[1, 2 if dtype == onnx_ir.DataType.FLOAT8E8M0 else 0, 1]], dtype=dtype.numpy())
    raw = onnx_ir.to_proto(onnx_ir.Tensor(array, dtype=dtype, name="w"))
    proto = model([node("Identity", "w", "y")], [], [], [raw])
    read = read_model(proto).model.graph.initializers["w"].const_value
    assert read.dtype == dtype
    assert np.array_equal(read.numpy(), array)


@pytest.mark.parametrize(
    "dtype", ["FLOAT16", "BFLOAT16", "INT8", "UINT8", "BOOL", "INT4", "UINT32", "DOUBLE", "COMPLEX64"]
)
def test_typed_fields(dtype):
    tensor = helper.make_tensor("w", TensorProto.DataType.Value(dtype), [3], [1, 0, 1])
    read = read_model(model([], [], [], [tensor])).model.graph.initializers["w"].const_value
    assert read.numpy().astype(np.float64).tolist() == [1, 0, 1] if dtype != "COMPLEX64" else read.size == 3


def test_zero_size_tensor():
    tensor = numpy_helper.from_array(np.zeros((0, 3), np.float32), "w")
    assert read_model(model([], [], [], [tensor])).model.graph.initializers["w"].const_value.numpy().shape == (0, 3)


def sparse(indices, shape=(2, 3), values=(5.0, 7.0), name="w"):
    return helper.make_sparse_tensor(
        numpy_helper.from_array(np.array(values, np.float32), name),
        numpy_helper.from_array(np.array(indices, np.int64), "i"),
        shape,
    )


@pytest.mark.parametrize("indices", [[1, 5], [[0, 1], [1, 2]]])
def test_sparse_initializers_become_dense(indices):
    proto = model([node("MatMul", "x w", "y")], [info("x")], [info("y", None)], sparse_initializer=[sparse(indices)])
    read = read_model(proto)
    assert read.model.graph.initializers["w"].const_value.numpy().tolist() == [[0, 5, 0], [0, 0, 7]]


def test_sparse_constants_become_dense():
    proto = model([node("Constant", "", "w", sparse_value=sparse([1, 5]))], [], [info("w", (2, 3))])
    constant = read_model(proto).model.graph[0].attributes
    assert constant["value"].as_tensor().numpy().tolist() == [[0, 5, 0], [0, 0, 7]]
    assert "sparse_value" not in constant


def test_negative_dimensions_are_unknown():
    read = read_model(model([node("Relu", "x", "y")], [info("x", (-1, 2))], [info("y", (-1, 2))]))
    assert read.model.graph.inputs[0].shape[0] == onnx_ir.SymbolicDim(None)
    assert read.warnings


def test_bfloat16_stays_exact():
    array = np.array([1.5, -3.0], ml_dtypes.bfloat16)
    tensor = onnx_ir.to_proto(onnx_ir.Tensor(array, name="w"))
    assert np.array_equal(
        read_model(model([], [], [], [tensor])).model.graph.initializers["w"].const_value.numpy(), array
    )


def test_the_file_is_not_touched(mlp, tmp_path):
    path = Path(tmp_path / "m.onnx")
    path.write_bytes(mlp.SerializeToString())
    before = path.stat().st_mtime_ns, path.read_bytes()
    read_model(path)
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    assert list(tmp_path.iterdir()) == [path]
