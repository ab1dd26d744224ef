"""Path metrics of small networks, by hand: what holds, and what is rounded."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph, Value
from pathlift.passes.path_metric.path_metric import path_metric
from pathlift.testing import execute
from pathlift.testing.perturbations import with_parameters

Start = Callable[..., tuple[Builder, Value]]
Chain = Callable[..., Graph]


def l1(first: Graph, second: Graph, **options: Any) -> float:
    found = path_metric(first, second, **options).l1.value
    assert found is not None
    return found


def test_of_pruning_it_is_the_difference_of_the_norms(two_layers: Chain) -> None:
    bound = path_metric(two_layers(3, -2), two_layers(3, 0))
    assert (bound.case, bound.is_path_metric) == ("pruning", True)
    assert (bound.first.value, bound.second.value, bound.l1.value, bound.linf.value) == (6.0, 0.0, 6.0, 6.0)


def test_of_other_signs_both_norms_count(two_layers: Chain) -> None:
    bound = path_metric(two_layers(1, 1), two_layers(-1, -1))  # equal Φ, but ReLU(x) and −ReLU(−x)
    assert (bound.case, bound.is_path_metric, bound.l1.value) == ("theta-and", False, 2.0)


def test_sides_are_told_apart(two_layers: Chain) -> None:
    bound = path_metric(two_layers(3, 1), two_layers(2, 5))
    assert bound.case == "theta-and"
    assert (bound.first.value, bound.second.value) == (1.0, 8.0)  # 3·1 − 2·1 and 2·5 − 2·1


def test_networks_with_equal_paths_and_a_relu6_are_bounded(two_layers: Chain) -> None:
    first, second = (two_layers(u, v, "Clip", low=0.0, high=6.0) for u, v in ((2, 1), (1, 2)))
    bound = path_metric(first, second, inputs={"x": 6.0})
    x = {"x": np.array([[6.0]])}
    apart = np.abs(execute(first, x)["y"] - execute(second, x)["y"])
    assert apart == 6
    assert bound.l1.value == 12
    assert not bound.is_path_metric
    assert "Clip ('f')" in bound.assumptions[0]


def test_a_clip_that_excludes_zero_is_in_common(two_layers: Chain) -> None:
    first, second = (two_layers(1, v, "Clip", low=2.0, high=6.0) for v in (1, 0))
    assert l1(first, second, inputs={"x": 0.5}) == 2.5


def test_what_a_node_adds_to_both_is_no_difference(start: Start) -> None:
    b, x = start(1, 1)
    h = b.op("Clip", b.op("Gemm", x, b.param([[3.0]], "w")), low=2.0, high=6.0)
    first = b.finish(b.op("Pad", h, pads=(0, 0, 0, 1), value=5.0, name="y"))
    assert l1(first, with_parameters(first, {"w": 1.0})) == 2


@pytest.mark.parametrize("zero_point", [0, 3])
def test_quantizers_add_a_step_where_networks_differ(two_layers: Chain, zero_point: int) -> None:
    quantizer = {"scale": 0.5, "zero_point": zero_point, "dtype": "u8", "low": 0, "high": 255}
    first, second = (two_layers(u, 2, "FakeQuantize", **quantizer) for u in (1.0, 0.25))
    bound = path_metric(first, second)
    assert bound.l1.value == 2 * (0.75 + 0.5)
    assert bound.case == "pruning"
    assert not bound.is_path_metric
    for x in np.linspace(-1, 1, 101).reshape(-1, 1, 1):
        assert np.abs(execute(first, {"x": x})["y"] - execute(second, {"x": x})["y"]) <= bound.l1.upper


def test_quantizers_before_any_difference_add_only_to_magnitudes(two_layers: Chain) -> None:
    quantizer = {"scale": 0.5, "zero_point": 0, "dtype": "u8", "low": 0, "high": 255}
    first, second, third = (two_layers(1, v, "FakeQuantize", **quantizer) for v in (2, 2, 1))
    assert l1(first, second) == 0
    assert l1(first, third) == 1.25
    assert l1(first, third, inputs={"x": 0.3}) >= 0.5  # 0.3 is rounded to 0.5


def test_parameters_that_are_off_what_is_meant_are_apart_by_that_much(two_layers: Chain) -> None:
    graph, off = two_layers(1, 1), np.full((1, 1), 0.125)
    assert l1(graph, graph) == 0
    assert l1(graph, graph, errors={"u": (off, None)}) >= 0.125
    assert l1(graph, graph, errors={"u": (None, off)}) >= 0.125
    assert l1(graph, graph, errors={"u": (off, off)}) >= 0.25


def prelu(slope: float) -> Graph:
    b = Builder()
    return b.finish(b.op("PRelu", b.input("x", (1, 1)), b.param([slope], "slope"), name="y"))


def test_other_slopes_of_a_prelu_are_refused() -> None:
    assert l1(prelu(0.5), prelu(0.5)) == 0
    with pytest.raises(UnsupportedError, match=r"PL1389 node 'y' .PRelu.: the slopes"):
        path_metric(prelu(0.5), prelu(0.25))


def test_equal_slopes_are_edges() -> None:
    graphs = []
    for w in (1.0, 2.0):
        b = Builder()
        h = b.op("Gemm", b.input("x", (1, 1)), b.param([[w]], "w"))
        graphs.append(b.finish(b.op("PRelu", h, b.param([-3.0], "slope"), name="y")))
    assert l1(*graphs) == 3


def test_a_final_softmax_is_left_out() -> None:
    def softmax(w: float) -> Graph:
        b = Builder()
        x = b.op("Gemm", b.input("x", (1, 1)), b.param(np.array([[w, 1.0]], np.float32), "w"))
        return b.finish(b.op("Softmax", x, name="y"))

    bound = path_metric(softmax(3), softmax(1))
    assert bound.l1.value == 2
    assert bound.assumptions == ("the final Softmax 'y' is left out",)


def test_magnitudes_count_element_by_element_and_biases_with_one(start: Start) -> None:
    def dense(w: list[float], bias: float) -> Graph:
        b, x = start(1, 3)
        return b.finish(b.op("Gemm", x, b.param(np.array([w]).T, "w"), b.param([bias], "bias"), name="y"))

    first, second = dense([1, 2, 4], 10), dense([1, 1, 1], 7)
    assert l1(first, second) == 1 + 3 + 3
    assert l1(first, second, inputs={"x": [[100, 0.5, 2]]}) == 0.5 + 6 + 3


def test_equal_positions_of_a_domain_share_a_class(start: Start) -> None:
    b, x = start(1, 1, 5, 4)
    w = np.arange(9.0).reshape(1, 1, 3, 3)
    first = b.finish(b.op("Conv", x, b.param(w, "w"), strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1), name="y"))
    second = with_parameters(first, {"w": w / 2})
    domain = np.array([1.0, 2, 2, 2, 1]).reshape(1, 1, 5, 1) * np.array([3, 3, 1, 3])
    bound = path_metric(first, second, inputs={"x": domain})
    expected = execute(first, {"x": domain})["y"] - execute(second, {"x": domain})["y"]
    assert 10 ** bound.outputs["y"].numpy() == pytest.approx(expected)
    assert bound.l1.value == pytest.approx(expected.sum())
    assert bound.linf.value == pytest.approx(expected.max())


def norm(gamma: float, beta: float, mean: float, var: float) -> Graph:
    b = Builder()
    x = b.input("x", (1, 1), "f64")
    params = [b.param(np.array([p], np.float64), n) for n, p in zip("gbmv", (gamma, beta, mean, var), strict=True)]
    return b.finish(b.op("BatchNormalization", x, *params, epsilon=0.5, name="y"))


def test_a_batch_norm_is_one_edge_and_one_bias() -> None:
    bound = path_metric(norm(6, 1, 2, 3.5), norm(2, 1, -2, 0.5))  # 3x − 5, 2x + 5
    assert bound.case == "theta-and"
    assert bound.l1.value == pytest.approx(1 + 5 + 5, rel=1e-14)
    assert bound.l1.value <= bound.l1.upper <= 11 * (1 + 1e-13)


def test_what_cancellation_leaves_uncertain_is_in_the_bound() -> None:
    with localcontext() as context:
        context.prec = 60
        for var in np.random.default_rng(0).random(30):
            beta = float(1 / np.sqrt(var + 0.5))  # β − s·mean is all rounding
            true = abs(Decimal(beta) - 1 / (Decimal(var) + Decimal("0.5")).sqrt())
            upper = path_metric(norm(1, beta, 1, var), norm(1, 0, 0, var)).l1.upper
            assert true <= upper <= Decimal("1e-14")


def test_rounding_errors_of_computed_parameters_are_in_the_excess() -> None:
    rng = np.random.default_rng(0)

    def scale(gamma: float, var: float) -> Decimal:
        return Decimal(gamma) / (Decimal(var) + Decimal("0.5")).sqrt()

    with localcontext() as context:
        context.prec = 60
        for gamma, var in rng.random((50, 2)):
            near = gamma * (1 + 2**-48), var * (1 + 2**-49)
            for zero in (0, 1):  # in either network, the other is the smaller
                pair = [(gamma, var), near][:: 1 - 2 * zero]
                true = abs(scale(*pair[0]) - scale(*pair[1]))
                upper = path_metric(*(norm(g, 0, 0, v) for g, v in pair)).l1.upper
                assert upper >= true
                assert upper <= true + Decimal("1e-14")


def test_reciprocals_are_edges(start: Start) -> None:
    def divided(c: float) -> Graph:
        b, x = start(1, 1)
        return b.finish(b.op("Div", x, b.param(c, "c"), name="y"))

    assert l1(divided(2), divided(-4)) == pytest.approx(0.75, rel=1e-14)


@pytest.mark.parametrize("change", [1e-4, -1e-4])
def test_float16_weights_are_taken_as_they_are(change: float) -> None:
    b = Builder()
    x = b.input("x", (1, 1), "f16")
    first = b.finish(b.op("Gemm", x, b.param(np.array([[0.1]], np.float16), "w"), name="y"))
    second = with_parameters(first, {"w": np.float16(0.1) + np.float16(change)})
    a, c = (float(g["w"].value.numpy()[0, 0]) for g in (first, second))
    assert a != c
    assert l1(first, second) == abs(a - c)


def test_tied_weights_are_edges_of_their_own(start: Start) -> None:
    b, x = start(1, 1)
    w = b.param([[3.0]], "w")
    first = b.finish(b.op("Gemm", b.op("Relu", b.op("Gemm", x, w)), w, name="y"))
    assert l1(first, with_parameters(first, {"w": 2.0})) == 9 - 4


def test_an_output_that_is_a_parameter(start: Start) -> None:
    b, x = start(1, 1)
    first = b.finish(b.param([2.0, 3.0], "w"), b.op("Relu", x, name="y"), "y")
    bound = path_metric(first, with_parameters(first, {"w": [2.0, -1.0]}))
    assert bound.l1.value == 4
    assert bound.outputs["w"].tolist() == [-math.inf, pytest.approx(math.log10(4))]
    assert bound.outputs["y"].tolist() == [[-math.inf]]


def test_an_output_that_is_listed_twice_counts_twice(two_layers: Chain) -> None:
    first, second = (two_layers(1, v).edit().finish("y") for v in (3, 2))
    bound = path_metric(first, second)
    assert (bound.l1.value, bound.linf.value) == (2, 1)


def test_pools_as_maxima(start: Start) -> None:
    b, x = start(1, 3)
    h = b.op("Mul", x, b.param([1.0, 2.0, 4.0], "w"))
    first = b.finish(b.op("ReduceMax", h, axes=(1,), name="y"))
    second = with_parameters(first, {"w": [2.0, 2.0, 0.0]})
    assert l1(first, second) == 1 + 4
    bound = path_metric(first, second, pooling="max")
    assert (bound.l1.value, bound.first.value, bound.second.value) == (5, 4, 1)
    assert not path_metric(first, with_parameters(first, {"w": 0}), pooling="max").is_path_metric


@pytest.mark.parametrize(("scale", "sign"), [(2.0**100, 1), (2.0**-100, -1)])
def test_chains_beyond_any_float(start: Start, scale: float, sign: int) -> None:
    b, x = start(1, 2)
    h = x
    for i in range(40):
        h = b.op("Relu", b.op("Gemm", h, b.param(np.eye(2) * scale, f"w{i}")))
    first = b.finish(h)
    second = with_parameters(first, {"w20": np.diag([scale, scale / 2])})
    bound = path_metric(first, second, per_node=True)
    expected = (sign * 4000 - 1) * math.log10(2)
    assert bound.l1.log10 == pytest.approx(expected, rel=1e-14)
    assert bound.l1.log10 < bound.l1.upper_log10 < bound.l1.log10 + 1e-9
    assert bound.l1.value is None
    assert bound.l1.upper is None
    assert [node.share for node in bound.nodes] == [1]


def test_shares_are_what_starts_at_a_node(two_layers: Chain) -> None:
    first, second = two_layers(3, 2), two_layers(2, 1)
    bound = path_metric(first, second, per_node=True)
    # The second layer's excess multiplies what is in common; the first layer's the whole second weight.
    assert {node.node: node.share for node in bound.nodes} == {"in": 2 / 4, "y": 2 / 4}
    assert [n.node for n in path_metric(first, two_layers(2, 2), per_node=True).nodes] == ["in"]
    assert path_metric(first, first, per_node=True).nodes == ()
    assert path_metric(first, second).nodes == ()


def test_the_upper_bound_is_above_the_exact_difference(start: Start) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        weights = [rng.random((9, 9)) for _ in range(3)]
        b, x = start(1, 9)
        for i, w in enumerate(weights):
            x = b.op("Gemm", x, b.param(w, f"w{i}"))
        first = b.finish(x)
        pruned = [w * rng.random((9, 9)) for w in weights]
        second = with_parameters(first, {f"w{i}": w for i, w in enumerate(pruned)})
        exact = _exact(weights) - _exact(pruned)
        bound = path_metric(first, second)
        assert Fraction(bound.l1.upper) >= exact
        assert bound.l1.upper <= float(exact) * (1 + 1e-12)
        outputs = sum(Fraction(10.0**log) for log in next(iter(bound.outputs.values())).flatten().tolist())
        assert outputs >= exact
        assert outputs <= exact * Fraction(1 + 1e-12)


def _exact(weights: list[np.ndarray[Any, Any]]) -> Fraction:
    row = [Fraction(1)] * 9
    for w in weights:
        row = [sum((row[i] * Fraction(float(w[i, j])) for i in range(9)), Fraction(0)) for j in range(9)]
    return sum(row, Fraction(0))


def test_small_differences_do_not_drown(two_layers: Chain) -> None:
    first, second = (two_layers(1, v) for v in (1, 1 + 2.0**-23))
    assert l1(first, second) == 2.0**-23


def test_what_a_result_says(start: Start) -> None:
    b, x = start(2, 1)
    first = b.finish(b.op("Gemm", x, b.param([[0.0, 4.0]], "w"), name="y"))
    bound = path_metric(first, with_parameters(first, {"w": [0.0, 2.0]}), per_node=True)
    said = json.loads(json.dumps(bound.to_json()))
    assert said["case"] == "pruning"
    assert said["l1"]["value"] == 4
    assert said["l1"]["upper"] >= 4
    assert said["second"] == {"log10": None, "value": 0.0, "upper_log10": None, "upper": 0.0}
    assert said["outputs"]["y"]["upper_log10"][::2] == [None, None]
    assert said["nodes"] == [{"node": "y", "op": "Gemm", "share": 1.0}]
    assert "axis 0 of 'x' (2) is no batch here" in bound.assumptions[0]
