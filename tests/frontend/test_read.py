"""Valid files are read, completely: opsets, orders, functions, sparse and external tensors, shapes."""

import gc
import hashlib
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from pathlift.frontend.read import UNSORTED, read_model

FLOATS = np.arange(6, dtype=np.float32).reshape(2, 3)


def info(name, shape=("N", 2), dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def model(nodes, inputs=(), outputs=(), initializers=(), *, opsets=(("", 18),), ir_version=10, **graph) -> ModelProto:
    made = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(initializers), **graph)
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets]
    return helper.make_model(made, opset_imports=imports, ir_version=ir_version)


def node(op: str, inputs: str, outputs: str, **attributes) -> NodeProto:
    """Return a node; names are separated by spaces and ``_`` is an omitted one."""
    names = [["" if name == "_" else name for name in text.split()] for text in (inputs, outputs)]
    return helper.make_node(op, *names, **attributes)


def mlp() -> ModelProto:
    w = numpy_helper.from_array(FLOATS, "w")
    return model([node("MatMul", "x w", "h"), node("Relu", "h", "y")], [info("x")], [info("y", ("N", 3))], [w])


def ops(read) -> list[str]:
    return [n.op_type for n in read.model.graph]


def test_path_bytes_and_proto_are_the_same_model(tmp_path):
    path = tmp_path / "m.onnx"
    proto = mlp()
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
def test_every_ir_version_with_initializers_that_are_or_are_not_inputs(version, is_input):
    proto = mlp()
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
        node("TopK", "x k", "_ i"),
    ]
    proto = model(
        nodes,
        [info("x"), info("unused_input")],
        [helper.make_tensor_sequence_value_info("q", TensorProto.FLOAT, None), info("t", (2,), TensorProto.STRING)],
        [strings, numpy_helper.from_array(FLOATS, "unused"), numpy_helper.from_array(np.array([1]), "k")],
    )
    proto.graph.metadata_props.add(key="k", value="v")
    proto.graph.node[0].doc_string = "doc"
    graph = read_model(proto).model.graph
    assert list(graph.initializers) == ["s", "unused", "k"]
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


# --- tensors


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


# --- functions


def function(name, inputs, outputs, nodes, domain="f", opset=18, **more):
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("f", 1)]
    return helper.make_function(domain, name, inputs, outputs, nodes, imports, **more)


def with_functions(nodes, functions, outputs=("y",)) -> ModelProto:
    proto = model(nodes, [info("x")], [info(name) for name in outputs], opsets=[("", 18), ("f", 1), ("pathlift", 1)])
    proto.functions.extend(functions)
    return proto


def evaluate(proto: ModelProto, x: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


def assert_same_function(proto: ModelProto):
    x = np.array([[-1.0, 2.0]], np.float32)
    read = read_model(proto).model
    for before, after in zip(evaluate(proto, x), evaluate(onnx_ir.to_proto(read), x), strict=True):
        assert np.array_equal(before, after)
    return read


def test_functions_are_inlined():
    inner = function("Inner", ["a"], ["b"], [node("Neg", "a", "h"), node("Relu", "h", "b")])
    outer = function("Outer", ["a"], ["b"], [node("Inner", "a", "h", domain="f"), node("Add", "a h", "b")])
    nodes = [node("Outer", "x", "h", domain="f"), node("Outer", "h", "y", domain="f")]
    read = assert_same_function(with_functions(nodes, [inner, outer]))
    assert [n.op_type for n in read.graph] == ["Neg", "Relu", "Add"] * 2
    assert not read.functions


def test_inlining_keeps_names_when_results_are_arguments_repeated_or_omitted():
    echo = function("Echo", ["a"], ["a", "b", "b"], [node("Neg", "a", "b")])
    nodes = [node("Echo", "x", "p q r", domain="f"), node("Echo", "q", "_ s", domain="f"), node("Add", "p s", "y")]
    read = read_model(with_functions(nodes, [echo], ("y", "q", "r", "p"))).model  # onnxruntime refuses such functions
    x = np.array([[-1.0, 2.0]], np.float32)
    for value, factor in zip(evaluate(onnx_ir.to_proto(read), x), (2, -1, -1, 1), strict=True):
        assert np.array_equal(value, factor * x)
    assert [value.name for value in read.graph.inputs] == ["x"]
    assert [value.name for value in read.graph.outputs] == ["y", "q", "r", "p"]


def test_inlined_names_do_not_capture_those_of_subgraphs():
    branch = helper.make_graph([node("Neg", "t", "h"), node("Add", "h t", "o")], "b", [], [info("o")])
    test = node("Constant", "", "c", value=numpy_helper.from_array(np.array(True)))
    twice = function("Twice", ["a"], ["b"], [node("Relu", "a", "h"), node("Add", "h h", "b")])
    nodes = [
        node("Twice", "x", "t", domain="f"),
        test,
        node("If", "c", "y", then_branch=branch, else_branch=branch),
    ]
    read = assert_same_function(with_functions(nodes, [twice]))
    names = [
        v.name
        for graph in (read.graph, read.graph[-1].attributes["then_branch"].as_graph())
        for n in graph
        for v in n.outputs
    ]
    assert len(names) == len(set(names))


def test_function_attributes_are_bound():
    leaky = helper.make_node("LeakyRelu", ["a"], ["b"])
    leaky.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    f = function("Leaky", ["a"], ["b"], [leaky], attribute_protos=[helper.make_attribute("slope", 0.25)])
    nodes = [node("Leaky", "x", "h", domain="f"), node("Leaky", "h", "y", domain="f", slope=0.5)]
    read = assert_same_function(with_functions(nodes, [f]))
    assert [n.attributes["alpha"].as_float() for n in read.graph] == [0.25, 0.5]


def test_own_functions_stay_calls():
    ks = function("KSLinear", ["a"], ["b"], [node("Relu", "a", "b")], domain="pathlift")
    read = read_model(with_functions([node("KSLinear", "x", "y", domain="pathlift")], [ks]))
    assert ops(read) == ["KSLinear"]
    assert ("pathlift", "KSLinear", "") in read.model.functions
    assert read.warnings == ()


def test_functions_of_another_opset_stay_calls_with_a_warning():
    helper_ = function("G", ["a"], ["b"], [node("Relu", "a", "b")])
    old = function("F", ["a"], ["b"], [node("G", "a", "b", domain="f")], opset=13)
    read = read_model(with_functions([node("F", "x", "y", domain="f")], [old, helper_]))
    assert ops(read) == ["F"]
    assert [n.op_type for n in read.model.functions["f", "F", ""]] == ["G"]
    assert "'F'" in " ".join(read.warnings)


# --- shapes


def test_negative_dimensions_are_unknown():
    read = read_model(model([node("Relu", "x", "y")], [info("x", (-1, 2))], [info("y", (-1, 2))]))
    assert read.model.graph.inputs[0].shape[0] == onnx_ir.SymbolicDim(None)
    assert read.warnings


# --- external data


def externalize(tensor: TensorProto, location: str, **entries) -> TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def external_mlp(location="w.bin", **entries) -> ModelProto:
    proto = mlp()
    externalize(proto.graph.initializer[0], location, **entries)
    return proto


def test_external_data_is_mapped_from_any_working_folder(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(b"head" + FLOATS.tobytes() + b"tail")
    (tmp_path / "m.onnx").write_bytes(external_mlp("data/w.bin", offset=4, length=24).SerializeToString())
    monkeypatch.chdir(tmp_path)
    read = read_model("m.onnx")
    monkeypatch.chdir("/")
    weight = read.model.graph.initializers["w"].const_value
    assert isinstance(weight, onnx_ir.ExternalTensor)
    assert np.array_equal(weight.numpy(), FLOATS)


def test_external_data_in_attributes_subgraphs_functions_and_sparse_tensors(tmp_path):
    (tmp_path / "w.bin").write_bytes(FLOATS.tobytes())

    def constant(name):
        return node("Constant", "", name, value=externalize(numpy_helper.from_array(FLOATS), "w.bin"))

    body = helper.make_graph([constant("o")], "b", [], [info("o", None)])
    f = function("KSLinear", ["a"], ["b"], [constant("k"), node("Add", "a k", "b")], domain="pathlift")
    pair = helper.make_sparse_tensor(
        externalize(numpy_helper.from_array(FLOATS.ravel()[1:3], "s"), "w.bin", offset=4),
        numpy_helper.from_array(np.array([0, 2])),
        [3],
    )
    proto = model(
        [node("If", "c", "y", then_branch=body, else_branch=body), node("KSLinear", "y", "z", domain="pathlift")],
        [info("c", (), TensorProto.BOOL)],
        [info("z", None)],
        sparse_initializer=[pair],
    )
    proto.functions.append(f)
    read = read_model(proto.SerializeToString(), base_dir=tmp_path).model
    tensors = [
        read.graph[0].attributes["then_branch"].as_graph()[0].attributes["value"].as_tensor(),
        read.functions["pathlift", "KSLinear", ""][0].attributes["value"].as_tensor(),
    ]
    for tensor in tensors:
        assert np.array_equal(tensor.numpy(), FLOATS)
    assert read.graph.initializers["s"].const_value.numpy().tolist() == [1, 0, 2]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_small_external_tensors_hold_no_file_open(tmp_path):
    (tmp_path / "w.bin").write_bytes(FLOATS.tobytes())
    tensors = [externalize(numpy_helper.from_array(FLOATS, f"w{i}"), "w.bin") for i in range(50)]
    gc.collect()  # mappings of other tests
    before = len(list(Path("/proc/self/fd").iterdir()))
    read = read_model(model([], [], [], tensors), base_dir=tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert len(read.model.graph.initializers) == 50


def test_three_gigabytes_are_read_in_200_megabytes(tmp_path):
    size = 750_000_000
    with open(tmp_path / "w.bin", "wb") as file:
        file.truncate(4 * size)
    tensor = TensorProto(name="w", dims=[size // 2, 2], data_type=TensorProto.FLOAT)
    proto = model([node("Gemm", "x w", "y", transB=1)], [info("x")], [info("y", None)], [externalize(tensor, "w.bin")])
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    script = """
import re, sys
from pathlift.frontend.read import read_model
read = read_model(sys.argv[1])
assert "torch" not in sys.modules
print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
"""
    run = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 200_000, f"{run.stdout} kB"


def test_bfloat16_stays_exact():
    array = np.array([1.5, -3.0], ml_dtypes.bfloat16)
    tensor = onnx_ir.to_proto(onnx_ir.Tensor(array, name="w"))
    assert np.array_equal(
        read_model(model([], [], [], [tensor])).model.graph.initializers["w"].const_value.numpy(), array
    )


def test_the_file_is_not_touched(tmp_path):
    path = Path(tmp_path / "m.onnx")
    path.write_bytes(mlp().SerializeToString())
    before = path.stat().st_mtime_ns, path.read_bytes()
    read_model(path)
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    assert list(tmp_path.iterdir()) == [path]
