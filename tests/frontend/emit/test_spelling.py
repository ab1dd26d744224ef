"""Nodes that are saved as the file has them: those that compute what they did, and no others."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import pathlift
from pathlift.frontend.emit.spelling import believed
from pathlift.frontend.load import load
from pathlift.frontend.save import to_onnx
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.ir.spelling import Spelling, Wording, without_spellings
from pathlift.ir.text import parse_graph, print_graph
from pathlift.ir.types import Param
from pathlift.testing import assert_equivalent, onnxruntime_session
from pathlift.testing.onnx_models import f32, info, model, node

RNG = np.random.default_rng(0)
W, B, M = f32(RNG, 4, 3, 3, 3), f32(RNG, 4), f32(RNG, 4, 2)


def tensors(**arrays: Any) -> list[TensorProto]:
    return [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()]


def network() -> ModelProto:
    """A node of each kind: canonical form with other weights, other attributes, another op, several ops."""
    rng = np.random.default_rng(1)
    nodes = [
        node("DequantizeLinear", "w8 scale zero", "w", name="quantized"),
        node("Conv", "x w", "c", name="conv", auto_pad="SAME_UPPER"),
        node("Max", "c floor", "m", name="relu"),
        node("GlobalAveragePool", "m", "p", name="pool"),
        node("Flatten", "p", "f", name="flat"),
        node("Gemm", "f m_ b_", "y", name="linear", alpha=2.0, beta=0.5),
    ]
    eight = rng.integers(-128, 128, W.shape).astype(np.int8)
    weights = tensors(w8=eight, scale=np.float32(0.01), zero=np.int8(0), floor=np.float32(0), m_=M, b_=f32(rng, 2))
    return model(nodes, [info("x", ("N", 3, 6, 6))], [info("y", ("N", 2))], weights, opsets=[("", 17)])


def written(graph: Graph) -> dict[str, onnx.NodeProto]:
    return {n.name: n for n in to_onnx(graph).graph.node}


def stored(graph: Graph) -> dict[str, Any]:
    return {t.name: numpy_helper.to_array(t) for t in to_onnx(graph).graph.initializer}


def test_untouched_nodes_constants_and_opset_are_those_of_the_file() -> None:
    given, saved = network(), to_onnx(load(network()))
    assert list(saved.graph.node) == list(given.graph.node)
    assert {t.name: t.raw_data for t in saved.graph.initializer} == {
        t.name: t.raw_data for t in given.graph.initializer
    }
    assert saved.opset_import[0].version == 17


def test_only_what_a_pass_touches_is_spelled_anew() -> None:
    before, after = written(load(network())), written(pathlift.canonicalize(network()).graph)
    assert {name for name in before if before[name] != after.get(name)} == {"quantized", "conv", "linear"}
    assert [a.name for a in after["linear"].attribute] == []
    assert after["pool"].op_type == "GlobalAveragePool"


def changed(change: Callable[[Builder], object]) -> dict[str, onnx.NodeProto]:
    b = load(network()).edit()
    change(b)
    graph = b.finish()
    assert_equivalent(graph, load(to_onnx(graph)), rtol=1e-5)
    assert_equivalent(without_spellings(graph), load(to_onnx(graph)), rtol=1e-5)
    return written(graph)


def test_a_weight_of_other_values_or_another_object_is_written_in_its_place() -> None:
    def change(b: Builder) -> None:
        value = b["w"].value
        assert value is not None
        b.replace_node("w", value=Param.of(value.numpy() * 2))

    after = changed(change)
    assert "quantized" not in after
    assert [a.name for a in after["conv"].attribute if a.name == "auto_pad"] == []
    assert after["relu"].op_type == "Max"


def test_an_attribute_or_an_input_that_changed_is_written() -> None:
    assert changed(lambda b: b.replace_node("p", attrs={"axes": (3, 2)}))["pool"].op_type == ("ReduceMean")

    def rewire(b: Builder) -> None:
        b.connect(b.value("p").node, 0, b.op("Neg", "m", name="negated"))

    assert changed(lambda b: b.replace_node("m", op="Abs"))["relu"].op_type == "Abs"
    after = changed(rewire)
    assert (after["pool"].op_type, after["pool"].input[0]) == ("ReduceMean", "negated")


def test_names_are_those_of_today() -> None:
    def rename(b: Builder) -> None:
        b.rename("c", "features")
        b.rename("b__scaled", "b_")  # what the file's own constant was called

    after = changed(rename)
    assert (list(after["conv"].output), list(after["relu"].input)) == (["features"], ["features", "floor"])
    assert list(after["linear"].input) == ["f", "m_", "b__1"]


def test_what_lies_between_nodes_of_one_spelling_may_be_read_by_others() -> None:
    nodes = [node("Gemm", "x w b", "y", name="gemm"), node("Relu", "y", "z")]
    given = model(nodes, [info("x", (3, 4)), info("b", (3, 2))], [info("z", (3, 2))], tensors(w=M))
    graph = load(given)
    assert [n.op_type for n in to_onnx(graph).graph.node] == ["Gemm", "Relu"]
    inner = next(Value(key) for key in graph if graph[key].op == "Gemm")
    b = graph.edit()
    read = b.finish(b.op("Neg", inner, name="n"))
    assert_equivalent(read, load(to_onnx(read)), rtol=1e-6)
    assert [n.op_type for n in to_onnx(read).graph.node].count("Add") == 1
    both = graph.edit().finish(inner, graph.outputs[0])
    assert_equivalent(both, load(to_onnx(both)), rtol=1e-6)


def test_nodes_of_one_spelling_that_now_depend_on_each_other_from_outside() -> None:
    graph = load(model([node("Split", "x", "a b", axis=1, num_outputs=2)], [info("x", (2, 4))], [info("a"), info("b")]))
    assert len(graph.info.spellings) == 1
    given = model(
        [node("Gemm", "x w b", "y", name="gemm"), node("Relu", "r", "b")],
        [info("x", (3, 4)), info("r", (3, 2))],
        [info("y", (3, 2))],
        tensors(w=M),
    )
    graph = load(given)
    assert [n.op_type for n in to_onnx(graph).graph.node] == ["Relu", "Gemm"]
    # One output of a node leads to what its other is computed from.
    b = Builder()
    x, p = b.input("x", (2, 3)), b.op("Neg", b.input("r", (2, 3)), name="p")
    a, c = b.op("Relu", x, name="a"), b.op("Tanh", p, name="c")
    graph = b.finish(a, c)
    spelling = Spelling.of(Wording(b"", 13, (x, p)), (a, c), graph, [a.node, c.node])
    assert spelling is not None
    b = graph.edit()
    b.info = replace(b.info, spellings=(spelling,))
    assert len(believed(b.finish(), 13)) == 2
    b.connect(p.node, 0, a)
    assert believed(b.finish(), 13) == {}


def test_one_constant_is_one_initializer() -> None:
    nodes = [
        node("Gemm", "x w b", "h", name="a", beta=2.0),
        node("Gemm", "h w b", "i", name="b", beta=3.0),
        node("Gemm", "i w b", "y", name="c"),
    ]
    weights = tensors(w=np.eye(2, dtype=np.float32), b=np.float32([1, 2]))
    graph = load(model(nodes, [info("x", (2, 2))], [info("y", (2, 2))], weights))
    assert sorted(stored(graph)) == ["b", "w"]
    b = graph.edit()
    b.replace_node("b", value=Param.of(np.float32([3, 4])))
    after = stored(b.finish())
    assert sorted(after) == ["b", "b_1", "w"]
    np.testing.assert_array_equal(after["b_1"], [1, 2])
    np.testing.assert_array_equal(after["b"], [3, 4])


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("pipeline", ["", "dead-code", "canonicalize", "common-subexpressions"])
@pytest.mark.parametrize("nodes", [[node("MatMul", "x m", "y")], [node("Mul", "m m", "n"), node("MatMul", "x n", "y")]])
def test_what_a_caller_replaces_reaches_the_nodes_of_the_file(
    nodes: list[onnx.NodeProto], pipeline: str, outputs: int
) -> None:
    shown = [info("y", ("N", 2)), info("m", (4, 2))]
    given = model(nodes, [info("x", ("N", 4)), info("m", (4, 2))], shown[:outputs], tensors(m=M), opsets=[("", 17)])
    saved = to_onnx(pathlift.opt(given, pipeline).graph)
    assert print_graph(load(saved)) == print_graph(load(given))
    feeds = {"x": f32(RNG, 3, 4), "m": f32(RNG, 4, 2)}
    for fed in (feeds, {"x": feeds["x"]}):
        got, want = (onnxruntime_session(each.SerializeToString()).run(None, fed) for each in (saved, given))
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)


def test_values_that_are_computed_from_data_are_looked_through() -> None:
    """The pair is one gate: what the second half was in the file says nothing without the first."""
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "y")]
    graph = load(model(nodes, [info("x", (2, 3))], [info("y", (2, 3))], tensors(s=np.float32(0.1), z=np.int8(0))))
    assert [n.op_type for n in to_onnx(graph).graph.node] == ["QuantizeLinear", "DequantizeLinear"]
    assert graph.info.spellings == ()


def test_text_and_equality_know_no_spelling() -> None:
    graph = load(network())
    assert graph.info == without_spellings(graph).info
    assert parse_graph(print_graph(graph, max_inline=10**6)).info.spellings == ()


@pytest.mark.parametrize("opset", [9, 13])
def test_an_older_node_moves_with_the_opset(opset: int) -> None:
    nodes = [node("Squeeze", "x", "s", name="squeeze", axes=[1]), node("Relu", "s", "y", name="relu")]
    if opset == 13:
        nodes[0] = node("Squeeze", "x axes", "s", name="squeeze")
    given = model(
        nodes,
        [info("x", (2, 1, 3))],
        [info("y", (2, 3))],
        tensors(axes=np.array([1]))[: opset == 13],
        opsets=[("", opset)],
    )
    graph = load(given)
    assert list(to_onnx(graph).graph.node) == list(given.graph.node)
    b = graph.edit()
    b.outputs.clear()
    saved = to_onnx(b.finish(b.op("Gelu", "y", name="g")))
    assert saved.opset_import[0].version == 20
    onnx.checker.check_model(saved, full_check=True)
    x = f32(RNG, 2, 1, 3)
    onnxruntime_session(saved.SerializeToString()).run(None, {"x": x})


def test_what_has_no_equal_in_the_opset_is_written_in_the_canonical_form() -> None:
    """Nodes, and nodes that compute constants."""
    nodes = [
        node("Pad", "v", "w", pads=[1, 0], mode="reflect", value=1.0),
        node("Softmax", "x", "s", axis=1),
        node("Add", "s w", "y"),
    ]
    given = model(nodes, [info("x", (2, 3, 4))], [info("y", (2, 3, 4))], tensors(v=f32(RNG, 3)), opsets=[("", 10)])
    graph = load(given)
    b = graph.edit()
    newer = b.finish(b.op("Gelu", "y", name="g"))
    saved = to_onnx(newer)
    assert [n.op_type for n in saved.graph.node].count("Pad") == 0
    assert_equivalent(newer, load(saved), rtol=1e-6)


def test_computed_weights_are_let_go_of() -> None:
    graph = load(network())
    (key,) = (k for k in graph.params if graph[k].names == ("w",))
    param = graph[key].value
    assert param is not None
    array, held = param.numpy(), weakref.ref(param)
    b = graph.edit()
    b.replace_node("w", value=Param.of(array + 1))
    other = b.finish()
    del graph, b, param
    gc.collect()
    assert held() is None
    assert len(other.info.spellings) > 0


def test_long_chains_of_constants_are_cut() -> None:
    count = 300
    nodes = [helper.make_node("Neg", [f"v{i}"], [f"v{i + 1}"]) for i in range(count)]
    nodes.append(node("Add", f"x v{count}"))
    graph = load(model(nodes, [info("x", (2, 3))], [info("y", (2, 3))], tensors(v0=f32(RNG, 2, 3))))
    assert_equivalent(graph, load(to_onnx(graph)))
    assert len(to_onnx(graph).graph.node) <= 66
