"""Control flow, carried nodes, and what the graph says about the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pathlift.frontend.load import load, load_with_report
from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.shape import Shape
from pathlift.ir.errors import InvalidModelError, UnsupportedError
from pathlift.testing import op_names
from pathlift.testing.onnx_models import f32, node

Rng = np.random.Generator


def branch(nodes: list[Any], output: str, constants: Any = ()) -> onnx.GraphProto:
    return helper.make_graph(nodes, "branch", [], [helper.make_empty_tensor_value_info(output)], list(constants))


def if_(condition: str, output: str, then: list[Any], otherwise: list[Any], constants: Any = ()) -> Any:
    then_branch = branch(then, then[-1].output[0], constants)
    return node(
        "If", condition, output, then_branch=then_branch, else_branch=branch(otherwise, otherwise[-1].output[0])
    )


@pytest.mark.parametrize("condition", [True, False])
def test_if_with_a_constant_condition_is_its_branch(compare: Any, rng: Rng, condition: bool) -> None:
    w = onnx.numpy_helper.from_array(f32(rng, 3), "w")
    nodes = [
        if_("c", "y", [node("Add", "x w", "t")], [node("Relu", "x", "t")], [w]),
        if_("c", "z", [node("Neg", "y", "t")], [node("Abs", "y", "t")]),
        node("Relu", "z", "t"),
    ]  # fmt: skip
    graph = compare(nodes, {"x": f32(rng, 2, 3)}, {"c": np.array(condition)}, ["t", "y"])
    kept = (
        ["Add", "Identity", "Neg", "Identity", "Relu"] if condition else ["Relu", "Identity", "Abs", "Identity", "Relu"]
    )
    assert op_names(graph) == kept


def test_if_on_data_is_opaque(compare: Any, rng: Rng) -> None:
    nodes = [
        node("Relu", "x", "r"),
        if_("c", "y", [node("Add", "r w", "t")], [node("Identity", "x", "u")]),
    ]  # fmt: skip
    graph = compare(nodes, {"x": f32(rng, 2, 3), "c": np.array(True)}, {"w": f32(rng, 3)}, ["y"])
    attrs = graph["y"].attrs
    assert (attrs["reason"], attrs["captures"]) == ("data-dependent control flow", ("x", "r", "w"))
    assert [v.node for v in graph.inputs_of("y")] == ["c", "x", "r", "w"]


def test_loop_is_opaque(compare: Any, rng: Rng) -> None:
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Identity", "go", "go2"), node("Add", "acc w", "acc2")],
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("acc", TensorProto.FLOAT, [2, 3])],
        [info("go2", TensorProto.BOOL, []), info("acc2", TensorProto.FLOAT, [2, 3])],
    )
    nodes = [node("Loop", "n _ x", "l", body=body), node("Relu", "l", "y")]
    graph = compare(nodes, {"x": f32(rng, 2, 3)}, {"n": np.array(3), "w": f32(rng, 3)}, ["y"])
    assert graph["l"].attrs["captures"] == ("w",)
    assert op_names(graph) == ["Opaque", "Opaque"], "what a loop returns has a type only where the file declares it"


def test_opaque_is_refused_by_name(compare: Any, rng: Rng) -> None:
    lrn = helper.make_node("LRN", ["x"], ["y"], name="norm1", size=3, doc_string="local", bias=1.0)
    graph = compare([lrn], {"x": f32(rng, 1, 4, 3, 3)}, {}, ["y"])
    made = graph["y"]
    assert (made.attrs["op_type"], made.attrs["version"], made.origin.nodes, made.origin.doc) == (
        "LRN",
        20,
        ("norm1",),
        "local",
    )
    assert onnx.NodeProto.FromString(made.attrs["proto"]) == lrn
    assert run(graph, Shape(), {"x": graph["x"].types[0]})["y"].shape == (1, 4, 3, 3)

    class Nothing(Shape):
        def apply(self, f: Any, xs: Any, types: Any) -> Any:
            raise UnsupportedError("0304", f.reason, hint=f.hint)

    with pytest.raises(UnsupportedError, match=r"node 'norm1' \(LRN\): a normalization by statistics"):
        run(graph, Nothing(), {"x": graph["x"].types[0]})


def test_custom_domain_is_opaque(model_of: Any) -> None:
    model = model_of(
        [helper.make_node("Mystery", ["x", "w"], ["y"], domain="acme", name="m")],
        {"x": np.ones(2, np.float32)},
        {"w": np.ones(2, np.float32)},
        ["y"],
    )
    model.opset_import.append(helper.make_opsetid("acme", 3))
    graph = load(model.SerializeToString())
    attrs = graph["y"].attrs
    assert (attrs["domain"], attrs["version"], attrs["reason"]) == (
        "acme",
        3,
        "no path-lifting semantics for Mystery of domain acme",
    )


def test_model_info(model_of: Any) -> None:
    model = model_of(
        [helper.make_node("Add", ["x", "w"], ["y"], name="add", doc_string="d")],
        {"x": np.ones(2, np.float32)},
        {"w": np.ones(2, np.float32)},
        ["y"],
    )
    model.producer_name, model.model_version, model.doc_string = "me", 7, "about"
    model.graph.doc_string, model.graph.name = "the graph", "net"
    model.metadata_props.add(key="a", value="b")
    model.graph.metadata_props.add(key="c", value="d")
    model.graph.node[0].metadata_props.add(key="scope", value="layer1")
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2]))
    graph, report = load_with_report(model.SerializeToString())
    info = graph.info
    assert (info.name, info.doc, info.ir_version, dict(info.opsets)) == ("net", "the graph", 10, {"": 20})
    assert dict(info.properties) == {"producer_name": "me", "model_version": "7", "doc_string": "about"}
    assert (dict(info.metadata), dict(info.graph_metadata), info.overridable) == ({"a": "b"}, {"c": "d"}, ("w",))
    assert (graph["y"].origin.nodes, graph["y"].origin.doc, graph["y"].origin.metadata) == (
        ("add",),
        "d",
        (("scope", "layer1"),),
    )
    assert report.warnings == ("input 'w' has a default value, and is read as that constant",)
    assert graph.inputs == ("x",)


def test_old_files_declare_initializers_as_inputs(model_of: Any) -> None:
    constants = {"w": np.ones(2, np.float32), "s": np.array([1, 2])}
    model = model_of(
        [node("Add", "x w", "a"), node("Reshape", "a s", "y")], {"x": np.ones(2, np.float32)}, constants, ["y"], 9
    )
    model.ir_version = 3
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2]))
    model.graph.input.append(helper.make_tensor_value_info("s", TensorProto.INT64, [2]))
    graph, report = load_with_report(model.SerializeToString())
    assert (graph.params, graph.info.overridable, report.warnings) == (("w",), ("w",), ())


def test_sequences_are_carried(model_of: Any) -> None:
    nodes = [node("SplitToSequence", "x p", "s", axis=0), node("ConcatFromSequence", "s", "y", axis=0)]
    feeds = {"x": np.ones((2, 3), np.float32), "p": np.array([1, 1])}
    assert op_names(load(model_of(nodes, feeds, {}, ["y"]).SerializeToString())) == ["Opaque", "Opaque"]


def test_contradicting_shapes_are_named(model_of: Any, rng: Rng) -> None:
    model = model_of(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="c1")],
        {"x": f32(rng, 1, 3, 5, 5)},
        {"w": f32(rng, 2, 4, 3, 3)},
        ["y"],
    )
    with pytest.raises(InvalidModelError, match=r"PL0152 node 'c1' \(Conv\): weights"):
        load(model.SerializeToString())


def test_declared_shapes_are_checked(model_of: Any, rng: Rng) -> None:
    model = model_of([node("Relu", "x", "r"), node("Relu", "r", "y")], {"x": f32(rng, 2, 3)}, {}, ["y"])
    model.graph.value_info.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, [2, 4]))
    graph, report = load_with_report(model.SerializeToString())
    assert graph["y"].types[0].shape == (2, 3)
    assert any("'r'" in warning or "inference" in warning for warning in report.warnings)


def test_names_that_fresh_ones_could_take(compare: Any, rng: Rng) -> None:
    nodes = [node("Sub", "c x", "y"), node("Relu", "y", "y_neg"), node("Mean", "y_neg y", "z")]
    graph = compare(nodes, {"x": f32(rng, 2, 3)}, {"c": f32(rng, 3)}, ["z"])
    assert op_names(graph) == ["Neg", "Add", "Relu", "Sum", "Div"]


def test_declared_sizes_do_not_close_what_the_input_leaves_open(model_of: Any, dyn: Any, rng: Rng) -> None:
    nodes = [
        node("Relu", "x", "r"), node("Shape", "r", "s"), node("Slice", "s zero one", "n"),
        node("Concat", "n rest", "t", axis=0), node("Reshape", "r t", "y"),
    ]  # fmt: skip
    constants = {"zero": np.array([0]), "one": np.array([1]), "rest": np.array([2, 2])}
    model = model_of(nodes, {"x": dyn(f32(rng, 1, 4), ("N", 4))}, constants, ["y"])
    model.graph.value_info.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, [1, 4]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 2]))
    graph = load(model.SerializeToString())
    assert (graph["r"].types[0].shape, graph["y"].types[0].shape) == (("N", 4), ("N", 2, 2))
    assert graph["y"].attrs["shape"] == (0, 2, 2)


def test_functions_that_cannot_be_inlined_are_refused(model_of: Any) -> None:
    model = model_of([helper.make_node("F", ["x"], ["y"], domain="own")], {"x": np.ones(2, np.float32)}, {}, ["y"])
    function = helper.make_function("own", "F", ["a"], ["b"], [node("Relu", "a", "b")], [helper.make_opsetid("", 17)])
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    with pytest.raises(UnsupportedError, match="PL0394"):
        load(model.SerializeToString())
