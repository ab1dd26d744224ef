"""The text form: every graph survives it, and every complaint says where and what."""

from __future__ import annotations

import time
from dataclasses import replace
from types import MappingProxyType

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pathlift.ir.builder import Builder
from pathlift.ir.compare import graphs_equal
from pathlift.ir.errors import PathliftError, TextError
from pathlift.ir.graph import Graph, ModelInfo, Origin
from pathlift.ir.ops import OPS
from pathlift.ir.quoting import quote, unquote
from pathlift.ir.text import parse_graph, print_graph
from pathlift.ir.types import DTYPES, OtherType, Param, TensorType

NAMES = st.text(min_size=1) | st.sampled_from(
    ["gpu_0/data_0", "a b", 'q"', "_", "x:0", "\x1b[31m", "\u202e", "%x", "\n"]
)


def round_trip(graph: Graph, max_inline: int = 16) -> Graph:
    text = print_graph(graph, max_inline=max_inline)
    params = {graph[key].names[0]: graph[key].value for key in graph.params}
    again = parse_graph(text, params)
    assert graphs_equal(graph, again) == ""
    assert print_graph(again, max_inline=max_inline) == text
    return again


def mlp() -> Graph:
    b = Builder(ModelInfo("mlp", ir_version=10, opsets=MappingProxyType({"": 18})))
    x = b.input("x", ("N", 3))
    w, c = b.param([[1.0, -2.0], [0.1, 4.0], [0.0, -0.0]], "fc1.weight"), b.param([0.5, 1e-8], "fc1.bias")
    h = b.op("Gemm", x, w, c, name="h", origin=Origin(("fc1",)))
    r = b.op("Relu", h, name="r", origin=Origin(("relu1",), "a doc\nof two lines", (("pkg", "nn.ReLU"),)))
    v = b.param(np.arange(20, dtype=np.float32).reshape(10, 2), "fc2.weight")
    return b.finish(b.op("Gemm", r, v, trans_w=True, name="y"))


def residual_cnn() -> Graph:
    b = Builder()
    x = b.input("x", ("N", 3, 8, 8))
    conv = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
    kernel = b.param(np.linspace(-1, 1, 81, dtype=np.float32).reshape(3, 3, 3, 3), "k")
    h = b.op("Conv", x, kernel, **conv, name="conv")
    statistics = [
        b.param(np.full(3, v, np.float32), n) for n, v in (("gamma", 2), ("beta", 1), ("mean", 0), ("var", 1))
    ]
    n = b.op("BatchNormalization", h, *statistics, epsilon=1e-3, name="bn", origin=Origin(("layer1/bn",)))
    s = b.op("Add", b.op("Relu", n, name="relu"), x, name="sum")
    p = b.op("MaxPool", s, kernel=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0), dilations=(1, 1), name="pool")
    return b.finish(b.op("ReduceMean", p, axes=(2, 3), keepdims=False, name="y"))


def group_sort() -> Graph:
    b = Builder()
    x = b.input("x", ("N", 8))
    g = b.op("Reshape", x, shape=(0, 4, 2), name="groups")
    return b.finish(b.op("Reshape", b.op("TopK", g, k=2, name="sorted"), shape=(0, -1), name="y"))


def multi_output() -> Graph:
    b = Builder(ModelInfo("two heads", doc="splits", overridable=("c",)))
    x = b.input("x", (2, 5), "bf16")
    low, high = b.node("Split", x, names=("low", "gpu 0/high"), axis=1, parts=(2, 3))
    c = b.param(np.array([0.1, 0.2], ml_dtypes.bfloat16), "c")
    tied = b.param(b[c].value, "tied")
    return b.finish(b.op("Mul", b.op("Mul", low, c, name="a"), tied, name="b"), high)


def opaque() -> Graph:
    b = Builder(ModelInfo("opaque", opsets=MappingProxyType({"": 18, "com.acme": 1})))
    x = b.input("x", None)
    s = b.input_of("s", OtherType("seq(tensor(float))"))
    attrs = {"op_type": "Fancy", "domain": "com.acme", "version": 1, "reason": "it is custom", "proto": b"\x00\xff"}
    types = (TensorType(None, ("batch size", None)), OtherType("<?>"))
    y, _ = b.node("Opaque", x, None, s, names=("y", ""), types=types, **attrs)
    return b.finish(y)


SAMPLES = [mlp, residual_cnn, group_sort, multi_output, opaque]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda f: f.__name__)
def test_golden_text(sample, golden):
    golden(f"ir/text/{sample.__name__}.txt", str(sample()))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("max_inline", [0, 1, 1000])
def test_round_trip(sample, max_inline):
    round_trip(sample(), max_inline)


@given(st.text())
@example("\ud800\udc00")
def test_quoting_round_trips_and_prints_safely(text):
    assert unquote(quote(text)) == text
    assert quote(text).isprintable()
    quote(text).encode()


@given(st.lists(NAMES, min_size=4, max_size=4, unique=True), NAMES, st.text(), st.dictionaries(NAMES, st.text()))
@settings(deadline=None)
def test_any_names_and_provenance_round_trip(names, symbol, text, mapping):
    info = ModelInfo(text, text, 3, MappingProxyType({"": 7, "d": 1}), *[MappingProxyType(mapping)] * 3, (names[0],))
    b = Builder(info)
    x = b.input(names[0], (symbol, 2), origin=Origin((names[0], ""), text, tuple(mapping.items())))
    w = b.param([1.0, 2.0], names[1], origin=Origin(doc=text))
    again = round_trip(b.finish(*b.node("Split", b.op("Mul", x, w), names=names[2:], axis=1, parts=(1, 1))))
    assert str(again).replace("\n", "").isprintable()


@pytest.mark.parametrize("name", [n for n in DTYPES if n != "str"])
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_parameters_of_every_type_round_trip_bit_by_bit(name, data):
    dtype = DTYPES[name]
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    size = int(np.prod(shape))
    raw = data.draw(st.binary(min_size=size * dtype.itemsize, max_size=size * dtype.itemsize))
    array = np.frombuffer(raw, dtype) if name not in ("bool", "i4", "u4", "i2", "u2", "f4e2m1") else _small(raw, name)
    b = Builder()
    w = b.param(Param.of(array.reshape(shape)), "w")
    round_trip(b.finish(w), max_inline=100)


def _small(raw: bytes, name: str) -> np.ndarray:
    wide = np.frombuffer(raw, np.uint8)
    if name == "bool":
        return wide % 2 == 1
    bits = int(name[1])
    wide = (wide % 2**bits).astype(np.int8)
    return (wide - 2 ** (bits - 1) if name[0] == "i" else wide / 4 if name[0] == "f" else wide).astype(DTYPES[name])


def test_strings_and_bytes_are_parameters_too():
    b = Builder()
    round_trip(b.finish(b.param(np.array([["a\n", b"\xff"], ["", "é"]], object), "w")))


@given(st.floats(), st.floats(), st.integers())
@settings(deadline=None)
def test_attributes_round_trip(low, high, axis):
    b = Builder()
    x = b.input("x", None)
    y = b.op("Clip", x, low=low, high=high)
    round_trip(b.finish(b.op("Softmax", y, axis=axis)))


def test_ties_survive():
    again = round_trip(multi_output())
    assert again["c"].value is again["tied"].value


def test_edited_graphs_round_trip():
    graph = mlp()
    b = graph.edit()
    b.rename("h", "hidden")
    b.op("Relu", "x", name="h")
    b.replace_node("x", types=(TensorType(DTYPES["f32"], (8, 3)),))
    changed = b.finish("h")
    assert changed.type_of(changed.outputs[0]) == TensorType(DTYPES["f32"], (8, 10))
    round_trip(changed)


def test_types_are_inferred_where_left_out_and_comments_skipped():
    graph = parse_graph("""
        # a comment
        %x = Input : f32[N, 2]
        %w = Param {value=[[1, 2.5],   # rows
                           [3, 4],]}
        %y = Gemm(%x, %w)  # no location

        return %y  # the end
    """)
    assert str(graph.type_of(graph.outputs[0])) == "f32[N, 2]"
    assert graph["w"].value.dtype == np.float32


def test_values_come_from_the_caller():
    text = "%w = Param : f32[2]\nreturn %w"
    assert parse_graph(text, {"w": np.float32([1, 2])})["w"].value.numpy().tolist() == [1, 2]
    filled = parse_graph(text, fill=lambda name, type_: np.zeros(type_.shape, type_.dtype))
    assert not filled["w"].value.numpy().any()
    for params in ({"w": np.float64([1, 2])}, {"w": np.float32([1])}):
        with pytest.raises(TextError, match="PL0604 line 1, column"):
            parse_graph(text, params)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "PL0601 line 1, column 1: expected a value, like '%x', found the end of the text"),
        ("%x = Input : f32[2]", "expected a value"),
        ("%x = Inputs : f32[2]", "PL0603 line 1, column 6: there is no op 'Inputs'"),
        ("%x = Input\n%y = Relu(%z)", "PL0606 line 2, column 11: there is no value 'z' so far"),
        ("%x = Input : f32[2\nreturn %x", r"PL0601 line 2, column 1: expected ',' or '\]'"),
        ("%x = Input : f31[2]", "PL0607 line 1, column 14: there is no element type 'f31'"),
        ("%x = Input\n%y = Relu(%x) {a=1}", "PL0603 line 2, column 16: Relu has no attribute 'a'"),
        ("%x = Input\n%y = Relu(%x, %x)", "PL0603 line 2, column 1: node 'y': Relu takes 1 to 1 inputs"),
        ("%x = Input : f32[3]\n%y = Reshape(%x) {shape=[2]}\nreturn", "PL0603 line 2, column 1: .*cannot reshape"),
        ("%x = Input : f32[3]\n%y = Relu(%x) : f32[4]", "PL0603 line 2, .* is f32.3., declared f32.4."),
        ("%x = Input\n%x = Input", "PL0603 line 2, column 1: two values are called 'x'"),
        ("%x, %y = Input", "has one output"),
        ('%x = Input {a="\\q"}', "PL0601"),
        ('%"\\q" = Input', "PL0602 line 1, column 2: the string has an unknown escape"),
        ("%w = Param {value=[1, [2]]}", "PL0604 .* rows differ"),
        ("%w = Param {value=300} : i8[]", "PL0604 .* 300 is out of range for i8"),
        ("%w = Param {value=1e6} : f16[]", "PL0604 .* out of range for f16"),
        ("%w = Param {value=1.5} : i8[]", "PL0604 .* i8 cannot hold float"),
        ("%w = Param {value=[1.0]} : f32[2]", "PL0604 .* declared"),
        ("%w = Param : f32[2]", "PL0605 .* hint: pass params="),
        ("%w = Param {value=1, value=2}", "PL0602 .* given twice"),
        ("%x = Input\n%w = Param {same=%x}", "same as a parameter"),
        ("%x = Input\n%a, %b = Split(%x) {parts=[1, 1]} : f32[1]", "PL0607 .* 2 outputs, but 1 types"),
        ("return\n%x = Input", "expected the end of the text"),
        ('graph "g" {opst=1}\nreturn', "PL0602 .* a graph has no 'opst'"),
        ("%x = Input # loc: a b\nreturn", "expected ','"),
        ("%x = Input\n%y = Relu(%x) {alpha=" + "[" * 99, "PL0603"),
        ("%w = Param {value=" + "[" * 99, "PL0602 .* brackets"),
        ("%w = Param {value=" + "9" * 5000 + "}", "PL0602 .* too long"),
        ("%w = Param {value=1e999}", "PL0602 .* out of range"),
        ('%x = Input\n%y = Opaque(%x) {proto=b64"a"}', "PL0602 .* not base64"),
        ('%"" = Input', "cannot be empty"),
    ],
)  # fmt: skip
def test_errors_say_where_and_what(text, message):
    with pytest.raises(TextError, match=message):
        parse_graph(text)


TEXTS = [print_graph(sample(), max_inline=1000) for sample in SAMPLES]
PIECES = [*"%_=(){}[],:?#\"\\ \n-.e9", "0", "-1", "inf", "nan", "true", "999999999999999999999", "b64\"", "loc:",
          "return", "...", *OPS, *DTYPES, *{name for op in OPS.values() for name in op.attributes}]  # fmt: skip


def _parses_or_complains(text: str) -> None:
    try:
        graph = parse_graph(text)
    except TextError as error:
        if str(error).split()[1] != "line":
            raise
    else:
        assert graphs_equal(graph, parse_graph(print_graph(graph, max_inline=1000))) == ""


@given(st.text() | st.lists(st.sampled_from(PIECES)).map(" ".join))
@settings(deadline=None, max_examples=300)
def test_arbitrary_text_parses_or_is_a_text_error(text):
    _parses_or_complains(text)


@given(st.sampled_from(TEXTS), st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 6), st.sampled_from(PIECES))))
@settings(deadline=None, max_examples=600)
def test_mutated_text_parses_or_is_a_text_error(text, edits):
    for at, drop, piece in edits:
        at %= len(text) + 1
        text = text[:at] + piece + text[at + drop :]
    _parses_or_complains(text)


ATTRS = {
    "int": st.integers(-3, 3), "float": st.sampled_from([-1.0, 0.0, 0.5, 2.0, float("inf"), float("nan")]),
    "bool": st.booleans(), "bytes": st.binary(max_size=2),
    "str": st.sampled_from(["", "f32", "linear", "...i,io->...o", "cubic", ",->", "ii,io->o"]),
}  # fmt: skip
SHAPES = st.none() | st.lists(st.integers(0, 3) | st.sampled_from(["N", "M", None]), max_size=4).map(tuple)


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.name != "Opaque"], ids=lambda op: op.name)
@given(data=st.data())
@settings(deadline=None, max_examples=30)
def test_hostile_attributes_and_shapes_are_coded_errors(op, data):
    b = Builder()
    inputs = [b.input(f"x{i}", data.draw(SHAPES)) for i in range(data.draw(st.integers(op.required, len(op.inputs))))]
    attrs = {}
    for name, a in op.attributes.items():
        kind = str(a.type if isinstance(a.type, str) else getattr(a.type, "__name__", a.type))
        element = "int" if "int" in str(a.type) else "float"
        one = ATTRS[kind] if kind in ATTRS else st.lists(ATTRS[element], max_size=4).map(tuple)
        if a.required or data.draw(st.booleans()):
            attrs[name] = data.draw(one)
    names = [f"y{i}" for i in range(len(attrs["parts"]))] if op.name == "Split" else ["y0"]
    try:
        graph = b.finish(*b.node(op.name, *inputs, names=names, **attrs))
    except PathliftError as error:
        if "node" not in str(error):
            raise
    else:
        round_trip(graph)


def test_ten_thousand_ops_in_a_moment():
    b = Builder()
    x, w, c = (
        b.input("x", ("N", 16)),
        b.param(np.ones((16, 16), np.float32), "w"),
        b.param(np.ones(16, np.float32), "c"),
    )
    start = time.process_time()
    for _ in range(10_000 // 3):
        x = b.op("Add", b.op("Relu", b.op("Gemm", x, w, c)), x)
    text = str(b.finish(x))
    spent = time.process_time() - start
    assert spent < 15, f"building, verifying and printing took {spent:.2f} s"
    start = time.process_time()
    parse_graph(text, {"w": np.ones((16, 16), np.float32)})
    assert time.process_time() - start < 20


def test_graphs_equal_names_the_first_difference():
    a = mlp()
    assert graphs_equal(a, a) == graphs_equal(a, mlp()) == ""
    text = print_graph(a, max_inline=100)
    for old, new, message in [
        ("0.1", "0.2", "node 'fc1.weight': values differ at (1, 0)"),
        ("-0.0", "0.0", "node 'fc1.weight': values differ at (2, 1)"),
        ("Relu", "Abs", "node 'r': ops are Relu and Abs"),
        ("loc: fc1", "loc: fc9", "node 'h': origins"),
        ('"mlp"', '"net"', "the models' name"),
        ("N, 3", "M, 3", "node 'x': types"),
        ("return %y", "return %r", "the outputs"),
        ("%r = Relu(%h) : f32[N, 2]", "%q = Relu(%h)\n%r = Relu(%q)", "node 'r': inputs"),
    ]:
        assert graphs_equal(a, parse_graph(text.replace(old, new))).startswith(message)
    assert graphs_equal(a, Graph(a.nx, a.outputs, replace(a.info, doc="other")), info=False) == ""
