"""Comparing two models in ONNX Runtime: what is found, what is only rounding, and what cannot be compared."""

from __future__ import annotations

import importlib.util
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import pathlift
from pathlift.ir.errors import PathliftError, RuntimeFailureError, UnsupportedError, UsageError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.text import parse_graph
from pathlift.ir.types import DTYPES, Param
from pathlift.models.probes import Probes, signature
from pathlift.models.verify import Verification, open_original, relative_difference, rounding, verify_outputs
from pathlift.testing import in_float64

MLP = """
%x = Input : f32[N, 3]
%w = Param {value=[[1.0, -2.0], [0.5, 0.25], [-1.5, 3.0]]} : f32[3, 2]
%b = Param {value=[0.5, -0.25]} : f32[2]
%h = Gemm(%x, %w, %b)
%r = Relu(%h)
%v = Param {value=[[2.0, 0.3], [-0.7, 1.0]]} : f32[2, 2]
%y = Gemm(%r, %v)
return %y
"""


def verify(before: Graph, after: Graph, *, tolerance: float | None = None, seed: int = 0, **sizes: int) -> Verification:
    return verify_outputs(
        open_original(before), before, after, tolerance=tolerance, sizes=sizes, seed=seed, memory_limit=10**9
    )


def replaced(graph: Graph, key: str, values: Any) -> Graph:
    builder = graph.edit()
    builder.replace_node(Value(key), value=Param.of(np.asarray(values, graph[key].value.dtype)))  # type: ignore[union-attr]  # a parameter has a value
    return builder.finish()


def in_dtype(text: str, dtype: str) -> Graph:
    return parse_graph(text.replace("f32", dtype))


# ---- the difference


@pytest.mark.parametrize(
    ("a", "b", "difference"),
    [
        ([1.0, -4.0], [1.0, -4.0], 0.0),
        ([1.0, -4.0], [1.5, -4.0], 0.125),
        ([0.0, 0.0], [0.0, -0.0], 0.0),
        ([0.0, 0.0], [0.0, 1e-30], inf),
        ([nan, inf, 2.0], [nan, inf, 1.0], 0.5),
        ([nan, inf], [nan, -inf], inf),
        ([nan, 1.0], [1.0, 1.0], inf),
        ([1.0, 1.0], [1.0, inf], inf),
        ([3, 5], [3, 4], 0.2),
        ([True, False], [True, True], 1.0),
        ([], [], 0.0),
    ],
)
def test_relative_difference(a: list[Any], b: list[Any], difference: float) -> None:
    assert relative_difference(np.array(a), np.array(b)) == difference


def test_other_shapes_and_types_differ_without_bound() -> None:
    a = np.ones((2, 1))
    assert relative_difference(a, None) == inf
    assert relative_difference(a, np.ones((2, 2))) == inf
    assert relative_difference(a, a.astype(np.float32)) == inf


# ---- what is found


def test_a_model_is_itself() -> None:
    found = verify(parse_graph(MLP), parse_graph(MLP), tolerance=0.0)
    assert found.passed
    assert (found.max_relative_difference, found.output, found.samples, found.ill_conditioned) == (0.0, "y", 29, 0)
    assert found.shapes == {"x": (2, 3)}


@pytest.mark.parametrize(("key", "index"), [("w", (0, 0)), ("w", (2, 1)), ("b", (1,)), ("v", (1, 0))])
def test_one_weight_that_is_off_by_a_thousandth_is_found(key: str, index: tuple[int, ...]) -> None:
    graph = parse_graph(MLP)
    value = graph[key].value
    assert value is not None
    weights = value.numpy().copy()
    weights[index] *= 1.001
    found = verify(graph, replaced(graph, key, weights))
    assert not found.passed
    assert 1e-4 < found.max_relative_difference < 1e-2


def test_the_worst_input_and_output_are_named() -> None:
    text = MLP.replace("return %y", "%z = Clip(%r) {low=0.0, high=50.0}\nreturn %y, %z")
    found = verify(parse_graph(text), parse_graph(text.replace("high=50.0", "high=60.0")))
    assert found.output == "z"
    assert found.max_relative_difference == pytest.approx(0.2)
    assert found.input not in ("normal", "uniform on [0, 1]", "zeros", "ones", "normal × 0.01")


def test_a_difference_only_at_a_sample_of_zeros_is_found() -> None:
    graph = parse_graph(MLP)
    biased = replaced(graph, "b", [0.5, -0.2])  # the second neuron is off at zero, and its bias drowns elsewhere
    found = verify(graph, biased, tolerance=1e-6)
    assert not found.passed


def test_the_search_goes_on_from_the_worst_input() -> None:
    graph = parse_graph(MLP)
    found = verify(graph, replaced(graph, "v", [[2.0, 0.3], [-0.7, 1.001]]))
    assert found.input.endswith(", moved")
    assert found == verify(graph, replaced(graph, "v", [[2.0, 0.3], [-0.7, 1.001]]))


# ---- what is only rounding


def rescaled(graph: Graph, factors: Any) -> Graph:
    """The same function: hidden neurons times factors, rounded to the weights' own type."""
    w, b, v = (graph[key].value.numpy().astype(np.float64) for key in "wbv")  # type: ignore[union-attr]  # a parameter has a value
    for key, values in {"w": w * factors, "b": b * factors, "v": v / np.array(factors)[:, None]}.items():
        graph = replaced(graph, key, values)
    return graph


@pytest.mark.parametrize("factors", [(0.3, 3.7), (0.013, 101.0), (1.1, 1.3)])
@pytest.mark.parametrize("dtype", ["f64", "f32", "f16"])
def test_a_rescaling_is_no_difference(dtype: str, factors: tuple[float, float]) -> None:
    graph = in_dtype(MLP, dtype)
    found = verify(graph, rescaled(graph, factors))
    assert found.passed
    assert found.max_relative_difference > 0
    assert found.samples > 20
    assert found.tolerance == {"f64": 1e-9, "f32": 1e-4, "f16": 5e-2}[dtype]


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16"])
def test_ten_tolerances_are_a_difference(dtype: str) -> None:
    graph = in_dtype(MLP, dtype)
    factor = 1 + 10 * rounding(graph).tolerance
    assert not verify(graph, replaced(graph, "v", [[2.0, 0.3], [-0.7 * factor, factor]])).passed


def test_a_tie_of_classes_is_rounding_and_other_probabilities_are_not() -> None:
    # Of many samples, some are so near a tie that rounding the logits, of 1e5 and more, decides it.
    graph = parse_graph(MLP.replace("%y = Gemm(%r, %v)", "%s = Gemm(%r, %v)\n%y = Softmax(%s)"))
    found = verify(graph, rescaled(graph, (0.3, 3.7)), N=20_000)
    assert found.passed
    assert found.ill_conditioned
    assert not verify(graph, replaced(graph, "v", [[2.0, 0.3], [-0.7, 1.001]]), N=20_000).passed


def test_the_coarsest_type_sets_the_tolerance() -> None:
    graph = parse_graph(MLP)
    assert rounding(graph).tolerance == 1e-4
    assert rounding(in_float64(graph)).tolerance == 1e-9
    assert rounding(in_float64(graph), graph).tolerance == 1e-4
    halves = parse_graph('%x = Input : f32[2]\n%h = Cast(%x) {to="f16"}\n%y = Cast(%h) {to="f32"}\nreturn %y')
    assert rounding(halves).tolerance == 5e-2


# ---- inputs


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "i64", "i8", "u8", "bool"])
def test_inputs_are_what_their_types_hold(dtype: str) -> None:
    graph = parse_graph(f"%x = Input : {dtype}[N, 3, ?]\n%y = Identity(%x)\nreturn %y")
    inputs = signature(graph, {"x.2": 4}, 10**9)
    assert inputs == {"x": (DTYPES[dtype], (2, 3, 4))}
    probes = Probes(inputs, 0)
    drawn = dict(probes)
    assert all(feeds["x"].dtype == DTYPES[dtype] and feeds["x"].shape == (2, 3, 4) for feeds in drawn.values())
    values = np.stack([feeds["x"] for feeds in drawn.values()]).astype(float)
    assert np.isfinite(values).all()
    largest = {"f64": 1e7, "f32": 1e7, "f16": 1e3 * 2, "i64": 1, "i8": 128, "u8": 255, "bool": 1}[dtype]
    assert largest / 50 < np.abs(values).max() <= largest
    assert (values < 0).any() == (dtype in ("f64", "f32", "f16", "i8"))
    assert not drawn["zeros"]["x"].any()
    assert drawn["ones"]["x"].all()
    again = dict(Probes(inputs, 0))
    assert all(np.array_equal(feeds["x"], again[kind]["x"]) for kind, feeds in drawn.items())


def test_scalars_and_empty_inputs() -> None:
    text = "%x = Input : f32[]\n%e = Input : f32[0, 3]\n%y = Relu(%x)\n%z = Relu(%e)\nreturn %y, %z"
    assert verify(parse_graph(text), parse_graph(text)).max_relative_difference == 0


def test_extents() -> None:
    graph = parse_graph("%x = Input : f32[N, C]\n%z = Input : f32[N, 1]\n%y = Add(%x, %z)\nreturn %y")
    with pytest.raises(UsageError, match="the extent of C"):
        verify(graph, graph)
    assert verify(graph, graph, C=3).shapes == {"x": (2, 3), "z": (2, 1)}
    assert verify(graph, graph, C=3, N=5).shapes == {"x": (5, 3), "z": (5, 1)}


# ---- what cannot be compared


def proto(nodes: list[onnx.NodeProto], inputs: Any, outputs: Any, *, ir_version: int = 10) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("made.up", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


X, Y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in "xy")


def opt(model: onnx.ModelProto, **options: Any) -> Verification:
    found = pathlift.opt(model, verify=True, **options).verification
    assert isinstance(found, Verification)
    return found


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (proto([helper.make_node("Odd", ["x"], ["y"], domain="made.up")], [X], [Y]), "cannot run the original: "),
        (proto([helper.make_node("RandomNormalLike", ["x"], ["y"])], [X], [Y]), "from one run to the next"),
        (
            proto([helper.make_node("Identity", ["x"], ["y"])],
                  *([helper.make_tensor_value_info(n, TensorProto.STRING, ["N"])] for n in "xy")),
            "input 'x' is str",
        ),
        (
            proto([helper.make_node("SequenceConstruct", ["x"], ["y"])], [X],
                  [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)]),
            "output 'y' is no tensor of real numbers",
        ),
        (
            proto([helper.make_node("Identity", ["x"], ["y"])],
                  *([helper.make_tensor_value_info(n, TensorProto.BFLOAT16, ["N"])] for n in "xy")),
            "input 'x' is bf16",
        ),
    ],
    ids=["unknown op", "random", "strings", "sequence", "bfloat16"],
)  # fmt: skip
def test_what_there_is_no_comparison_for(model: onnx.ModelProto, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message) as error:
        opt(model)
    assert error.value.exit_code == 4


def test_integer_inputs_are_valid_indices() -> None:
    table = helper.make_tensor("t", TensorProto.FLOAT, [2, 3], [1.0, 2, 3, 4, 5, 6])
    nodes = [helper.make_node("Gather", ["t", "x"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.INT64, ["N"])
    model = proto(nodes, [x], [Y])
    model.graph.initializer.append(table)
    assert opt(model).samples == 13


def test_inputs_that_the_original_cannot_run_on_are_left_out() -> None:
    table = helper.make_tensor("t", TensorProto.FLOAT, [1, 3], [1.0, 2, 3])  # row 1 does not exist
    x = helper.make_tensor_value_info("x", TensorProto.INT64, ["N"])
    model = proto([helper.make_node("Gather", ["t", "x"], ["y"])], [x], [Y])
    model.graph.initializer.append(table)
    assert 1 <= opt(model).samples < 13


def test_a_rewritten_model_that_does_not_run_is_an_internal_error() -> None:
    graph = parse_graph(MLP)
    wider = parse_graph(MLP.replace("f32[N, 3]", "f32[7, 3]"))
    with pytest.raises(RuntimeFailureError, match="runs the original, but not the rewritten model") as error:
        verify(graph, wider)
    assert (error.value.code, error.value.exit_code) == ("PL0921", 70)


def test_onnxruntime_is_optional(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    with pytest.raises(UsageError, match="needs ONNX Runtime") as error:
        pathlift.opt(digits, verify=True)
    assert error.value.hint == "pip install 'pathlift[cpu]'"
    assert pathlift.opt(digits).exit_code == 0


# ---- arguments


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"verify": True, "tolerance": -1e-9}, "-1e-09"),
        ({"verify": True, "tolerance": nan}, "nan"),
        ({"verify": True, "tolerance": "1"}, "'1'"),
        ({"verify": True, "seed": -1}, "-1"),
        ({"verify": True, "seed": 0.5}, "0.5"),
        ({"verify": True, "shape": "N=8"}, "N=8"),
        ({"verify": True, "shape": {"N": 1.5}}, "1.5"),
        ({"norms": "12"}, "'12'"),
        ({"norms": 1}, "1"),
        ({"norms": [None]}, "None"),
        ({"norms": [-1.0]}, "-1"),
        ({"tolerance": 1e-3}, "a tolerance is for"),
        ({"shape": {"N": 2}}, "extents are for"),
    ],
)
def test_wrong_arguments_are_named(digits: Path, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(PathliftError, match=named) as error:
        pathlift.opt(digits, **arguments)
    assert error.value.exit_code == 2


@pytest.mark.parametrize("read", [str, Path, Path.read_bytes, onnx.load, pathlift.load])
def test_originals_in_any_form(digits: Path, read: Any) -> None:
    found = pathlift.opt(read(digits), "dead-code", verify=True, tolerance=0.0).verification
    assert found is not None
    assert found.passed


def test_no_outputs_are_no_evidence() -> None:
    graph = parse_graph("%x = Input : f32[N, 3]\n%y = Relu(%x)\nreturn")
    with pytest.raises(UnsupportedError, match="PL0378 a model without outputs"):
        pathlift.opt(graph, "dead-code", verify=True)
