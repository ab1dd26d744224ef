"""Constant folding: what follows from constants becomes a constant, and what does nothing goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph, Origin, Value
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Param, TensorType
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.rewrites.constant_folding import ConstantFolding
from pathlift.testing import assert_equivalent, assert_same_as_onnxruntime, execute
from pathlift.testing.strategies import graphs

Draw = Callable[[st.SearchStrategy[Any]], Any]
EXPORTED = """
    graph "exported" {opset=18}
    %x = Input : f32[N, 2, 3]
    %w = Param {value=[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]} : f32[2, 3]  # loc: weight {doc="of the layer"}
    %scale = Param {value=[[2.0], [0.5]]} : f32[2, 1]
    %wt = Transpose(%w) {perm=[1, 0]} : f32[3, 2]  # loc: turn
    %half = Neg(%scale)
    %st = Transpose(%half) {perm=[1, 0]}
    %ws = Mul(%wt, %st) : f32[3, 2]  # loc: product
    %a = Transpose(%x) {perm=[0, 2, 1]}  # loc: there
    %b = Identity(%a)  # loc: dropout
    %c = Transpose(%b) {perm=[0, 2, 1]}  # loc: back
    %h = Gemm(%c, %ws)  # loc: fc
    %zero = Param {value=0.0} : f32[]
    %one = Param {value=[1.0]} : f32[1]
    %k = Add(%zero, %h)
    %m = Mul(%k, %one)
    %r = Reshape(%m) {shape=[-1, 4]}
    %f = Flatten(%r)
    %v = Reshape(%f) {shape=[-1, 2, 2]}
    %y = Identity(%v)
    return %y
"""


def folded(graph: Graph, **options: Any) -> Graph:
    transform = ConstantFolding(**options)
    rewritten = transform.run(graph)
    rewritten.witness.check(graph, rewritten.graph)
    assert transform.run(rewritten.graph).graph is rewritten.graph
    assert_equivalent(graph, rewritten.graph, rtol=1e-6)
    return rewritten.graph


def ops(graph: Graph) -> list[str]:
    return [graph[key].op for key in graph.order if graph[key].op != "Input"]


def test_golden(golden: Callable[[str, str], None]) -> None:
    before = parse_graph(EXPORTED)
    rewritten = ConstantFolding().run(before)
    golden("passes/rewrites/constant_folding.txt", f"{before}\n\n{rewritten.graph}\n\n{rewritten.witness.describe()}")
    assert_same_as_onnxruntime(folded(before))


@st.composite
def with_constants(draw: Draw) -> Graph:
    """A random network some of whose inputs are constants."""
    graph = draw(graphs(batch=1))
    b, rng = graph.edit(), np.random.default_rng(draw(st.integers(0, 2**16)))
    for key in draw(st.lists(st.sampled_from(graph.inputs), unique=True)):
        type_ = graph[key].types[0]
        assert isinstance(type_, TensorType)
        values = rng.integers(-4, 5, type_.shape) / 4  # type: ignore[arg-type]  # a tensor of known shape
        b.replace_node(key, op="Param", value=Param.of(values.astype(np.float32)))
    return b.finish()


@st.composite
def with_noops(draw: Draw) -> Graph:
    """A random network with nodes in it that do nothing."""
    graph = draw(graphs())
    b, zero, one = graph.edit(), Param.of(0.0), Param.of(np.ones((1, 1), np.float32))
    for key in graph.order:
        type_ = graph[key].types[0]
        if graph[key].op == "Param" or not isinstance(type_, TensorType) or type_.dtype != np.float32:
            continue
        if not draw(st.booleans()):
            continue
        value, rank = Value(key), len(type_.shape or ())
        users, perm = graph.users(key), (0, *range(rank - 1, 0, -1))
        noop = draw(st.sampled_from(["Identity", "Add", "Mul", "Pad", "Transpose", "Reshape", "Sum"]))
        match noop:
            case "Add":
                noop = b.op("Add", b.param(zero), value)
            case "Mul":
                noop = b.op("Mul", value, b.param(one)) if rank > 1 else b.op("Identity", value)
            case "Pad":
                noop = b.op("Pad", value, pads=(0,) * 2 * rank)
            case "Transpose":
                noop = b.op("Transpose", b.op("Transpose", value, perm=perm), perm=perm)
            case "Reshape":
                noop = b.op("Reshape", b.op("Unsqueeze", value, axes=(1,)), shape=[-1, *(type_.shape or ())[1:]])
            case _:
                noop = b.op(noop, value)
        for user, slot, port in users:
            if port == 0:
                b.connect(user, slot, noop)
        if draw(st.booleans()):
            b.outputs = [noop if v == value and v.node not in graph.inputs else v for v in b.outputs]
    return b.finish()


def test_laws(check_rewrite: Callable[..., None]) -> None:
    check_rewrite(ConstantFolding(), with_constants(), examples=40, rewritten=True)
    check_rewrite(ConstantFolding(), with_noops(), examples=40, rewritten=True)
    check_rewrite(ConstantFolding(), graphs(), examples=30)


def test_everything_is_constant() -> None:
    graph = folded(
        parse_graph("""
            %x = Input : f32[2]
            %p = Param {value=[[3.0, 1.0, 2.0, -5.0]]} : f32[1, 4]
            %sorted = TopK(%p) {k=4}
            %low, %high = Split(%sorted) {axis=1, parts=[1, 3]}
            %r = Relu(%high)
            return %low, %r
        """)
    )
    assert ops(graph) == ["Param", "Param"]
    assert [(name, y.tolist()) for name, y in execute(graph, {"x": np.zeros(2)}).items()] == [
        ("low", [[3.0]]), ("r", [[2.0, 1.0, 0.0]])
    ]  # fmt: skip
    assert_same_as_onnxruntime(graph)


def test_a_weight_that_others_read_stays_as_it_is() -> None:
    b = Builder()
    x, w = b.input("x", ("N", 2)), b.param([[1.0, 2.0], [3.0, 4.0]], "w")
    before = b.finish(b.op("Gemm", b.op("Gemm", x, w), b.op("Mul", w, b.param(2.0)), name="y"))
    after = folded(before)
    assert after["w"].value is before["w"].value
    assert sorted(ops(after)) == ["Gemm", "Gemm", "Param", "Param"]


def test_an_identity_of_a_weight_is_the_weight() -> None:
    b = Builder()
    x, w = b.input("x", ("N", 2)), b.param([[1.0, 2.0], [3.0, 4.0]], "w")
    after = folded(b.finish(b.op("Gemm", b.op("Gemm", x, w), b.op("Identity", w))))
    assert ops(after) == ["Param", "Gemm", "Gemm"]


@pytest.mark.parametrize(
    ("op", "attrs", "options", "stays"),
    [
        ("Tile", {"repeats": (5, 1)}, {}, "4 times as large as its operands"),
        ("Tile", {"repeats": (4, 1)}, {}, ""),
        ("Tile", {"repeats": (4, 1)}, {"limit": 2**17}, "above the limit of 131072"),
        ("Expand", {"shape": (2**40, 2**14)}, {}, "above the limit"),
    ],
)
def test_bombs_stay_as_they_are(op: str, attrs: dict[str, Any], options: dict[str, int], stays: str) -> None:
    b = Builder()
    large = b.op(op, b.param(np.ones((1, 2**14), np.float32)), name="large", **attrs)
    graph = b.finish(b.op("Slice", large, axes=(0,), starts=(0,), ends=(1,), steps=(1,), name="y"))
    rewritten = ConstantFolding(**options).run(graph)
    if stays:
        assert rewritten.graph is graph
        assert "'large' stays: its result of " in rewritten.witness.describe()
    else:
        assert ops(rewritten.graph) == ["Param"]


def test_a_small_result_may_grow() -> None:
    b = Builder()
    assert ops(folded(b.finish(b.op("Expand", b.param([1.0]), shape=(100, 100))))) == ["Param"]


@pytest.mark.parametrize(
    ("dtype", "values", "factor"),
    [("f16", [300.0, 1.0], 300.0), ("f16", [1e-5, 1.0], 1e-3), ("f32", [np.inf, 1.0], 1.0), ("bf16", [np.nan], 2.0)],
)
def test_results_that_do_not_fit(dtype: str, values: list[float], factor: float) -> None:
    b = Builder()
    c = b.op(
        "Mul", b.param(Param.of(values, dtype)), b.param(Param.of([factor, factor][: len(values)], dtype)), name="c"
    )
    graph = b.finish(b.op("Add", b.input("x", ("N", len(values)), dtype), c))
    rewritten = ConstantFolding().run(graph)
    if factor == 1.0:  # times one, whatever it is
        assert ops(rewritten.graph) == ["Param", "Add"]
    else:
        assert rewritten.graph is graph
        assert rewritten.witness.describe().startswith("'c' stays: ")


def test_a_head_of_constants_stays_since_a_path_norm_would_not_see_it() -> None:
    b = Builder()
    graph = b.finish(b.op("Softmax", b.param([[0.0, 0.0]]), name="y"))
    assert ConstantFolding().run(graph).graph is graph
    assert PathNorm().run(graph).norms[0].zero


def test_what_is_random_is_not_computed() -> None:
    graph = parse_graph("""
        %x = Input : f32[2]
        %c = Param {value=[1.0, 2.0]} : f32[2]
        %r = Opaque(%c) {op_type="RandomNormalLike", reason="it is random", proto=b64""} : f32[2]
        %y = Add(%x, %r)
        return %y
    """)
    assert ConstantFolding().run(graph).graph is graph


@pytest.mark.parametrize("ir_version", [3, 10])
def test_what_a_caller_may_replace_is_no_constant(ir_version: int) -> None:
    graph = parse_graph(f"""
        graph "g" {{ir_version={ir_version}, opset=18, overridable=["zero"]}}
        %x = Input : f32[2]
        %zero = Param {{value=[0.0, 0.0]}} : f32[2]
        %n = Neg(%zero)
        %a = Add(%x, %zero)
        %y = Add(%a, %n)
        return %y
    """)
    assert ops(ConstantFolding().run(graph).graph) == (
        ["Identity"] if ir_version == 3 else ["Param", "Neg", "Add", "Add"]
    )


def test_names_of_inputs_and_outputs_stay() -> None:
    graph = parse_graph("""
        %x = Input : f32[2]
        %straight = Identity(%x)
        %r = Relu(%x)
        %once = Identity(%r)
        %twice = Identity(%r)
        %a = Abs(%x)  # loc: magnitude
        %b = Identity(%a)  # loc: dropout {metadata={"k"="v"}}
        %renamed = Cast(%b) {to="f32"}
        return %straight, %once, %twice, %renamed
    """)
    after = folded(graph)
    assert [after.name_of(v) for v in after.outputs] == ["straight", "once", "twice", "renamed"]
    assert ops(after) == ["Identity", "Relu", "Identity", "Abs"]
    assert after[after.outputs[3].node].origin == Origin(("magnitude", "dropout"), "", (("k", "v"),))


@pytest.mark.parametrize(
    "line",
    [
        "Add(%x, %c)",  # a zero, but the result is larger
        "Sub(%zero, %x)",
        "Reshape(%x) {shape=[0, 3, 2]}",
        "Transpose(%x) {perm=[0, 2, 1]}",
        "Cast(%x) {to=\"f64\"}",
        "Slice(%x) {axes=[2], starts=[-1], ends=[-100], steps=[-1]}",
        "Pad(%x) {pads=[0, 0, 1, 0, 0, -1]}",
        "Sum(%x, %x)",
    ],
)  # fmt: skip
def test_what_does_something_stays(line: str) -> None:
    graph = parse_graph(f"""
        %x = Input : f32[1, 2, 3]
        %c = Param {{value=[[[0.0]], [[0.0]]]}} : f32[2, 1, 1]
        %zero = Param {{value=0.0}} : f32[]
        %y = {line}
        %z = Relu(%y)
        return %z
    """)
    assert ConstantFolding().run(graph).graph is graph


def test_a_path_norm_for_q_2_may_rise_and_for_q_1_falls() -> None:
    """The paths from the constants 1 and −3 through weights 1 and 1 become one: |1 − 3| < 1 + 3; 2² < 1² + 3²."""
    graph = parse_graph("""
        %x = Input : f32[1, 1]
        %c = Param {value=[[1.0, -3.0]]} : f32[1, 2]
        %ones = Param {value=[[1.0], [1.0]]} : f32[2, 1]
        %b = Gemm(%c, %ones)
        %y = Add(%x, %b)
        return %y
    """)
    positive = graph.edit()
    positive.replace_node("c", value=Param.of([[1.0, 3.0]]))
    for before, norms in (
        (graph, ((5.0, 3.0), (11**0.5, 5**0.5))),
        (positive.finish(), ((5.0, 5.0), (11**0.5, 17**0.5))),
    ):
        results = [PathNorm(q=(1.0, 2.0)).run(g).norms for g in (before, folded(before))]
        for n, expected in zip(zip(*results, strict=True), norms, strict=True):
            assert [norm.value for norm in n] == pytest.approx(expected)


def test_a_factor_that_is_a_sum_of_constants_is_no_obstacle_any_more() -> None:
    b = Builder()
    x, total = b.input("x", (1, 2)), b.op("Add", b.param([1.0, 2.0]), b.param([3.0, 4.0]))
    graph = b.finish(b.op("Mul", x, b.op("Mul", b.param(0.5), total)))
    with pytest.raises(UnsupportedError, match="fold the constants first"):
        PathNorm().run(graph)
    assert PathNorm().run(folded(graph)).norms[0].value == pytest.approx(5.0)


@pytest.mark.parametrize(
    "node",
    [
        *("Sum(%a)", "Max(%a)", "Concat(%a) {axis=0}", "Transpose(%a) {perm=[0, 1]}", "Pad(%a) {pads=[0, 0, 0, 0]}"),
        *("Split(%a) {axis=1, parts=[6]}", "Tile(%a) {repeats=[1, 1]}", "Reshape(%a) {shape=[-1, 6]}"),
        "Slice(%a) {axes=[1], starts=[0], ends=[9], steps=[1]}",
    ],
)
def test_whatever_changes_nothing_goes(node: str) -> None:
    graph = parse_graph(f"%x = Input : f32[2, 6]\n%a = Relu(%x)\n%b = {node}\n%y = Abs(%b)\nreturn %y")
    assert ops(folded(graph)) == ["Relu", "Abs"]


@pytest.mark.parametrize(
    "node",
    [
        *("Transpose(%a) {perm=[1, 0]}", "Pad(%a) {pads=[0, 1, 0, -1]}", "Gather(%a) {axis=1, indices=[1, 0]}"),
        *("Slice(%a) {axes=[1], starts=[-1], ends=[-9], steps=[-1]}", "TopK(%a) {k=2}", "Sum(%a, %a)"),
    ],
)
def test_what_only_keeps_the_shape_stays(node: str) -> None:
    graph = parse_graph(f"%x = Input : f32[2, 2]\n%a = Relu(%x)\n%b = {node}\n%y = Abs(%b)\nreturn %y")
    assert len(ops(folded(graph))) == 3


def test_a_split_into_everything_and_nothing_stays() -> None:
    text = "%x = Input : f32[2, 6]\n%a = Relu(%x)\n%b, %c = Split(%a) {axis=1, parts=[6, 0]}\nreturn %b, %c"
    assert ops(folded(parse_graph(text))) == ["Relu", "Split"]


@pytest.mark.parametrize(
    ("first", "second", "perm"), [((1, 2, 0), (1, 0, 2), (2, 1, 0)), ((0, 2, 1), (2, 0, 1), (1, 0, 2))]
)
def test_two_transpositions_are_one(first: tuple[int, ...], second: tuple[int, ...], perm: tuple[int, ...]) -> None:
    b = Builder()
    x = b.input("x", (2, 3, 4))
    before = b.finish(b.op("Transpose", b.op("Transpose", x, perm=first), perm=second, name="y"))
    after = ConstantFolding().run(before).graph
    assert [(after[key].op, after[key].attrs.get("perm")) for key in after.order] == [
        ("Input", None),
        ("Transpose", perm),
    ]
    assert_equivalent(before, after)
