"""Batch norms become weights and biases of the linear ops next to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, ModelInfo, Value
from pathlift.ir.text import parse_graph
from pathlift.ir.types import DTYPES, Param
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.rewrites.fold_batchnorm import FoldBatchnorm
from pathlift.testing import assert_equivalent, assert_same_as_onnxruntime, in_float64, op_names
from pathlift.testing.strategies import graphs

Draw = Callable[[st.SearchStrategy[Any]], Any]
CLASSIFIER = """
    graph "classifier" {opset=18}
    %x = Input : f32[N, 1, 3, 3]
    %conv.weight = Param {value=[[[[1.0, 2.0]]], [[[0.5, -1.0]]]]} : f32[2, 1, 1, 2]
    %bn.gamma = Param {value=[2.0, -1.0]} : f32[2]
    %bn.beta = Param {value=[0.5, 0.0]} : f32[2]
    %bn.mean = Param {value=[1.0, 2.0]} : f32[2]
    %bn.var = Param {value=[3.0, 0.0]} : f32[2]
    %h = Conv(%x, %conv.weight) {strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]}  # loc: conv {doc="edges"}
    %n = BatchNormalization(%h, %bn.gamma, %bn.beta, %bn.mean, %bn.var) {epsilon=1.0}  # loc: bn {metadata={"k"="v"}}
    %r = Relu(%n)
    %last.gamma = Param {value=[3.0, 4.0]} : f32[2]
    %m = BatchNormalization(%r, %last.gamma, %bn.beta, %bn.mean, %bn.var) {epsilon=1.0}  # loc: last
    %flat = Flatten(%m)
    %fc.weight = Param : f32[12, 2]
    %y = Gemm(%flat, %fc.weight)  # loc: fc
    return %y
"""


class Net(Builder):
    """A builder with random parameters."""

    def __init__(self, info: ModelInfo | None = None, seed: int = 0) -> None:
        super().__init__(info)
        self.rng = np.random.default_rng(seed)

    def weight(self, *shape: int, name: str = "w", low: float = -1.0, dtype: str = "f32") -> Value:
        return self.param(self.rng.uniform(low, 1, shape).astype(DTYPES[dtype]), self.fresh(name))

    def norm(self, x: Value, channels: int, *, name: str = "", dtype: str = "f32") -> Value:
        names = ("gamma", "beta", "mean", "var")
        params = [self.weight(channels, name=n, low=0.5 if n == "var" else -1.0, dtype=dtype) for n in names]
        return self.op("BatchNormalization", x, *params, name=name)

    def conv(self, x: Value, w: Value, *bias: Value, op: str = "Conv", pads: int = 0, **attrs: Any) -> Value:
        n = len(self[w].types[0].shape) - 2  # type: ignore[union-attr, arg-type]  # a tensor of known shape
        attrs = {"strides": (1,) * n, "dilations": (1,) * n, "pads": (pads,) * 2 * n, **attrs}
        return self.op(op, x, w, *bias, **attrs, **({"output_padding": (0,) * n} if op == "ConvTranspose" else {}))


def folded(graph: Graph) -> Graph:
    """Fold, here and in ONNX Runtime's single precision; and check it all in float64."""
    wide = in_float64(graph)
    for g in (wide, graph):
        rewritten = FoldBatchnorm().run(g)
        rewritten.witness.check(g, rewritten.graph)
        assert FoldBatchnorm().run(rewritten.graph).graph is rewritten.graph
    assert_equivalent(wide, FoldBatchnorm().run(wide).graph)
    assert_same_as_onnxruntime(rewritten.graph)
    return rewritten.graph


def reasons(graph: Graph) -> str:
    """Why nothing is folded."""
    rewritten = FoldBatchnorm().run(graph)
    assert rewritten.graph is graph
    return rewritten.witness.describe()


def test_golden(golden: Callable[[str, str], None]) -> None:
    weights = np.arange(24, dtype=np.float32).reshape(12, 2)
    before = parse_graph(CLASSIFIER, params={"fc.weight": weights})
    rewritten = FoldBatchnorm().run(before)
    rewritten.witness.check(before, rewritten.graph)
    golden("passes/rewrites/fold_batchnorm.txt", f"{before}\n\n{rewritten.graph}\n\n{rewritten.witness.describe()}")
    assert_equivalent(before, folded(before), rtol=1e-6)


@st.composite
def stacks(draw: Draw) -> Graph:
    """Linear ops, batch norms, arithmetic with constants and views in a row; a value in between may be read twice."""
    b = Net(seed=draw(st.integers(0, 2**16)))
    sizes = draw(st.sampled_from([(), (3,), (3, 4), (2, 3, 2)]))
    x = b.input("x", ("N", draw(st.integers(1, 4)), *sizes))
    for step in draw(st.lists(st.sampled_from([linear, linear, norm, norm, arithmetic, view, other]), max_size=7)):
        x = step(draw, b, x)
    return b.finish(x)


def shape(b: Net, x: Value) -> tuple[int, ...]:
    return b.type_of(x).shape[1:]  # type: ignore[union-attr, index, return-value]  # a tensor of known shape


def linear(draw: Draw, b: Net, x: Value) -> Value:
    (c, *sizes), out = shape(b, x), draw(st.integers(1, 4))
    bias = [b.weight(out)] if draw(st.booleans()) else []
    convolutions = ["Conv", "ConvTranspose"] if 1 <= len(sizes) <= 3 else []
    kind = draw(st.sampled_from(["Gemm", *convolutions] + ["Einsum"] * (not sizes)))
    if kind == "Gemm":
        inside = (c, *sizes)[-1]
        if draw(st.booleans()):
            return b.op("Gemm", x, b.weight(out, inside), *bias, trans_w=True)
        return b.op("Gemm", x, b.weight(inside, out), *bias)
    if kind == "Einsum":
        return b.op("Einsum", x, b.weight(out, c), equation="bi,oi->bo")
    groups = draw(st.sampled_from([k for k in (1, 2, 3, 4) if c % k == out % k == 0]))
    kernel = [draw(st.integers(1, min(2, n))) for n in sizes]
    inner = (c, out // groups) if kind == "ConvTranspose" else (out, c // groups)
    pads = draw(st.sampled_from([0, 0, 1])) if kind == "Conv" or min(sizes) > 2 else 0
    return b.conv(x, b.weight(*inner, *kernel), *bias, op=kind, groups=groups, pads=pads)


def norm(draw: Draw, b: Net, x: Value) -> Value:
    return b.norm(x, shape(b, x)[0])


def arithmetic(draw: Draw, b: Net, x: Value) -> Value:
    own = shape(b, x)
    c = b.weight(*draw(st.sampled_from([(), (own[0], *[1] * (len(own) - 1)), own[-1:], own])), low=0.5)
    op, flip = draw(st.sampled_from(["Mul", "Div", "Add", "Sub"])), draw(st.booleans())
    return b.op(op, *((c, x) if flip and op in ("Add", "Sub") else (x, c)))


def view(draw: Draw, b: Net, x: Value) -> Value:
    rank = len(shape(b, x)) + 1
    choices: list[tuple[str, dict[str, Any]]] = [("Identity", {}), ("Flatten", {}), ("Reshape", {"shape": (0, -1, 1)})]
    if rank > 2:
        choices.append(("Transpose", {"perm": (0, *range(2, rank), 1)}))
    if rank < 5:
        choices.append(("Unsqueeze", {"axes": (draw(st.integers(1, rank)),)}))
    op, attrs = draw(st.sampled_from(choices))
    return b.op(op, x, **attrs)


def other(draw: Draw, b: Net, x: Value) -> Value:
    return b.op("Add", x, b.op("Relu", x)) if draw(st.booleans()) else b.op("Relu", x)


def test_laws(check_rewrite: Callable[..., None]) -> None:
    check_rewrite(FoldBatchnorm(), stacks(), examples=75, rewritten=True)
    check_rewrite(FoldBatchnorm(), graphs(), examples=40)


@pytest.mark.parametrize("sizes", [(5,), (5, 4), (3, 4, 5)], ids=["1-D", "2-D", "3-D"])
@pytest.mark.parametrize("groups", [1, 2, 4], ids=["full", "grouped", "depthwise"])
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_convolutions_of_all_kinds(op: str, groups: int, sizes: tuple[int, ...]) -> None:
    b, kernel = Net(), (2,) * len(sizes)
    x = b.input("x", ("N", 4, *sizes))
    w = b.weight(4, 8 // groups, *kernel) if op == "ConvTranspose" else b.weight(8, 4 // groups, *kernel)
    y = b.norm(b.conv(x, w, op=op, groups=groups, pads=1, strides=(2,) * len(sizes)), 8, name="y")
    assert op_names(folded(b.finish(y))) == [op]


@pytest.mark.parametrize("trans_w", [False, True])
@pytest.mark.parametrize("bias", [None, (), (1,), (3,), (2, 3)])
def test_a_bias_of_any_shape(trans_w: bool, bias: tuple[int, ...] | None) -> None:
    b = Net()
    x = b.input("x", (2, 4))
    h = b.op("Gemm", x, b.weight(*((3, 4) if trans_w else (4, 3))), None if bias is None else b.weight(*bias),
             trans_w=trans_w)  # fmt: skip
    assert op_names(folded(b.finish(b.norm(h, 3, name="y")))) == ["Gemm"]


def test_an_einsum_keeps_its_shift_as_a_sum() -> None:
    b = Net()
    h = b.op("Einsum", b.input("x", ("N", 4, 5)), b.weight(3, 4), equation="bij,oi->boj")
    graph = folded(b.finish(b.norm(h, 3, name="y")))
    assert op_names(graph) == ["Einsum", "Add"]
    assert graph.name_of(graph.outputs[0]) == "y"


def test_a_batch_norm_in_disguise() -> None:
    b, column = Net(), (3, 1, 1)
    h = b.conv(b.input("x", ("N", 2, 4, 4)), b.weight(3, 2, 2, 2), pads=1)
    for op in ("Sub", "Div", "Mul", "Add"):
        h = b.op(op, h, b.weight(*column, low=0.5))
    h = b.op("Mul", b.op("Sub", b.weight(), h), b.weight(1))
    assert op_names(folded(b.finish(b.op("Relu", h)))) == ["Conv", "Relu"]


def test_constants_that_are_not_per_channel_stay() -> None:
    b = Net()
    h = b.conv(b.input("x", ("N", 2, 4, 3)), b.weight(3, 2, 1, 1), pads=1)
    last = b.op("Mul", h, b.weight(5))  # as many as there are columns
    grown = b.op("Add", last, b.weight(1, 1, 1, 1, 1))
    assert FoldBatchnorm().run(graph := b.finish(grown)).graph is graph


def test_through_views_before_and_behind() -> None:
    b = Net()
    h = b.op("Gemm", b.input("x", ("N", 5)), b.weight(5, 12))
    maps = b.norm(b.op("Reshape", h, shape=(-1, 3, 2, 2)), 3)  # project and reshape: four features, one channel
    turned = b.op("Transpose", b.norm(b.op("Relu", maps), 3), perm=(0, 2, 3, 1))
    y = b.op("Gemm", b.op("Flatten", turned), b.weight(12, 2), name="y")
    assert op_names(folded(b.finish(y))) == ["Gemm", "Reshape", "Relu", "Transpose", "Flatten", "Gemm"]


def test_extents_that_a_view_needs_but_nobody_knows() -> None:
    b = Net()
    m = b.norm(b.op("Relu", b.input("x", ("N", 2, "H", 3))), 2, name="bn")
    graph = b.finish(b.op("Gemm", b.op("Flatten", m), b.weight(12, 2)))
    assert reasons(graph) == "'bn' stays: its channels are not those of 'gemm'"


def test_a_shift_and_zero_padding() -> None:
    def net(shift: float) -> Graph:
        b = Net()
        x, zero = b.op("Relu", b.input("x", ("N", 2, 4, 4))), b.param([0.0, shift])
        n = b.op("BatchNormalization", x, b.weight(2), zero, b.param([0.0, 0.0]), b.weight(2, low=0.5), name="bn")
        return b.finish(b.conv(n, b.weight(3, 2, 3, 3), pads=1))

    assert op_names(folded(net(0.0))) == ["Relu", "Conv"]
    assert reasons(net(1.0)) == "'bn' stays: 'conv' behind it does not meet its shift everywhere"


def test_what_else_reads_a_value_still_gets_it() -> None:
    b = Net()
    x = b.input("x", ("N", 2))
    h = b.op("Gemm", x, b.weight(2, 2), name="h")
    n = b.norm(h, 2, name="bn")
    before = b.finish(b.op("Add", h, n), b.op("Gemm", n, b.weight(2, 2)))
    assert reasons(before) == "'bn' stays: 'h' is read elsewhere too, and its output is read elsewhere too"
    for output in ("h", "bn"):  # outputs have their names and values
        builder = b.of(before)
        builder.outputs = [builder.value(output)]
        after = FoldBatchnorm().run(builder.finish()).graph
        assert after.name_of(after.outputs[0]) == output
        assert_equivalent(builder.finish(), after, rtol=1e-5)


def test_tied_weights_are_left_to_the_others() -> None:
    b = Net()
    x, w, twin = b.input("x", ("N", 2)), b.weight(2, 2, name="w"), Param.of(np.float32([[1, 2], [3, 4]]))
    pair = [b.param(twin, "left"), b.param(twin, "right")]
    first = b.norm(b.op("Gemm", x, w), 2)
    last = b.op("Gemm", b.norm(b.op("Gemm", b.op("Relu", first), pair[0]), 2), pair[1])
    before = b.finish(b.op("Add", b.op("Gemm", last, w), x))
    after = folded(before)
    assert "BatchNormalization" not in op_names(after)
    assert after["w"].value is before["w"].value
    assert after["right"].value is twin
    assert after["left"].value is not twin


@pytest.mark.parametrize("ir_version", [3, 10])
@pytest.mark.parametrize("name", ["w", "gamma", "var"])
def test_what_a_caller_may_replace_stays(ir_version: int, name: str) -> None:
    b = Net(ModelInfo(ir_version=ir_version, overridable=(name,)))
    y = b.norm(b.op("Gemm", b.input("x", ("N", 2)), b.weight(2, 2, name="w")), 2, name="bn")
    graph = b.finish(y)
    if ir_version == 3:  # where every parameter is an input
        assert op_names(folded(graph)) == ["Gemm"]
    else:
        assert "'bn' stays: " in reasons(graph)


def changed(graph: Graph, **values: Any) -> Graph:
    b = graph.edit()
    for name, value in values.items():
        b.replace_node(name, value=Param.of(np.asarray(value, graph[name].value.dtype)))  # type: ignore[union-attr]  # a parameter has a value
    return b.finish()


@pytest.mark.parametrize(
    "values",
    [
        {"gamma": [np.nan, 1.0]},
        {"w": [[np.inf, 1.0], [1.0, 1.0]]},
        {"var": [-2.0, 1.0]},
        {"gamma": [6e4, 1.0], "w": [[6e4, 1.0], [1.0, 1.0]]},
        {"gamma": [1e-4, 1.0], "w": [[1e-4, 1.0], [1.0, 1.0]]},
    ],
    ids=["nan", "infinite", "negative variance", "overflow", "underflow"],
)
def test_weights_that_would_not_fit(values: dict[str, Any]) -> None:
    b = Net()
    x = b.input("x", ("N", 2), "f16")
    y = b.norm(b.op("Gemm", x, b.weight(2, 2, name="w", dtype="f16"), name="fc"), 2, name="bn", dtype="f16")
    graph = b.finish(y)
    after = FoldBatchnorm().run(graph)
    after.witness.check(graph, after.graph)
    assert after.graph[after.graph.params[0]].types[0].dtype == np.float16  # type: ignore[union-attr]  # a tensor of known shape
    assert reasons(changed(graph, **values)) == "'bn' stays: the new weights of 'fc' do not fit f16"


def test_a_norm_for_q_2_may_rise() -> None:
    """|1·1 + 1|² > 1² + 1²: the bias and the shift are one path afterwards."""
    graph = parse_graph("""
        %x = Input : f32[1, 1]
        %w = Param {value=[[1.0]]} : f32[1, 1]
        %b = Param {value=[1.0]} : f32[1]
        %one = Param {value=[1.0]} : f32[1]
        %zero = Param {value=[0.0]} : f32[1]
        %h = Gemm(%x, %w, %b)
        %y = BatchNormalization(%h, %one, %b, %zero, %one) {epsilon=0.0}
        return %y
    """)
    before, after = (PathNorm(q=(1.0, 2.0)).run(g).norms for g in (graph, folded(graph)))
    assert [n.value for n in before] == pytest.approx([3.0, 3**0.5])
    assert [n.value for n in after] == pytest.approx([3.0, 5**0.5])


def test_nothing_but_dead_code() -> None:
    b = Net()
    x = b.input("x", ("N", 2))
    b.norm(b.op("Gemm", x, b.weight(2, 2)), 2)
    assert reasons(b.finish(b.op("Relu", x))) == ""


def test_parameters_that_need_no_change_are_not_copied() -> None:
    b = Net()
    x, w, bias = b.input("x", ("N", 2)), b.weight(2, 2, name="w"), b.weight(2, name="b")
    shifted = b.op("Add", b.op("Gemm", x, w), b.weight(2))
    scaled = b.op("Gemm", b.op("Mul", b.op("Relu", shifted), b.weight(2)), b.weight(2, 2), bias)
    before = b.finish(b.op("Gemm", b.op("Relu", scaled), w, bias))
    after = folded(before)
    assert op_names(after) == ["Gemm", "Relu", "Gemm", "Relu", "Gemm"]
    assert [len(after.users(name)) for name in ("w", "b")] == [2, 2]


@pytest.mark.parametrize("node", ["Div(%c, %h)", "Div(%c, %r)"])
def test_a_constant_that_neurons_divide_stays(node: str) -> None:
    graph = parse_graph(f"""
        %x = Input : f32[N, 2]
        %w = Param {{value=[[1.0, 2.0], [3.0, 4.0]]}} : f32[2, 2]
        %c = Param {{value=[2.0, -3.0]}} : f32[2]
        %h = Gemm(%x, %w)
        %r = Relu(%h)
        %y = {node}
        %z = Gemm(%y, %w)
        return %z
    """)
    assert op_names(FoldBatchnorm().run(graph).graph) == op_names(graph)
