"""Graphs that make no sense are refused: names that are missing or doubled, cycles, scopes, nesting."""

import numpy as np
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from pathlift.frontend.read import read_model
from pathlift.ir.errors import InvalidModelError
from pathlift.testing.onnx_models import external, info, model, node

FLOATS = np.arange(6, dtype=np.float32).reshape(2, 3)


BOOL = TensorProto.BOOL


def test_duplicate_values(refused):
    two = [node("Relu", "x", "y"), node("Neg", "x", "y", name="again")]
    refused(model(two, [info("x")], [info("y")]), "0111", "'again'", "'y'")
    refused(model([], [info("x"), info("x")]), "0111", "'x'")
    weight = numpy_helper.from_array(FLOATS, "w")
    refused(model([], [], [], [weight, weight]), "0111", "'w'")
    refused(model([node("Relu", "x", "x")], [info("x")]), "0111", "'x'")
    refused(model([node("Relu", "w", "w")], [], [], [weight]), "0111", "'w'")
    refused(model([node("Split", "x", "a a", num_outputs=2)], [info("x")]), "0111", "'a'")


def branch(nodes, output="o"):
    made = helper.make_graph(nodes, "branch", [], [info(output)])
    return node("If", "c", "y", then_branch=made, else_branch=made, name="choice")


CONDITION = info("c", (), BOOL)


def test_duplicate_values_across_scopes(refused):
    nodes = [node("Relu", "x", "h"), branch([node("Relu", "x", "h"), node("Relu", "h", "o")])]
    refused(model(nodes, [info("x"), CONDITION], [info("y")]), "0111", "'h'")


def test_undefined_inputs(refused):
    refused(model([node("Relu", "ghost", "y", name="n")], [], [info("y")]), "0112", "'n'", "'ghost'")
    made = model([branch([node("Relu", "ghost", "o", name="inner")])], [CONDITION], [info("y")])
    refused(made, "0112", "'inner'", "'ghost'")


def test_names_do_not_escape_their_graph(refused):
    nodes = [branch([node("Relu", "c", "o")]), node("Relu", "o", "z", name="outside")]
    refused(model(nodes, [CONDITION], [info("z")]), "0112", "'outside'", "'o'")


def test_undefined_outputs(refused):
    refused(model([], [], [info("ghost")]), "0113", "'ghost'")
    refused(model([branch([], "x")], [info("x"), CONDITION], [info("y")]), "0113", "'branch'", "'x'")


def test_cycles_are_named(refused):
    nodes = [node("Add", "x b", "a", name="first"), node("Relu", "a", "b", name="second")]
    refused(model(nodes, [info("x")], [info("b")]), "0114", "'first'", "'second'")
    nodes = [branch([node("Relu", "z", "o")]), node("Relu", "y", "z", name="after")]
    refused(model(nodes, [CONDITION], [info("z")]), "0114", "'choice'", "'after'")


def test_a_node_that_reads_itself(refused):
    refused(model([node("Add", "x y", "y", name="loop")], [info("x")], [info("y")]), "0114", "'loop'")


def test_a_long_cycle_has_a_short_message():
    count = 50_000
    nodes = [node("Relu", f"v{(i + 1) % count}", f"v{i}") for i in range(count)]
    with pytest.raises(InvalidModelError) as caught:
        read_model(model(nodes, [], [info("v0")]))
    assert caught.value.code == "PL0114"
    assert len(str(caught.value)) < 1000


def test_names_are_required(refused):
    refused(model([], [info("")]), "0115")
    refused(model([], [], [], [numpy_helper.from_array(FLOATS)]), "0115")
    refused(model([node("", "x", "y", name="n")], [info("x")], [info("y")]), "0116", "'n'")


def test_names_are_shown_without_control_codes(refused):
    refused(model([node("Relu", "x\x1b[31m", "y")], [], [info("y")]), "0112", r"x\x1b[31m")


def held(location="w.bin", dims=(2, 3), data_type=TensorProto.FLOAT, **entries):
    return external(TensorProto(name="w", dims=dims, data_type=data_type), location, **entries)


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
    with pytest.raises(InvalidModelError, match="PL0101 "):
        read_model(made)


def test_deeply_nested_types(relu):
    made = relu()
    held = made.graph.input[0].type
    for _ in range(5000):
        held = held.sequence_type.elem_type
    held.tensor_type.elem_type = TensorProto.FLOAT
    refused_in_memory(made)
