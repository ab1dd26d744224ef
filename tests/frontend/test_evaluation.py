"""Constants of constants, whatever the operator: as ONNX Runtime computes them, or not at all."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tests.frontend.conftest import make_model

from pathlift.frontend import evaluation
from pathlift.frontend.load import load
from pathlift.ir.errors import InvalidModelError, PathliftError
from pathlift.ir.graph import Graph
from pathlift.ir.types import is_float
from pathlift.testing import ieee, onnxruntime_session, op_names
from pathlift.testing.onnx_models import f32, node

Rng = np.random.Generator


def folded(made: onnx.NodeProto, constants: dict[str, Any], opset: int = 20) -> Graph:
    model = make_model([made], {}, {k: np.asarray(v) for k, v in constants.items()}, list(made.output), opset)
    graph = load(model.SerializeToString())
    if not op_names(graph):
        expected = onnxruntime_session(model.SerializeToString()).run(None, {})
        for (key, _), wanted in zip(graph.outputs, expected, strict=True):
            value = graph[key].value
            assert value is not None
            np.testing.assert_allclose(value.numpy(), wanted, rtol=1e-6)
    return graph


X = np.float32([[1.5, -2.0, 0.0], [0.25, 4.0, -1.0]])
ODD = np.array([0.0, -0.0, 1.5, -1.5, 0.5, 1e10, np.inf, np.nan, 1e-40])
LEFT_OPEN = ("ArgMax", "ArgMin", "ReduceMax", "ReduceMin", "Clip")  # where NaN is, and what bounds the largest numbers
OPERATORS = [  # of many kinds: what is not mentioned anywhere in the code, too
    (node("Relu", "x"), {"x": X}),
    (node("Selu", "x"), {"x": X}),
    (node("Softmax", "x"), {"x": X}),
    (node("Mish", "x"), {"x": X}),
    (node("TopK", "x k", "y i"), {"x": X, "k": np.array([2])}),
    (node("OneHot", "i d v"), {"i": np.array([0, -1, 7]), "d": 3, "v": np.float32([0, 1])}),
    (node("NonZero", "x"), {"x": X}),
    (node("Unique", "x", "y i j k"), {"x": X}),
    (node("Compress", "x c", axis=1), {"x": X, "c": np.array([True, False, True])}),
    (node("GatherElements", "x i", axis=1), {"x": X, "i": np.array([[0, 2], [1, 1]])}),
    (node("ScatterND", "x i u"), {"x": X, "i": np.array([[1]]), "u": X[:1]}),
    (node("EyeLike", "x"), {"x": X}),
    (node("BitShift", "i j", direction="LEFT"), {"i": np.uint8([1, 2]), "j": np.uint8([3, 1])}),
    (node("HannWindow", "n"), {"n": 5}),
    (node("MaxPool", "x", kernel_shape=[2]), {"x": X[None]}),
    (node("Conv", "x w"), {"x": X[None], "w": X[None, :, :2]}),
    (node("LayerNormalization", "x s"), {"x": X, "s": np.ones(3, np.float32)}),
    (node("GRU", "x w r", "y h", hidden_size=1), {"x": X[None], "w": X[None], "r": X[None, :, :1]}),
    (node("Det", "x"), {"x": X[:, :2]}),
    (node("StringConcat", "s t"), {"s": np.array(["a"], object), "t": np.array(["b"], object)}),
]


@pytest.mark.parametrize("made,constants", OPERATORS, ids=lambda x: getattr(x, "op_type", ""))
def test_operators(made: onnx.NodeProto, constants: dict[str, Any]) -> None:
    if made.op_type in ("GRU", "StringConcat"):  # of too many weights, or of no type that inference knows
        load(make_model([made], {}, {k: np.asarray(v) for k, v in constants.items()}, ["y"]).SerializeToString())
        return
    assert op_names(folded(made, constants)) == []


def test_types_and_shapes_of_activations_are_constants(compare: Any, dyn: Any, rng: Rng) -> None:
    x = f32(rng, 2, 3)
    nodes = [node("CastLike", "k x", "c"), node("EyeLike", "x", "e"), node("Add", "c e", "s"), node("Mul", "x s", "y")]
    assert op_names(compare(nodes, {"x": x}, {"k": np.float64(0.5)}, ["y"])) == ["Mul"]
    assert "Opaque" in op_names(compare(nodes, {"x": dyn(x, ("N", 3))}, {"k": np.float64(0.5)}, ["y"]))
    assert op_names(
        compare([nodes[0], node("Mul", "x c")], {"x": dyn(x, ("N", 3))}, {"k": np.float64(0.5)}, ["y"])
    ) == ["Mul"]


@pytest.mark.parametrize("op_type", sorted(evaluation.RANDOM - {"Dropout"}))
def test_what_is_random_stays(op_type: str) -> None:
    like = op_type.endswith("Like") or op_type in ("Bernoulli", "Multinomial")
    made = node(op_type, "x" if like else "", **({} if like else {"shape": [2]}))
    assert op_names(folded(made, {"x": np.full((1, 2), 0.5, np.float32)} if like else {})) == ["Opaque"]


@pytest.mark.skipif(not hasattr(onnx.defs.OpSchema, "non_deterministic"), reason="this onnx does not say it")
def test_the_random_operators_are_all_that_onnx_names() -> None:
    named = {s.name for s in onnx.defs.get_all_schemas() if not s.domain and s.non_deterministic}
    bodies = {s.name for s in onnx.defs.get_all_schemas() if any(a.type.name == "GRAPH" for a in s.attributes.values())}
    # It says so of some whose definitions are functions, too, in which nothing is random.
    functions = {"AffineGrid", "CausalConvWithState", "DepthToSpace", "LinearAttention", "SpaceToDepth"}
    assert evaluation.RANDOM <= named <= evaluation.RANDOM | bodies | functions


def test_an_old_meaning_is_not_the_newest(compare: Any, rng: Rng) -> None:
    assert not evaluation.is_pure(node("Softmax", "x"), 9)
    assert not evaluation.is_pure(node("GroupNormalization", "x s b"), 18)
    assert evaluation.is_pure(node("Softmax", "x"), 13)


@pytest.mark.parametrize("value", [np.inf, np.nan, 3e38, 1e-40])
def test_the_evaluator_is_asked_about_ordinary_numbers_only(value: float) -> None:
    made = node("LogSoftmax", "x")
    assert op_names(folded(made, {"x": X})) == []
    assert op_names(folded(made, {"x": np.where(X == 4, np.float32(value), X)})) == ["LogSoftmax"]


@pytest.mark.parametrize(
    "made,constants",
    [
        (node("MaxPool", "x", kernel_shape=[2**30], pads=[2**29, 2**29]), {"x": X[None]}),
        (node("Conv", "x w", pads=[2**30, 0], strides=[2**31 - 1]), {"x": X[None], "w": X[None, :, :1]}),
        (node("Einsum", "x x x x x x x x x x", equation="ab,cd,ef,gh,ij,kl,mn,op,qr,st->"), {"x": np.ones((99, 99))}),
        (node("HannWindow", "n"), {"n": 2**20}),
        (node("Det", "x"), {"x": np.eye(300, dtype=np.float32)}),
        (node("RegexFullMatch", "s", pattern="(a+)+b"), {"s": np.array(["a" * 40], object)}),
    ],
)
def test_what_is_much_work_is_left_alone(made: onnx.NodeProto, constants: dict[str, Any]) -> None:
    model = make_model([made], {}, {k: np.asarray(v) for k, v in constants.items()}, ["y"])
    start = time.process_time()
    assert op_names(load(model.SerializeToString()))
    assert time.process_time() - start < 2


def test_what_the_evaluator_refuses_is_no_constant() -> None:
    model = make_model([node("Concat", "x z", axis=0)], {}, {"x": X, "z": X[:, :2]}, ["y"])
    with pytest.raises(InvalidModelError, match="PL0152"):
        load(model.SerializeToString())


def _odd(x: Any, rng: Rng) -> Any:
    return np.where(rng.random(x.shape) < 0.3, rng.choice(ODD, x.shape), x).astype(x.dtype) if is_float(x.dtype) else x


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("odd", [False, True])
def test_every_operator_against_onnxruntime(odd: bool) -> None:
    from onnx.backend.test.case.node import collect_testcases

    rng, count = np.random.default_rng(1), 0
    for case in collect_testcases(None):  # type: ignore[arg-type]  # all of them, which its signature leaves out
        model, values = onnx.ModelProto.FromString(case.model.SerializeToString()), case.data_sets[0][0]
        graph = model.graph
        if len(graph.node) != 1 or graph.node[0].domain or not all(isinstance(v, np.ndarray) for v in values):
            continue
        if model.opset_import[0].version < 7 or graph.node[0].op_type in ("If", "Loop", "Scan"):
            continue
        if odd:
            values = [_odd(v, rng) for v in values]
        for info, value in zip(graph.input, values, strict=True):
            graph.initializer.append(numpy_helper.from_array(value, info.name))
        del graph.input[:]
        model.ir_version = max(model.ir_version, 10)
        try:
            lowered = load(model.SerializeToString())
        except PathliftError:  # an odd number may be an extent, or a scale
            assert odd
            continue
        if op_names(lowered):
            continue
        try:
            expected = onnxruntime_session(model.SerializeToString()).run(None, {})
        except Exception:
            continue
        count += 1
        for (key, _), wanted in zip(lowered.outputs, expected, strict=True):
            found = lowered[key].value.numpy()  # type: ignore[union-attr]  # a parameter has a value
            what = ieee.difference(found, wanted) if found.dtype != np.object_ else ""
            assert what in ("", "rounding", "sign of zero") or graph.node[0].op_type in LEFT_OPEN, (case.name, what)
            if what == "rounding":
                close = {1: 0.13, 2: 2e-3}.get(found.dtype.itemsize, 1e-5)
                a, b = found.astype(np.float64), wanted.astype(np.float64)
                np.testing.assert_allclose(a, b, rtol=close, atol=close * max(1.0, np.nanmax(np.abs(b))))
    assert count > 500
