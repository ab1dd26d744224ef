"""Every op of the IR as ONNX nodes, at every opset, against ONNX Runtime; and opaque nodes across opsets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from pathlift.frontend import provenance
from pathlift.frontend.emit import EMISSIONS
from pathlift.frontend.emit.pointwise import same
from pathlift.frontend.emit.versions import NEWEST, carried
from pathlift.frontend.load import load
from pathlift.frontend.save import to_onnx
from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph, ModelInfo, Origin
from pathlift.ir.ops import OPS
from pathlift.ir.types import DTYPES, OtherType, Param, TensorType, is_float
from pathlift.testing import assert_equivalent, assert_same_as_onnxruntime, onnxruntime_session, sample, samples

F32 = TensorType(DTYPES["f32"], None)


def at_opset(graph: Graph, opset: int) -> Graph:
    return Graph(graph.nx, graph.outputs, replace(graph.info, opsets={"": opset}))


def with_dtype(graph: Graph, dtype: str) -> Graph:
    b = Builder(graph.info)
    for key in graph:
        node = graph[key]
        match node.op:
            case "Input":
                b.input(key, node.types[0].shape, dtype)
            case "Param":
                b.param(node.value.numpy().astype(DTYPES[dtype]) if is_float(node.value.dtype) else node.value, key)
            case _:
                b.node(node.op, *map(graph.name_of, graph.inputs_of(key)), names=node.names, **node.attrs)
    return b.finish(*map(graph.name_of, graph.outputs))


def check(name: str, graph: Graph) -> None:
    # Before opset 22, ONNX's shape inference counts a window that its operators, and ONNX Runtime, drop.
    onnx.checker.check_model(to_onnx(graph), full_check=not name.endswith("dropped_window") or opset(graph) >= 22)


def op_types(graph: Graph) -> list[str]:
    return [node.op_type for node in to_onnx(graph).graph.node]


def opset(graph: Graph) -> int:
    return next(entry.version for entry in to_onnx(graph).opset_import if not entry.domain)


def test_every_op_is_written() -> None:
    assert set(EMISSIONS) == set(OPS)


@pytest.mark.parametrize("version", [13, 17, 18, 20, 22])
@pytest.mark.parametrize("name", samples())
def test_same_as_onnxruntime(name: str, version: int) -> None:
    graph = at_opset(sample(name), version)
    # Sizes of a Resize need every extent, and that of a batch is not known: only opset 18 can leave it out.
    needed = {
        "Opaque": 18,
        "Resize/linear": 18,
        "Resize/align_corners": 18,
        "HardSwish": 14,
        "Gelu": 20,
        "Gelu/tanh": 20,
        "KSLinear/gelu": 20,
    }
    assert opset(graph) == max(version, needed.get(name, 13))
    check(name, graph)
    assert_same_as_onnxruntime(graph)


@pytest.mark.parametrize("version", range(13, NEWEST + 1))
@pytest.mark.parametrize("name", samples())
def test_valid_at_every_opset(name: str, version: int) -> None:
    check(name, at_opset(sample(name), version))


@pytest.mark.parametrize("version", [13, 22])
@pytest.mark.parametrize("dtype", ["f16", "f64", "bf16"])
@pytest.mark.parametrize("name", [name for name in samples() if name != "Opaque"])
def test_valid_in_every_precision(name: str, dtype: str, version: int) -> None:
    graph = at_opset(with_dtype(sample(name), dtype), version)
    if dtype == "bf16" and (name in NO_BF16 or (version == 13 and name.split("/")[0] in YOUNG_BF16)):
        pytest.skip("ONNX has no bfloat16 for it")
    check(name, graph)


NO_BF16 = {"Einsum/batched", "TopK", "TopK/sort"}
YOUNG_BF16 = {
    "Conv",
    "ConvTranspose",
    "AveragePool",
    "MaxPool",
    "BatchNormalization",
    "Elu",
    "HardSigmoid",
    "HardSwish",
}
YOUNG_BF16 |= {"KSLinear", "LeakyRelu", "PRelu", "ReduceMax", "ReduceMin", "Softplus", "Softsign"}


@pytest.mark.parametrize("dtype", ["f16", "f64"])
@pytest.mark.parametrize(
    "name",
    [
        "Gemm",
        "Clip/offset",
        "Pad/value",
        "Gelu/tanh",
        "HardSwish",
        "FakeQuantize",
        "ReduceMean",
        "Sub",
        "Split",
    ],
)
def test_other_precisions_in_onnxruntime(name: str, dtype: str) -> None:
    graph = with_dtype(sample(name), dtype)
    assert_same_as_onnxruntime(graph, rtol=4e-3 if dtype == "f16" else 1e-6)


@pytest.mark.parametrize("name", OPS)
def test_defaults_are_onnx_s_own(name: str) -> None:
    if EMISSIONS[name] is same:
        schema = onnx.defs.get_schema(name, max_inclusive_version=13)
        for attribute, declared in OPS[name].attributes.items():
            theirs = schema.attributes[attribute]
            assert declared.required or np.float32(declared.default) == helper.get_attribute_value(theirs.default_value)


@pytest.mark.parametrize("version", [13, 18, 22])
@pytest.mark.parametrize("name", samples())
def test_round_trip(name: str, version: int) -> None:
    graph = at_opset(sample(name), version)
    read = load(to_onnx(graph))
    assert_equivalent(graph, read, rtol=1e-6)
    assert str(load(to_onnx(read))) == str(read)
    if name not in SPELLED_ANEW and (version >= 22 or not name.endswith("dropped_window")):
        assert str(read).partition("\n")[2] == str(graph).partition("\n")[2]


# Loading prefers other words for the same: axes that count from the front, Relu, letters, reasons, no epilogues.
SPELLED_ANEW = {"Einsum", "ReduceSum", "Clip/relu", "TopK", "Opaque"}
SPELLED_ANEW |= {f"KSLinear/{variant}" for variant in ("bias", "blocks", "feature_major", "gelu")}


# Linear layers.


@pytest.mark.parametrize("trans_w", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    ("bias", "fits"),
    [(None, True), ((), True), ((1,), True), ((3,), True), ((1, 3), True), ((2, 3), False), ((2, 1, 1), False)],
)
def test_gemm(bias: tuple[int, ...] | None, fits: bool, rank: int, trans_w: bool) -> None:
    b, rng = Builder(), np.random.default_rng(0)
    w = b.param(rng.standard_normal((3, 4) if trans_w else (4, 3)).astype(np.float32), "w")
    biases = () if bias is None else (b.param(rng.standard_normal(bias).astype(np.float32), "b"),)
    graph = b.finish(b.op("Gemm", b.input("x", (2, 2, 4)[3 - rank :]), w, *biases, trans_w=trans_w, name="y"))
    assert_same_as_onnxruntime(graph)
    assert ("Gemm" in op_types(graph)) == (rank == 2 and fits and (trans_w or bias is not None))


def test_a_tied_weight_is_transposed_once() -> None:
    b = Builder()
    w = b.param(np.arange(16, dtype=np.float32).reshape(4, 4), "w")
    x = b.input("x", ("N", 2, 4))
    model = to_onnx(b.finish(b.op("Gemm", b.op("Gemm", x, w, trans_w=True), w, trans_w=True)))
    assert [node.op_type for node in model.graph.node] == ["Transpose", "MatMul", "MatMul"]
    assert [tensor.name for tensor in model.graph.initializer] == ["w"]


@pytest.mark.parametrize(
    ("x", "w", "equation", "op"),
    [
        ((2, 4, 3), (5, 4), "...kn,mk->...mn", "MatMul"),
        ((4, 3), (5, 4), "kn,mk->mn", "MatMul"),
        ((3, 4), (4, 5), "mk,kn->mn", "MatMul"),
        ((2, 3, 4), (5, 3), "bij,oi->boj", "MatMul"),
        ((6, 2, 3, 4), (2, 4, 5), "...bmk,bkn->...bmn", "MatMul"),
        ((2, 4, 3), (2, 5, 4), "bkn,bmk->bmn", "MatMul"),
        ((2, 3, 4), (5, 4), "...k,nk->...n", "Einsum"),
        ((2, 3, 4), (4, 5), "bmk,kn->nbm", "Einsum"),
        ((2, 3, 4), (2, 4), "bmk,bk->bm", "Einsum"),
        ((3, 4), (3, 4), "mk,mk->m", "Einsum"),
        ((3, 3), (3, 5), "kk,kn->kn", "Einsum"),
    ],
)
def test_einsum(x: tuple[int, ...], w: tuple[int, ...], equation: str, op: str) -> None:
    b, rng = Builder(), np.random.default_rng(0)
    weights = b.param(rng.standard_normal(w).astype(np.float32), "w")
    graph = b.finish(b.op("Einsum", b.input("x", x), weights, equation=equation, name="y"))
    assert op_types(graph) == [op]
    if equation != "kk,kn->kn":  # ONNX Runtime takes no such diagonal
        assert_same_as_onnxruntime(graph)


@pytest.mark.parametrize("version", [13, 18])
@pytest.mark.parametrize("extents", [{"scales": (2.0, 1.5)}, {"sizes": (7, 4)}])
@pytest.mark.parametrize("axes", [(2, 3), (-2, -1), (3, 2)])
def test_resize(axes: tuple[int, ...], extents: dict[str, Any], version: int) -> None:
    b = Builder(ModelInfo(opsets={"": version}))
    b.op("Resize", b.input("x", ("N", 2, 5, 6)), axes=axes, mode="linear", name="y", **extents)
    graph = b.finish("y")
    assert opset(graph) == (18 if "sizes" in extents else version)
    assert_same_as_onnxruntime(graph)


def test_a_dilated_average_pool_raises_the_opset() -> None:
    b = Builder(ModelInfo(opsets={"": 15}))
    x = b.input("x", ("N", 2, 7, 7))
    graph = b.finish(b.op("AveragePool", x, kernel=(2, 2), strides=(1, 1), pads=(0,) * 4, dilations=(2, 3), name="y"))
    assert opset(graph) == 19
    assert_same_as_onnxruntime(graph)


# Quantization.


@pytest.mark.parametrize(
    ("dtype", "low", "high", "expected"),
    [("i8", -128, 127, 18), ("i8", -127, 127, 18), ("u8", 0, 100, 18), ("i16", -32768, 32767, 21), ("u4", 0, 15, 21)],
)
def test_fake_quantize(dtype: str, low: int, high: int, expected: int) -> None:
    b = Builder()
    attrs = {"scale": 0.0625, "zero_point": 5, "dtype": dtype, "low": low, "high": high}
    graph = b.finish(b.op("FakeQuantize", b.input("x", ("N", 40)), name="y", **attrs))
    assert opset(graph) == expected
    feed = np.random.default_rng(0).normal(0, 8, (3, 40)).astype(np.float32)
    assert_same_as_onnxruntime(graph, feeds=[{"x": feed}])
    assert ("Clip" in op_types(graph)) == ((low, high) in {(-127, 127), (0, 100)})


def test_quantization_that_onnx_does_not_have() -> None:
    b = Builder()
    b.op("FakeQuantize", b.input("x", (2,)), scale=1.0, zero_point=0, dtype="f32", low=0, high=1, name="y")
    with pytest.raises(UnsupportedError, match=r"PL0374 node 'y' \(FakeQuantize\): ONNX cannot quantize to f32"):
        to_onnx(b.finish("y"))


# Names, constants, provenance.


def test_constants_have_readable_names_and_are_shared() -> None:
    b = Builder()
    x = b.input("x", ("N", 2, 6))
    b.input("a_shape", ())  # a name that is taken
    first = b.op("Reshape", x, shape=(-1, 4, 3), name="a")
    b.op("Reshape", first, shape=(-1, 2, 6), name="b")
    b.op("Reshape", x, shape=(-1, 4, 3), name="c")
    model = to_onnx(b.finish("b", "c"))
    assert [list(node.input) for node in model.graph.node] == [["x", "a_shape_1"], ["a", "b_shape"], ["x", "a_shape_1"]]


def test_provenance() -> None:
    b = Builder()
    x = b.input("x", ("N", 2, 4), origin=Origin(doc="an image", metadata=(("k", "v"),)))
    w = b.param(np.ones((4, 3), np.float32), "w", Origin(("fold",), "weights", (("unit", "m"),)))
    y = b.op("Gemm", x, w, b.param([1.0, 2, 3]), name="y", origin=Origin(("mm", "bias"), "a layer", (("ns", "fc"),)))
    b.op("Relu", y, name="z", origin=Origin(("r1", "r2", "r3")))
    model = to_onnx(b.finish("z"))
    assert [node.name for node in model.graph.node] == ["mm", "bias", "r1"]
    assert [node.doc_string for node in model.graph.node] == ["", "a layer", ""]
    assert props(model.graph.node[0]) == {}
    assert props(model.graph.node[1]) == {"ns": "fc"}
    assert props(model.graph.node[2]) == {"pathlift.nodes": '["r1", "r2", "r3"]'}
    assert (model.graph.input[0].doc_string, props(model.graph.input[0])) == ("an image", {"k": "v"})
    assert [(info.name, info.doc_string, props(info)) for info in model.graph.value_info][:1] == [
        ("w", "weights", {"unit": "m", "pathlift.nodes": '["fold"]'})
    ]


def test_what_prepares_an_operand_has_no_name() -> None:
    b = Builder(ModelInfo(opsets={"": 9}))
    w = b.param(np.arange(12, dtype=np.float32).reshape(3, 4), "w")
    y = b.op("Gemm", b.input("x", ("N", 2, 4)), w, trans_w=True, name="y", origin=Origin(("fc",)))
    opaque(b, helper.make_node("ReduceL2", ["y"], ["z"], axes=[1]), y, version=9, origin=Origin(("norm",), "doc"))
    b.node("Gelu", "z", names=["g"])  # so that the axes become an input
    nodes = to_onnx(b.finish("g")).graph.node
    names = [("Transpose", ""), ("MatMul", "fc"), ("Constant", ""), ("ReduceL2", "norm"), ("Gelu", "")]
    assert [(node.op_type, node.name) for node in nodes] == names
    assert nodes[3].doc_string == "doc"


def test_names_of_nodes_are_unique() -> None:
    b = Builder(ModelInfo(opsets={"": 18}))
    b.input("x", ("N", 3))
    for source, name, layer in [("x", "a", "act"), ("a", "b", "act"), ("b", "c", "act_Relu"), ("c", "y", "act")]:
        b.op("Relu", source, name=name, origin=Origin((layer,)))
    graph = b.finish("y")
    model = to_onnx(graph)
    assert [node.name for node in model.graph.node] == ["act_Relu_3", "act_Relu_2", "act_Relu", "act"]
    assert str(load(model)).partition("\n")[2] == str(graph).partition("\n")[2]


@pytest.mark.parametrize("text", ["", "[", "7", "[1]", '{"a": "b"}', "[" * 100_000])
def test_metadata_that_are_no_names(text: str) -> None:
    assert provenance.origin("n", "", {"pathlift.nodes": text}) == Origin(("n",), "", (("pathlift.nodes", text),))


def props(proto: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in proto.metadata_props}


def test_integers_as_floating_point_attributes() -> None:
    b = Builder()
    graph = b.finish(b.op("LeakyRelu", b.input("x", ("N", 3)), alpha=2, name="y"))
    assert_same_as_onnxruntime(graph)


def test_tied_parameters_become_one_initializer() -> None:
    b, weights = Builder(), Param.of(np.eye(3, dtype=np.float32))
    x = b.op("Gemm", b.input("x", ("N", 3)), b.param(weights, "w1"))
    graph = b.finish(b.op("Gemm", x, b.param(weights, "w2"), name="y"))
    assert [tensor.name for tensor in to_onnx(graph).graph.initializer] == ["w1"]
    assert_same_as_onnxruntime(graph)


def test_an_unnamed_value() -> None:
    b = Builder()
    b.node("Split", b.input("x", ("N", 3)), names=["", "y"], axis=1, parts=(1, 2))
    assert_same_as_onnxruntime(b.finish("y"))


# Opaque nodes.


def opaque(
    b: Builder, proto: NodeProto, *inputs: Any, version: int, captures: tuple[str, ...] = (), **more: Any
) -> Any:
    attrs = {"op_type": proto.op_type, "domain": proto.domain, "version": version, "reason": "it is opaque"}
    types = more.pop("types", [F32] * len(proto.output))
    data = proto.SerializeToString()
    names = more.pop("names", list(proto.output))
    return b.node("Opaque", *inputs, names=names, types=types, proto=data, captures=captures, **attrs, **more)


def body(name: str, nodes: list[NodeProto], output: str) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)])


def branches() -> NodeProto:
    then = body("then", [helper.make_node("Mul", ["x", "inner"], ["t"])], "t")
    then.initializer.append(onnx.numpy_helper.from_array(np.float32([2, 3]), "inner"))
    nested = body("nested", [helper.make_node("Add", ["x", "x"], ["t2"])], "t2")
    negated = body("negated", [helper.make_node("Neg", ["w"], ["u"])], "u")
    choose = helper.make_node("If", ["c"], ["e"], then_branch=nested, else_branch=negated)
    return helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=body("else", [choose], "e"))


@pytest.mark.parametrize("condition", [True, False])
@pytest.mark.parametrize("value", ["x", "inner", "t", "e", "u", "t2"])
def test_subgraphs_read_what_was_renamed(value: str, condition: bool) -> None:
    b = Builder(ModelInfo(opsets={"": 13}))
    x, c, w = b.input("a", (2,)), b.input("c", (), "bool"), b.param([7.0, 8.0], "w")
    moved = b.op("Relu", x, name="x")
    opaque(b, branches(), c, moved, w, version=13, captures=("x", "w"), types=[TensorType(DTYPES["f32"], (2,))])
    if value != "x":
        b.rename("x", value)  # clashes with a name inside
    graph = b.finish("y")
    feeds = {"a": np.float32([1, 4]), "c": np.array(condition)}
    (y,) = onnxruntime_session(to_onnx(graph).SerializeToString()).run(None, feeds)
    np.testing.assert_array_equal(y, [2, 12] if condition else [-7, -8])


def test_opaque_is_kept_as_it_is() -> None:
    b = Builder(ModelInfo(opsets={"": 14, "com.example": 3}))
    proto = helper.make_node("Thing", ["", "q", ""], ["r", ""], domain="com.example", name="old", flag=1, text="x")
    b.input("p", (2,))
    opaque(b, proto, None, "p", version=3, names=("s", ""), types=[F32, F32], origin=Origin(("named",)))
    model = to_onnx(b.finish(b.op("Relu", "s", name="y")))
    thing = model.graph.node[0]
    assert (list(thing.input), list(thing.output), thing.name) == (["", "p"], ["s"], "named")
    assert thing.attribute == proto.attribute
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 14, "com.example": 3}


def test_sequences_are_carried() -> None:
    b = Builder(ModelInfo(opsets={"": 17}))
    b.input("x", (2,))
    b.input_of("s", OtherType("seq(tensor(float))"))
    kind = OtherType("seq(tensor(float))")
    opaque(b, helper.make_node("SequenceInsert", ["s", "x"], ["t"]), "s", "x", version=17, types=[kind])
    model = to_onnx(b.finish("t"))
    onnx.checker.check_model(model, full_check=True)
    (t,) = onnxruntime_session(model.SerializeToString()).run(None, {"x": np.ones(2, np.float32), "s": []})
    np.testing.assert_array_equal(t, [[1, 1]])


def test_a_type_that_cannot_be_written() -> None:
    b = Builder()
    b.input_of("s", OtherType("map(int64,tensor(float))"))
    with pytest.raises(UnsupportedError, match="PL0375"):
        to_onnx(b.finish("s"))


def test_local_response_normalization_of_opset_9() -> None:
    b = Builder(ModelInfo(opsets={"": 9}))
    b.input("x", ("N", 4, 3, 3))
    opaque(b, helper.make_node("LRN", ["x"], ["n"], size=3, alpha=0.5), "x", version=9)
    graph = b.finish(b.op("ReduceMax", "n", axes=(2, 3), name="y"))
    assert opset(graph) == 13
    assert_same_as_onnxruntime(graph)


X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
KEPT: list[tuple[str, int, int, list[Any], dict[str, Any]]] = [
    # operator, its opset, that of the model, inputs, attributes
    ("Squeeze", 11, 13, [X[:, None]], {"axes": [1]}),
    ("Unsqueeze", 9, 13, [X], {"axes": [0, 2]}),
    ("ReduceSum", 11, 13, [X], {"axes": [1], "keepdims": 0}),
    ("ReduceSum", 9, 18, [X], {}),
    ("ReduceL2", 11, 18, [X], {"axes": [-1]}),
    ("ReduceMax", 13, 20, [X], {"axes": [0]}),
    ("ReduceLogSumExp", 13, 21, [X], {}),
    ("Split", 11, 13, [X], {"axis": 1, "split": [1, 2]}),
    ("Split", 13, 18, [X, np.array([1, 2])], {"axis": 1}),
    ("Clip", 7, 13, [X], {"min": -0.5, "max": 0.25}),
    ("Clip", 10, 13, [X], {"max": 0.25}),
    ("Clip", 10, 13, [X], {}),
    ("Pad", 10, 13, [X], {"pads": [0, 1, 0, 0], "value": 2.0}),
    ("Slice", 9, 13, [X], {"starts": [1], "ends": [3], "axes": [1]}),
    ("TopK", 9, 13, [X], {"k": 2}),
    ("Where", 9, 18, [X > 0, X, -X], {}),
    ("Cast", 9, 19, [X], {"to": TensorProto.INT32}),
    ("ArgMax", 11, 13, [X], {"axis": 1}),
    ("Scatter", 9, 13, [X, np.array([[1, 0, 1]]), X[:1]], {}),
    ("ScatterElements", 11, 18, [X, np.array([[1, 0, 1]]), X[:1]], {"axis": 0}),
    ("MaxPool", 8, 13, [X[None]], {"kernel_shape": [2]}),
    ("Dropout", 9, 13, [X], {"ratio": 0.3}),
    ("BatchNormalization", 9, 15, [X, *np.float32([[1, 2, 3], [0, 1, 0], [1, 1, 1], [2, 1, 3]])], {}),
    ("LSTM", 7, 14, [X[None], np.ones((1, 8, 3), np.float32), np.ones((1, 8, 2), np.float32)], {"hidden_size": 2}),
]


@pytest.mark.parametrize(
    ("op_type", "old", "new", "arrays", "attrs"), KEPT, ids=lambda v: str(v) if isinstance(v, str | int) else ""
)
def test_older_operators_keep_their_meaning(
    op_type: str, old: int, new: int, arrays: list[Any], attrs: dict[str, Any]
) -> None:
    feeds = {f"i{k}": a for k, a in enumerate(arrays)}
    outputs = ["o", "p"] if op_type in {"TopK", "Split"} else ["o"]
    node = helper.make_node(op_type, list(feeds), outputs, **attrs)
    want = run([node], old, feeds, outputs)
    fresh: Iterator[int] = iter(range(9))
    moved = carried(node, old, new, lambda hint: f"{hint}_{next(fresh)}")
    assert all(n.op_type in {"Constant", op_type, "ScatterElements"} for n in moved)
    for a, b in zip(run(moved, new, feeds, outputs), want, strict=True):
        np.testing.assert_array_equal(a, b)


def run(nodes: list[NodeProto], version: int, feeds: dict[str, Any], outputs: list[str]) -> list[Any]:
    inputs = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for k, a in feeds.items()
    ]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_empty_tensor_value_info(name) for name in outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)
    return list(onnxruntime_session(model.SerializeToString()).run(None, feeds))


@pytest.mark.parametrize(
    ("op_type", "old", "new", "inputs", "attrs"),
    [
        ("Upsample", 9, 13, 2, {"mode": "nearest"}),
        ("Resize", 10, 13, 2, {"mode": "nearest"}),
        ("RoiAlign", 10, 16, 3, {}),
        ("GroupNormalization", 18, 21, 3, {"num_groups": 2}),
        ("Softmax", 11, 13, 1, {"axis": 1}),
        ("Hardmax", 11, 13, 1, {}),
        ("GridSample", 16, 20, 2, {}),
        ("GridSample", 16, 20, 2, {"mode": "bilinear"}),
        ("BatchNormalization", 7, 13, 5, {"spatial": 0}),
        ("Scan", 8, 13, 2, {"num_scan_inputs": 1}),
        ("DFT", 17, 20, 1, {}),
        ("NoSuchOperator", 9, 13, 1, {}),
    ],
)
def test_operators_whose_meaning_moved_are_refused(
    op_type: str, old: int, new: int, inputs: int, attrs: dict[str, Any]
) -> None:
    b = Builder(ModelInfo(opsets={"": new}))
    names = [b.input(f"i{k}", None) for k in range(inputs)]
    node = helper.make_node(op_type, [f"i{k}" for k in range(inputs)], ["y"], **attrs)
    opaque(b, node, *names, version=old, origin=Origin(("old",)))
    message = rf"PL0372 node 'old' \({op_type}\): {op_type} of opset {old} has no known equal in opset {new}"
    with pytest.raises(UnsupportedError, match=message):
        to_onnx(b.finish("y"))


def test_older_operators_inside_subgraphs() -> None:
    b = Builder(ModelInfo(opsets={"": 11}))
    x, c = b.input("x", (1, 2)), b.input("c", (), "bool")
    squeeze = body("then", [helper.make_node("Squeeze", ["x"], ["t"], axes=[0])], "t")
    reduce = body("else", [helper.make_node("ReduceSum", ["x"], ["e"], axes=[0], keepdims=0)], "e")
    proto = helper.make_node("If", ["c"], ["y"], then_branch=squeeze, else_branch=reduce)
    opaque(b, proto, c, x, version=11, captures=("x",), types=[TensorType(DTYPES["f32"], (2,))])
    model = to_onnx(b.finish(b.op("Relu", "y", name="z")))
    onnx.checker.check_model(model, full_check=True)
    for condition in (True, False):
        (z,) = onnxruntime_session(model.SerializeToString()).run(
            None, {"x": np.float32([[1, -2]]), "c": np.array(condition)}
        )
        np.testing.assert_array_equal(z, [1, 0])


def test_versions_mix() -> None:
    b = Builder(ModelInfo(opsets={"": 14}))
    b.input("x", (2, 3))
    opaque(b, helper.make_node("Squeeze", ["x"], ["y"]), "x", version=21)
    assert opset(b.finish("y")) == 21


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
