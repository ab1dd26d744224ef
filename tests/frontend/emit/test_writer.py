"""The surroundings of operators: names of values and nodes, shared constants, provenance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from pathlift.frontend import provenance
from pathlift.frontend.load import load
from pathlift.frontend.save import to_onnx
from pathlift.ir.builder import Builder
from pathlift.ir.graph import ModelInfo, Origin
from pathlift.ir.types import Param
from pathlift.testing import assert_same_as_onnxruntime


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


def test_what_prepares_an_operand_has_no_name(opaque: Any) -> None:
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
