"""The invariants of graphs: every violation has its code, and builders keep them."""

from __future__ import annotations

import re
from ast import literal_eval

import networkx as nx
import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.errors import GraphError
from pathlift.ir.graph import Graph, Node, Value, freeze_attrs
from pathlift.ir.ops.registry import OPS, op
from pathlift.ir.text import parse_graph
from pathlift.ir.types import DTYPES, UNKNOWN, Param, TensorType
from pathlift.ir.verify import verify

F32 = TensorType(DTYPES["f32"], (2,))


def node(op: str, *names: str, types=None, attrs=None, value=None) -> Node:
    return Node(op, freeze_attrs(attrs or {}), names, types or (F32,) * len(names), value)


def graph_of(nodes, edges=(), outputs=()) -> Graph:
    """A graph that no builder would make: nodes by key, edges (producer, consumer, slot, port)."""
    g = nx.MultiDiGraph()
    for order, (key, n) in enumerate(nodes.items()):
        g.add_node(key, node=n, order=order)
    for producer, consumer, slot, port in edges:
        g.add_edge(producer, consumer, key=slot, port=port)
    return Graph(g, tuple(Value(*o) for o in outputs))


X = node("Input", "x")
BAD = {
    "0501": graph_of({"a": node("Relu", "a"), "b": node("Relu", "b")}, [("a", "b", 0, 0), ("b", "a", 0, 0)]),
    "0504 op": graph_of({"a": node("Nope", "a")}),
    "0504 arity": graph_of({"a": node("Relu", "a")}),
    "0504 attribute": graph_of({"x": X, "a": node("Relu", "a", attrs={"alpha": 1})}, [("x", "a", 0, 0)]),
    "0504 value": graph_of({"x": X, "a": node("LeakyRelu", "a", attrs={"alpha": "1"})}, [("x", "a", 0, 0)]),
    "0504 missing": graph_of({"x": X, "a": node("Flatten", "a", attrs={"axis": True})}, [("x", "a", 0, 0)]),
    "0504 left out": graph_of({"x": X, "a": node("Add", "a")}, [("x", "a", 1, 0)]),
    "0504 gap": graph_of({"x": X, "a": node("Sum", "a")}, [("x", "a", 0, 0), ("x", "a", 2, 0)]),
    "0504 port": graph_of({"x": X, "a": node("Relu", "a")}, [("x", "a", 0, 1)]),
    "0504 twice": graph_of(
        {"x": X, "z": node("Input", "z"), "a": node("Relu", "a")}, [("x", "a", 0, 0), ("z", "a", 0, 0)]
    ),
    "0504 unnamed": graph_of(
        {"x": X, "u": node("Relu", ""), "a": node("Relu", "a")}, [("x", "u", 0, 0), ("u", "a", 0, 0)]
    ),
    "0505": graph_of({"x": X, "a": node("Relu", "a", "b")}, [("x", "a", 0, 0)]),
    "0506": graph_of({"x": X, "y": node("Input", "x")}),
    "0508 node": graph_of({"x": X}, outputs=[("y", 0)]),
    "0508 port": graph_of({"x": X}, outputs=[("x", 1)]),
    "0509 edge": graph_of({"x": X, "y": node("Input", "y")}, [("x", "y", 0, 0)]),
    "0509 outputs": graph_of({"x": node("Input", "x", "y")}),
    "0510 value": graph_of({"p": node("Param", "p")}),
    "0510 type": graph_of({"p": node("Param", "p", value=Param.of([1.0]))}),
    "0511": graph_of({"x": node("Input", "x", types=(F32, F32))}),
    "0511 none": graph_of({"x": node("Input")}),
    "0512": graph_of({"x": X, "a": node("Relu", "a", types=(TensorType(None, (3,)),))}, [("x", "a", 0, 0)]),
    "0512 rank": graph_of({"x": X, "a": node("Relu", "a", types=(TensorType(None, (2, 1)),))}, [("x", "a", 0, 0)]),
    "0512 dtype": graph_of(
        {"x": X, "a": node("Relu", "a", types=(TensorType(DTYPES["f64"], (2,)),))}, [("x", "a", 0, 0)]
    ),
    "0513": graph_of({"x": X, "u": node("Relu", "")}, [("x", "u", 0, 0)], [("u", 0)]),
}


@pytest.mark.parametrize("case", BAD)
def test_every_violation_has_its_code(case):
    with pytest.raises(GraphError) as caught:
        verify(BAD[case])
    assert caught.value.code == "PL" + case[:4]


def test_verify_refines_types():
    graph = graph_of({"x": X, "a": node("Relu", "a", types=(UNKNOWN,))}, [("x", "a", 0, 0)])
    assert verify(graph) == {"a": (F32,)}


CONV = "strides=[1], pads=[0, 0], dilations=[1]"
SHAPES = {  # code: (types of the operands, call)
    "0520 add": ("f32[2]; f32[3]", "Add(%a, %b)"),
    "0520 expand": ("f32[2]", "Expand(%a) {shape=[-1]}"),
    "0521": ("f32[1, 1, 2]; f32[1, 1, 3]", f"Conv(%a, %b) {{{CONV}}}"),
    "0522": ("f32[6]", "Reshape(%a) {shape=[4, -1]}"),
    "0522 two": ("f32[6]", "Reshape(%a) {shape=[-1, -1]}"),
    "0522 zero": ("f32[0]", "Reshape(%a) {shape=[-1, 0]}"),
    "0523": ("f32[2, 3]", "Transpose(%a) {perm=[0, 0]}"),
    "0524": ("f32[2, 3]", "Squeeze(%a) {axes=[0]}"),
    "0525": ("f32[2, 3]", "Gather(%a) {indices=[2]}"),
    "0525 negative": ("f32[N, 3]", "Gather(%a) {indices=[-1]}"),
    "0526": ("f32[2, 3]; f32[3, 2]", "Concat(%a, %b) {axis=0}"),
    "0526 rank": ("f32[2, 3]; f32[3]", "Concat(%a, %b) {axis=0}"),
    "0527": ("f32[2, 3]", "Pad(%a) {pads=[1, 1]}"),
    "0527 crop": ("f32[2]", "Pad(%a) {pads=[-1, -2]}"),
    "0528": ("f32[2, 3]; f32[4, 5]", "Gemm(%a, %b)"),
    "0528 rank": ("f32[2, 3]; f32[3]", "Gemm(%a, %b)"),
    "0528 text": ("f32[2, 3]; f32[3]", 'Einsum(%a, %b) {equation="ij"}'),
    "0529": ("f32[1, 2, 5]; f32[1, 3, 3]", f"Conv(%a, %b) {{{CONV}}}"),
    "0529 groups": ("f32[1, 2, 5]; f32[1, 1, 3]", f"Conv(%a, %b) {{{CONV}, groups=0}}"),
    "0529 dynamic": ("f32[1, 2, 5]; f32[1, 2, K]", f"Conv(%a, %b) {{{CONV}}}"),
    "0529 transposed": ("f32[1, 2, 5]; f32[1, 3, 3]", f"ConvTranspose(%a, %b) {{{CONV}, output_padding=[0]}}"),
    "0530": ("f32[1, 2, 5]", "MaxPool(%a) {kernel=[2], strides=[0], pads=[0, 0], dilations=[1]}"),
    "0530 pads": ("f32[1, 2, 5]", "MaxPool(%a) {kernel=[2], strides=[1], pads=[0], dilations=[1]}"),
    "0529 divisor": ("f32[1, 4, 5]; f32[3, 2, 3]", f"Conv(%a, %b) {{{CONV}, groups=2}}"),
    "0529 per group": ("f32[1, 4, 5]; f32[2, 4, 3]", f"Conv(%a, %b) {{{CONV}, groups=2}}"),
    "0530 crop": (
        "f32[1, 1, 1]; f32[1, 1, 1]",
        "ConvTranspose(%a, %b) {strides=[1], pads=[1, 1], dilations=[1], output_padding=[0]}",
    ),
    "0531": ("f32[2, 5]", "MaxPool(%a) {kernel=[2], strides=[1], pads=[0, 0], dilations=[1]}"),
    "0532": ("f32[2]", "Resize(%a) {axes=[0]}"),
    "0532 mode": ("f32[2]", 'Resize(%a) {axes=[0], sizes=[3], coordinates="tf_crop_and_resize"}'),
    "0533": ("f32[2]", "TopK(%a) {k=3}"),
    "0534": ("f32[2]; f32[3]", "PRelu(%a, %b)"),
    "0535": ("<seq>", "Relu(%a)"),
    "0536": ("f32[2]", "ReduceMean(%a) {axes=[1]}"),
    "0536 softmax": ("f32[2]", "Softmax(%a) {axis=1}"),
    "0536 flatten": ("f32[2]", "Flatten(%a) {axis=2}"),
    "0536 twice": ("f32[2]", "Unsqueeze(%a) {axes=[0, -3]}"),
    "0537": ("f32[1, 1, 3]; f32[2, 1, 3]; f32[3]", f"Conv(%a, %b, %c) {{{CONV}}}"),
    "0538": ("f32[2]", "Split(%a) {parts=[]}"),
    "0539": ("f32[2]", "Slice(%a) {axes=[0], starts=[0], ends=[1], steps=[0]}"),
    "0540": ("f32[2]", "Tile(%a) {repeats=[1, 1]}"),
    "0541": ("f32[2]", 'Cast(%a) {to="f31"}'),
    "0542": ("f32[2]", "Split(%a) {parts=[3]}"),
    "0542 more": ("f32[3]", "Split(%a) {parts=[1, 1]}"),
    "0542 negative": ("f32[2]", "Split(%a) {parts=[-1]}"),
    "0543": ("f32[2]; f64[2]", "Add(%a, %b)"),
    "0543 weights": ("f32[1, 2]; f64[2, 2]", "Gemm(%a, %b)"),
}


@pytest.mark.parametrize("case", SHAPES)
def test_shapes_that_do_not_fit_are_refused_by_name(case):
    types, call = SHAPES[case]
    inputs = "\n".join(f"%{n} = Input : {t}" for n, t in zip("abc", types.split("; "), strict=False))
    graph = parse_graph(f"{inputs}\nreturn")
    b = graph.edit()
    parsed = call.partition("(")[0]
    with pytest.raises(Exception, match="node 'y'"):
        parse_graph(f"{inputs}\n%y = {call}\nreturn %y")
    attrs = _attributes(call)
    with pytest.raises(GraphError) as caught:
        b.node(parsed, *graph.inputs, names=["y"], **attrs)
    assert caught.value.code == "PL" + case[:4]


def _attributes(call: str) -> dict[str, object]:
    """Read the attributes of a call in the text form, which happen to be Python's literals."""
    text = re.sub(r"(\w+)=", r"'\1':", "{" + call.partition("{")[2]) if "{" in call else "{}"
    return {k: tuple(v) if isinstance(v, list) else v for k, v in literal_eval(text).items()}


def test_an_op_cannot_be_defined_twice():
    with pytest.raises(GraphError, match="PL0502"):
        op("Relu")(OPS["Relu"].program)


def test_builder_errors():
    b = Builder()
    x = b.input("x", (2,))
    for code, act in {
        "0503": lambda: b.op("Relu", "nope"),
        "0503 value": lambda: b.op("Relu", Value("x", 1)),
        "0503 node": lambda: b.connect("nope", 0, x),
        "0504": lambda: b.op("Relu", None),
        "0504 op": lambda: b.op("Nope", x),
        "0504 gap": lambda: b.op("Add", None, x),
        "0505": lambda: b.node("Relu", x, names=["a", "b"]),
        "0505 none": lambda: b.node("Relu", x, names=[]),
        "0506": lambda: b.input("x", None),
        "0506 same": lambda: b.node("Split", x, names=["s", "s"], parts=(1, 1)),
        "0506 rename": lambda: b.rename(b.op("Relu", x), "x"),
        "0507": lambda: b.remove(x),
    }.items():
        with pytest.raises(GraphError) as caught:
            act()
        assert caught.value.code == f"PL{code[:4]}", code


def test_unnamed_and_renamed_nodes_do_not_collide():
    b = Builder()
    x = b.input("x", (4,))
    for _ in range(2):
        b.node("Split", x, names=["", ""], parts=(2, 2))
    y = b.op("Relu", x, name="y")
    b.rename(y, "z")
    b.op("Abs", x, name="y")
    graph = b.finish("z", "y")
    assert len(graph) == 5
    edited = graph.edit()
    edited.node("Split", "x", names=["", "tail"], parts=(2, 2))
    assert len(edited.finish()) == 6


def test_defaults_are_not_stored():
    b = Builder()
    y = b.op("ReduceMean", b.input("x", (2,)), axes=[], keepdims=True)
    assert not b[y].attrs
    b.replace_node(y, attrs={"axes": [0], "keepdims": True})
    assert dict(b[y].attrs) == {"axes": (0,)}


def test_editing_shares_weights_and_leaves_the_graph_alone():
    b = Builder()
    w = b.param(np.ones(3, np.float32), "w")
    graph = b.finish(b.op("Add", b.input("x", (3,)), w, name="y"))
    edit = graph.edit()
    edit.replace_value("y", edit.op("Relu", "y", name="z"))
    with pytest.raises(GraphError, match="PL0501"):
        edit.finish()  # the new Relu reads its own output
    assert graph.edit().finish()["w"].value is graph["w"].value
    assert graph.users("x") == (("y", 0, 0),)
