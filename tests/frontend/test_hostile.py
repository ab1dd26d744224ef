"""Invalid and unsafe files are refused: with their own code, naming the culprit, in bounded time and memory."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from pathlift.frontend.read import read_model
from pathlift.ir.errors import InvalidModelError, PathliftError, UnsafeModelError, UnsupportedError, UsageError

FLOATS = np.arange(6, dtype=np.float32).reshape(2, 3)
BOOL = TensorProto.BOOL


def info(name, shape=("N", 2), dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def graph(nodes, inputs=(), outputs=(), initializers=(), name="g", **more):
    return helper.make_graph(list(nodes), name, list(inputs), list(outputs), list(initializers), **more)


def model(nodes, inputs=(), outputs=(), initializers=(), opsets=(("", 18),), **more):
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets]
    made = graph(nodes, inputs, outputs, initializers, **more)
    return helper.make_model(made, opset_imports=imports, ir_version=10)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def relu(**changes):
    """Return a valid model of one node, with some of its fields set."""
    made = model([node("Relu", "x", "y", name="act")], [info("x")], [info("y")])
    for field, value in changes.items():
        setattr(made, field, value)
    return made


def refused(source, code, *words, error=InvalidModelError, **options):
    if isinstance(source, onnx.ModelProto):
        source = source.SerializeToString()
    with pytest.raises(error) as caught:
        read_model(source, **options)
    assert caught.value.code == f"PL{code}", str(caught.value)
    assert type(caught.value) is error
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


# --- the file


def test_garbage_and_truncation_give_the_size():
    refused(b"\xff" * 37, "0101", "37 bytes")
    data = relu().SerializeToString()
    refused(data[:-1], "0101", f"{len(data) - 1} bytes")


def test_every_truncation_is_refused():
    data = relu().SerializeToString()
    for length in range(len(data)):
        with pytest.raises(InvalidModelError):
            read_model(data[:length])


@pytest.mark.parametrize("field", ["ir_version", "graph", "opset_import"])
def test_required_fields(field):
    made = relu()
    made.ClearField(field)
    refused(made, "0102", field)


def test_empty_files(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"")
    refused(tmp_path / "m.onnx", "0102", "0 bytes")
    refused(b"", "0102", "0 bytes")


def test_paths_that_cannot_be_read(tmp_path):
    refused(tmp_path / "absent.onnx", "0470", "absent.onnx", error=UsageError)
    refused(tmp_path, "0471", "folder", error=UsageError)
    refused("\0.onnx", "0472", error=UsageError)
    refused("", "0470", error=UsageError)
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "0471", "regular", error=UsageError)
    refused(relu(), "0473", error=UsageError, base_dir=tmp_path / "absent")


def test_a_file_above_the_memory_limit_is_not_read(tmp_path):
    path = tmp_path / "m.onnx"
    with open(path, "wb") as file:
        file.truncate(10**12)
    refused(path, "0212", "1000000000000 bytes", error=UnsafeModelError)


@pytest.mark.parametrize("version", [0, 2, onnx.IR_VERSION + 1, 2**62, -1])
def test_ir_versions(version):
    refused(relu(ir_version=version), "0103", str(version))


@pytest.mark.parametrize("version", [0, 6, onnx.defs.onnx_opset_version() + 1, 2**62, -1])
def test_opset_versions(version):
    made = relu()
    made.opset_import[0].version = version
    refused(made, "0104", str(version))


def test_missing_and_conflicting_opsets():
    made = relu()
    made.opset_import[0].domain = "other"
    refused(made, "0102", "opset")
    made = relu()
    made.opset_import.add(domain="ai.onnx", version=17)
    refused(made, "0107", "two versions")


def test_text_that_is_not_utf8():
    data = relu().SerializeToString()
    assert data.count(b"act") == 1
    refused(data.replace(b"act", b"a\xff\xfe"), "0105")


# --- structure


def test_duplicate_values():
    two = [node("Relu", "x", "y"), node("Neg", "x", "y", name="again")]
    refused(model(two, [info("x")], [info("y")]), "0111", "'again'", "'y'")
    refused(model([], [info("x"), info("x")]), "0111", "'x'")
    weight = numpy_helper.from_array(FLOATS, "w")
    refused(model([], [], [], [weight, weight]), "0111", "'w'")
    refused(model([node("Relu", "x", "x")], [info("x")]), "0111", "'x'")
    refused(model([node("Relu", "w", "w")], [], [], [weight]), "0111", "'w'")
    refused(model([node("Split", "x", "a a", num_outputs=2)], [info("x")]), "0111", "'a'")


def branch(nodes, output="o"):
    made = graph(nodes, [], [info(output)], name="branch")
    return node("If", "c", "y", then_branch=made, else_branch=made, name="choice")


CONDITION = info("c", (), BOOL)


def test_duplicate_values_across_scopes():
    nodes = [node("Relu", "x", "h"), branch([node("Relu", "x", "h"), node("Relu", "h", "o")])]
    refused(model(nodes, [info("x"), CONDITION], [info("y")]), "0111", "'h'")


def test_undefined_inputs():
    refused(model([node("Relu", "ghost", "y", name="n")], [], [info("y")]), "0112", "'n'", "'ghost'")
    made = model([branch([node("Relu", "ghost", "o", name="inner")])], [CONDITION], [info("y")])
    refused(made, "0112", "'inner'", "'ghost'")


def test_names_do_not_escape_their_graph():
    nodes = [branch([node("Relu", "c", "o")]), node("Relu", "o", "z", name="outside")]
    refused(model(nodes, [CONDITION], [info("z")]), "0112", "'outside'", "'o'")


def test_undefined_outputs():
    refused(model([], [], [info("ghost")]), "0113", "'ghost'")
    refused(model([branch([], "x")], [info("x"), CONDITION], [info("y")]), "0113", "'branch'", "'x'")


def test_cycles_are_named():
    nodes = [node("Add", "x b", "a", name="first"), node("Relu", "a", "b", name="second")]
    refused(model(nodes, [info("x")], [info("b")]), "0114", "'first'", "'second'")
    nodes = [branch([node("Relu", "z", "o")]), node("Relu", "y", "z", name="after")]
    refused(model(nodes, [CONDITION], [info("z")]), "0114", "'choice'", "'after'")


def test_a_node_that_reads_itself():
    refused(model([node("Add", "x y", "y", name="loop")], [info("x")], [info("y")]), "0114", "'loop'")


def test_a_long_cycle_has_a_short_message():
    count = 50_000
    nodes = [node("Relu", f"v{(i + 1) % count}", f"v{i}") for i in range(count)]
    with pytest.raises(InvalidModelError) as caught:
        read_model(model(nodes, [], [info("v0")]))
    assert caught.value.code == "PL0114"
    assert len(str(caught.value)) < 1000


def test_names_are_required():
    refused(model([], [info("")]), "0115")
    refused(model([], [], [], [numpy_helper.from_array(FLOATS)]), "0115")
    refused(model([node("", "x", "y", name="n")], [info("x")], [info("y")]), "0116", "'n'")


def test_names_are_shown_without_control_codes():
    refused(model([node("Relu", "x\x1b[31m", "y")], [], [info("y")]), "0112", r"x\x1b[31m")


# --- attributes and types


def attribute(**fields):
    made = relu()
    made.graph.node[0].attribute.add(name="alpha", **fields)
    return made


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"f": 1.0},
        {"type": AttributeProto.FLOAT, "i": 1},
        {"type": AttributeProto.FLOAT, "f": 1.0, "ints": [1]},
        {"type": AttributeProto.TENSOR},
        {"type": AttributeProto.GRAPH},
        {"type": AttributeProto.FLOAT, "ref_attr_name": "beta"},
    ],
)
def test_malformed_attributes(fields):
    refused(attribute(**fields), "0117", "'act'", "'alpha'")


def test_repeated_and_unnamed_attributes():
    made = attribute(type=AttributeProto.FLOAT, f=1.0)
    made.graph.node[0].attribute.add(name="alpha", type=AttributeProto.FLOAT, f=2.0)
    refused(made, "0117", "'alpha'")
    made.graph.node[0].attribute[0].name = ""
    refused(made, "0117")


def test_unknown_attribute_type_is_not_dropped():
    data = attribute(type=AttributeProto.FLOAT, f=1.0).SerializeToString()
    tag = b"\xa0\x01\x01"  # field 20, type = 1
    assert data.count(tag) == 1
    refused(data.replace(tag, b"\xa0\x01\x63"), "0117", "no type")


def test_string_attributes_that_are_not_utf8():
    refused(attribute(type=AttributeProto.STRINGS, strings=[b"\xff"]), "0105", "'alpha'")


def test_malformed_types():
    refused(model([], [info("x", dtype=999)]), "0118", "'x'", "999")
    refused(model([], [info("x", (1,) * 65)]), "0118", "'x'", "65")
    made = relu()
    made.graph.input[0].type.sequence_type.SetInParent()
    refused(made, "0118", "'x'")


def test_types_without_representation_are_unsupported():
    made = relu()
    made.graph.value_info.add(name="m").type.map_type.key_type = TensorProto.INT64
    refused(made, "0392", "'m'", error=UnsupportedError)


def test_tensors_that_contradict_their_declaration():
    weight = numpy_helper.from_array(FLOATS, "w")
    refused(model([], [info("w", (3, 2))], [], [weight]), "0119", "'w'")
    refused(model([], [info("w", (2, 3), TensorProto.DOUBLE)], [], [weight]), "0119", "'w'")


# --- tensors


def tensor(dims=(2, 3), data_type=TensorProto.FLOAT, name="w", **data):
    return model([], [], [], [TensorProto(name=name, dims=dims, data_type=data_type, **data)])


RAW = FLOATS.tobytes()


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (tensor(data_type=0, raw_data=RAW), "0121"),
        (tensor(data_type=999, raw_data=RAW), "0121"),
        (tensor(data_type=-1, raw_data=RAW), "0121"),
        (tensor((-2, 3), raw_data=RAW), "0122"),
        (tensor((-2, -3), raw_data=RAW), "0122"),
        (tensor((1,) * 65, raw_data=RAW[:4]), "0122"),
        (tensor(raw_data=RAW[:-1]), "0123"),
        (tensor(raw_data=RAW + b"\0"), "0123"),
        (tensor((0, 3), raw_data=RAW), "0123"),
        (tensor(), "0123"),
        (tensor(float_data=[1.0] * 5), "0123"),
        (tensor(float_data=[1.0] * 7), "0123"),
        (tensor(data_type=TensorProto.COMPLEX64, float_data=[1.0] * 6), "0123"),
        (tensor(data_type=TensorProto.INT4, int32_data=[1] * 6), "0123"),
        (tensor((1,), TensorProto.UINT8, int32_data=[256]), "0123"),
        (tensor((1,), TensorProto.UINT32, uint64_data=[2**32]), "0123"),
        (tensor((1,), TensorProto.STRING), "0123"),
        (tensor(int32_data=[1] * 6), "0124"),
        (tensor(raw_data=RAW, float_data=[1.0] * 6), "0124"),
        (tensor((1,), TensorProto.STRING, raw_data=b"a"), "0124"),
        (tensor(raw_data=RAW, segment=TensorProto.Segment(begin=0, end=6)), "0124"),
    ],
)
def test_lying_tensors(made, code):
    refused(made, code, "'w'")


@pytest.mark.parametrize("dims", [(2**40,), (2**32, 2**32), (2**62,) * 4, (0, 2**62)])
@pytest.mark.parametrize("data_type", [TensorProto.FLOAT, TensorProto.INT4, TensorProto.STRING])
def test_absurd_tensors(dims, data_type):
    refused(tensor(dims, data_type), "0211", "'w'", str(dims[-1]), error=UnsafeModelError)


def test_the_memory_limit_is_the_callers():
    refused(tensor(raw_data=RAW), "0211", error=UnsafeModelError, memory_limit=23)
    with pytest.raises(PathliftError, match="PL0212"):
        read_model(__file__, memory_limit=23)
    assert read_model(tensor(raw_data=RAW).SerializeToString(), memory_limit=24)


def test_tensors_of_attributes_and_subgraphs_are_checked():
    lying = TensorProto(dims=[3], data_type=TensorProto.FLOAT, raw_data=b"1234")
    inner = branch([node("Constant", "", "o", value=lying, name="k")])
    refused(model([inner], [CONDITION], [info("y")]), "0123", "'value'", "'k'")


def sparse(indices, dims=(2, 3), values=(5.0, 7.0)):
    made = helper.make_sparse_tensor(
        numpy_helper.from_array(np.array(values, np.float32), "w"),
        numpy_helper.from_array(np.array(indices), "i"),
        dims,
    )
    return model([], sparse_initializer=[made])


@pytest.mark.parametrize(
    "indices", [[0, 6], [-1, 0], [0, 0], [[0, 1], [0, 1]], [[0, 1], [0, 3]], [[0, 1], [0, -1]], [0], [[0], [1]]]
)
def test_malformed_sparse_tensors(indices):
    refused(sparse(indices), "0125", "'w'")


def test_sparse_bombs_are_not_allocated():
    tracemalloc.start()
    refused(sparse([0, 1], (2**40, 2**40)), "0211", "'w'", error=UnsafeModelError)
    made = sparse([0, 1], (2**20,))
    for index in range(50):
        more = made.graph.sparse_initializer.add()
        more.CopyFrom(made.graph.sparse_initializer[0])
        more.values.name = f"w{index}"
    refused(made, "0211", error=UnsafeModelError, memory_limit=2**23)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_sparse_attributes_of_other_operators_are_unsupported():
    pair = sparse([0, 1]).graph.sparse_initializer[0]
    made = model([node("Mine", "", "y", domain="org.mine", s=pair, name="n")], [], [info("y")])
    refused(made, "0391", "'n'", error=UnsupportedError)


# --- external data


def external(location="w.bin", dims=(2, 3), data_type=TensorProto.FLOAT, **entries):
    made = TensorProto(name="w", dims=dims, data_type=data_type, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        made.external_data.add(key=key, value=str(value))
    return made


@pytest.fixture
def folder(tmp_path):
    """Return a model's folder with 24 bytes of data in it, and a secret next to it."""
    (tmp_path / "secret").write_bytes(RAW)
    made = tmp_path / "model"
    made.mkdir()
    (made / "w.bin").write_bytes(RAW)
    return made


def saved(folder, held):
    path = folder / "m.onnx"
    path.write_bytes(model([], [], [], [held]).SerializeToString())
    return path


@pytest.mark.parametrize(
    "location", ["../secret", "a/../../secret", "./../secret", r"..\secret", "C:secret", r"C:\secret"]
)
def test_external_data_stays_in_the_folder(folder, location):
    refused(saved(folder, external(location)), "0201", "'w'", error=UnsafeModelError)


def test_external_data_is_not_absolute(folder):
    refused(saved(folder, external(str(folder.parent / "secret"))), "0201", error=UnsafeModelError)
    refused(saved(folder, external(str(folder / "w.bin"))), "0201", error=UnsafeModelError)


def test_external_data_through_links(folder):
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "inside").symlink_to(folder / "w.bin")
    (folder / "up").symlink_to(folder.parent)
    for location in ("link", "inside", "up/secret"):
        refused(saved(folder, external(location)), "0202", "'w'", error=UnsafeModelError)
    os.link(folder.parent / "secret", folder / "hard")
    refused(saved(folder, external("hard")), "0203", "'w'", error=UnsafeModelError)


def test_a_bare_file_name_does_not_weaken_the_checks(folder, monkeypatch):
    saved(folder, external("../secret"))
    monkeypatch.chdir(folder)
    refused("m.onnx", "0201", error=UnsafeModelError)


def test_external_data_of_bytes(folder):
    data = saved(folder, external()).read_bytes()
    refused(data, "0204", "'w'", error=UnsafeModelError)
    refused(data, "0131", base_dir=folder.parent)
    assert read_model(data, base_dir=folder)


@pytest.mark.parametrize(
    "location", ["absent.bin", ".", "sub/w.bin", "w.bin/x", "a\0b", "x" * 5000, "http://host/w.bin"]
)
def test_external_data_that_is_missing(folder, location):
    refused(saved(folder, external(location)), "0131", "'w'")


def test_external_data_that_is_not_a_file(folder):
    (folder / "data").mkdir()
    refused(saved(folder, external("data")), "0131")
    os.mkfifo(folder / "pipe")
    refused(saved(folder, external("pipe")), "0131")


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ({"offset": 1}, "0132"),
        ({"offset": 24}, "0132"),
        ({"offset": 2**62}, "0132"),
        ({"length": 20}, "0133"),
        ({"length": 28}, "0133"),
        ({"length": 2**62}, "0133"),
        ({"offset": -4}, "0134"),
        ({"length": -24}, "0134"),
        ({"length": "24x"}, "0134"),
        ({"length": ""}, "0134"),
        ({"length": "٢٤"}, "0134"),
        ({"length": "9" * 5000}, "0134"),
        ({"dims": (2, 4)}, "0132"),
        ({"dims": (2, 2), "length": 24}, "0133"),
        ({"location": ""}, "0134"),
        ({"__class__": "x"}, "0134"),
        ({"data_type": TensorProto.STRING}, "0134"),
    ],
)
def test_external_data_sizes(folder, entries, code):
    refused(saved(folder, external(**entries)), code, "'w'")


def test_repeated_external_entries(folder):
    held = external()
    held.external_data.add(key="location", value="../secret")
    refused(saved(folder, held), "0134", "'location'")


def test_absurd_external_tensors(folder):
    with open(folder / "w.bin", "wb") as file:
        file.truncate(2**42)
    refused(saved(folder, external(dims=(2**40,))), "0211", "'w'", error=UnsafeModelError)


def bad_function():
    held = node("Constant", "", "k", value=external("../secret"))
    return helper.make_function("f", "F", ["a"], ["k"], [held], [helper.make_opsetid("", 18)])


@pytest.mark.parametrize(
    "made",
    [
        model([node("Constant", "", "k", value=external("../secret"))], [], []),
        model([branch([node("Constant", "", "o", value=external("../secret"))])], [CONDITION], []),
        model([node("Mine", "", "k", domain="m", values=[external("../secret")])], [], []),
        model([node("If", "c", "y", then_branch=graph([], [], [], [external("../secret")]))], [CONDITION], []),
        model([], sparse_initializer=[onnx.SparseTensorProto(values=external("../secret"), dims=[2])]),
        model([], sparse_initializer=[onnx.SparseTensorProto(indices=external("../secret"), dims=[2])]),
    ],
)
def test_external_data_is_checked_wherever_it_is(folder, made):
    for sparse_tensor in made.graph.sparse_initializer:
        for part in (sparse_tensor.values, sparse_tensor.indices):
            part.name = part.name or "p"
            if part.data_location != TensorProto.EXTERNAL:
                part.MergeFrom(numpy_helper.from_array(np.array([0]), "p"))
    refused(made, "0201", "secret", error=UnsafeModelError, base_dir=folder)


def test_external_data_of_functions_is_checked(folder):
    made = relu()
    made.functions.append(bad_function())
    refused(made, "0201", error=UnsafeModelError, base_dir=folder)


# --- functions


def functions(*bodies, calls=1):
    """Return a model that calls the first of some functions; each body is a list of nodes from ``a`` to ``b``."""
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    nodes = [node("F0", "x", f"y{i}", domain="f") for i in range(calls)]
    made = model(nodes, [info("x")], [info("y0")], opsets=(("", 18), ("f", 1)))
    for index, body in enumerate(bodies):
        made.functions.append(helper.make_function("f", f"F{index}", ["a"], ["b"], body, imports))
    return made


def test_functions_are_defined_once():
    made = functions([node("Relu", "a", "b")])
    made.functions.append(made.functions[0])
    refused(made, "0141", "'F0'")


def test_recursive_functions():
    refused(functions([node("F0", "a", "b", domain="f")]), "0142", "'F0'")
    refused(functions([node("F1", "a", "b", domain="f")], [node("F0", "a", "b", domain="f")]), "0142", "'F0'", "'F1'")
    inner = graph([node("F0", "a", "o", domain="f")], [], [info("o")])
    refused(functions([node("If", "a", "b", then_branch=inner, else_branch=inner)]), "0142", "'F0'")


def test_calls_have_the_arguments_of_the_function():
    made = functions([node("Relu", "a", "b")])
    made.graph.node[0].input.append("x")
    refused(made, "0143", "'F0'")
    made = functions([node("Relu", "a", "b")])
    made.graph.node[0].output.append("z")
    refused(made, "0143", "'F0'")


def test_functions_see_their_own_inputs_only():
    refused(functions([node("Add", "a x", "b", name="n")]), "0112", "'n'", "'x'")
    refused(functions([node("Relu", "a", "c")]), "0113", "'b'")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("called", [True, False])
def test_function_bombs(called):
    depth = 40
    bodies = [[node(f"F{i + 1}", "a", "h", domain="f"), node(f"F{i + 1}", "h", "b", domain="f")] for i in range(depth)]
    made = functions(*bodies, [node("Relu", "a", "b")], calls=called)
    if not called:
        made.graph.output.pop()
    refused(made, "0213", error=UnsafeModelError)


@pytest.mark.timeout(60)
def test_many_calls_of_one_function():
    refused(functions([node("Relu", "a", "b")], calls=100_000), "0213", error=UnsafeModelError)


# --- models that ONNX's own shape inference dies of, or never ends on: it is not asked about whole models


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "double",
    [
        lambda i: node("Concat", f"v{i} v{i}", f"v{i + 1}", axis=0),
        lambda i: node("Gather", f"v{i} v{i}", f"v{i + 1}"),
        lambda i: branch_node(i),
    ],
)
def test_shapes_that_double(double):
    start = node("Constant", "", "v0", value=numpy_helper.from_array(np.arange(8)))
    nodes = [start, *(double(i) for i in range(60))]
    loads_or_refuses(model(nodes, [CONDITION], [info("v60", None, TensorProto.INT64)]))


def branch_node(i):
    body = graph([node("Concat", f"v{i} v{i}", f"o{i}", axis=0)], [], [info(f"o{i}", None, TensorProto.INT64)])
    return node("If", "c", f"v{i + 1}", then_branch=body, else_branch=body)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "hostile",
    [
        lambda: [node("Split", "x", "a b", axis=7, num_outputs=2), node("Add", "a b", "y")],
        lambda: [node("Split", "k", "a b", axis=0, num_outputs=2), node("Add", "a b", "y")],
        lambda: [node("EyeLike", "", "y")],
        lambda: [node("GatherND", "x big", "y", batch_dims=-3)],
        lambda: [node("Range", "zero big one", "r"), node("Cast", "r", "y", to=TensorProto.FLOAT)],
        lambda: [node("ConstantOfShape", "big1", "y")],
    ],
    ids=["split-axis", "split-scalar", "eye", "gather", "range", "constant-of-shape"],
)
def test_nodes_that_end_the_process(hostile):
    constants = {"k": np.float32(1), "zero": np.int64(0), "one": np.int64(1), "big": np.int64(2**40)}
    constants["big1"] = np.array([2**40])
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    loads_or_refuses(model(hostile(), [info("x")], [info("y", None)], tensors))


def loads_or_refuses(made):
    """Load in another process, which must end by itself, in little memory."""
    script = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
from pathlift.frontend.load import load
from pathlift.ir.errors import PathliftError
try:
    load(sys.stdin.buffer.read())
except PathliftError:
    pass
"""
    run = subprocess.run(
        [sys.executable, "-c", script], input=made.SerializeToString(), capture_output=True, timeout=50, check=False
    )
    assert run.returncode == 0, run.stderr.decode()


# --- nesting


@pytest.mark.parametrize("depth", [30, 100, 5000])
def test_deep_nesting(depth):
    made = model([], [CONDITION], [])
    inner = made.graph
    for _ in range(depth):
        held = inner.node.add(op_type="Mine", domain="m").attribute.add(name="body", type=AttributeProto.GRAPH)
        inner = held.g
        inner.name = "g"
    if depth == 30:
        assert read_model(made)
    else:
        refused_in_memory(made)


def refused_in_memory(made):
    with pytest.raises(InvalidModelError):
        read_model(made)


def test_deeply_nested_types():
    made = relu()
    held = made.graph.input[0].type
    for _ in range(5000):
        held = held.sequence_type.elem_type
    held.tensor_type.elem_type = TensorProto.FLOAT
    refused_in_memory(made)
