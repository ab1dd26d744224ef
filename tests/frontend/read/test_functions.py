"""Functions are inlined: the same outputs, names that do not collide, and those that stay calls."""

import numpy as np
import onnx
import onnx_ir
import onnxruntime
from onnx import ModelProto, helper, numpy_helper

from pathlift.frontend.read import read_model
from pathlift.testing.onnx_models import info, model, node


def ops(read) -> list[str]:
    return [n.op_type for n in read.model.graph]


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
