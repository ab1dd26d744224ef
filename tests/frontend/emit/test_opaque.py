"""Opaque nodes as they were read: subgraphs, sequences, other domains."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, helper

from pathlift.frontend.save import to_onnx
from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import ModelInfo, Origin
from pathlift.ir.types import DTYPES, OtherType, TensorType
from pathlift.testing import onnxruntime_session

F32 = TensorType(DTYPES["f32"], None)


@pytest.fixture
def branches(body: Any) -> NodeProto:
    then = body("then", [helper.make_node("Mul", ["x", "inner"], ["t"])], "t")
    then.initializer.append(onnx.numpy_helper.from_array(np.float32([2, 3]), "inner"))
    nested = body("nested", [helper.make_node("Add", ["x", "x"], ["t2"])], "t2")
    negated = body("negated", [helper.make_node("Neg", ["w"], ["u"])], "u")
    choose = helper.make_node("If", ["c"], ["e"], then_branch=nested, else_branch=negated)
    return helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=body("else", [choose], "e"))


@pytest.mark.parametrize("condition", [True, False])
@pytest.mark.parametrize("value", ["x", "inner", "t", "e", "u", "t2"])
def test_subgraphs_read_what_was_renamed(opaque: Any, branches: NodeProto, value: str, condition: bool) -> None:
    b = Builder(ModelInfo(opsets={"": 13}))
    x, c, w = b.input("a", (2,)), b.input("c", (), "bool"), b.param([7.0, 8.0], "w")
    moved = b.op("Relu", x, name="x")
    opaque(b, branches, c, moved, w, version=13, captures=("x", "w"), types=[TensorType(DTYPES["f32"], (2,))])
    if value != "x":
        b.rename("x", value)  # clashes with a name inside
    graph = b.finish("y")
    feeds = {"a": np.float32([1, 4]), "c": np.array(condition)}
    (y,) = onnxruntime_session(to_onnx(graph).SerializeToString()).run(None, feeds)
    np.testing.assert_array_equal(y, [2, 12] if condition else [-7, -8])


def test_opaque_is_kept_as_it_is(opaque: Any) -> None:
    b = Builder(ModelInfo(opsets={"": 14, "com.example": 3}))
    proto = helper.make_node("Thing", ["", "q", ""], ["r", ""], domain="com.example", name="old", flag=1, text="x")
    b.input("p", (2,))
    opaque(b, proto, None, "p", version=3, names=("s", ""), types=[F32, F32], origin=Origin(("named",)))
    model = to_onnx(b.finish(b.op("Relu", "s", name="y")))
    thing = model.graph.node[0]
    assert (list(thing.input), list(thing.output), thing.name) == (["", "p"], ["s"], "named")
    assert thing.attribute == proto.attribute
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 14, "com.example": 3}


def test_sequences_are_carried(opaque: Any) -> None:
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
    b.input_of("s", OtherType("stream(tensor(float))"))
    with pytest.raises(UnsupportedError, match="PL0375"):
        to_onnx(b.finish("s"))
