"""The heaviest path of networks where it is known by hand: what it passes, by name, and how it is told from others."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.text import parse_graph
from pathlift.passes.heaviest_path.heaviest_path import HeaviestPath, HeaviestPathResult, PathStart, PathStep
from pathlift.testing import samples

Start = Callable[..., tuple[Builder, Value]]


def heaviest(graph: Graph, **options: Any) -> HeaviestPathResult:
    return HeaviestPath(**options).run(graph)


# ---- known by hand


MLP = """
    %x = Input : f32[N, 2]
    %w = Param {value=[[1.0, -3.0], [2.0, 0.5]]} : f32[2, 2]
    %b = Param {value=[0.0, BIAS]} : f32[2]
    %h = Gemm(%x, %w, %b)
    %r = Relu(%h)
    %v = Param {value=[[5.0, 1.0], [-4.0, 2.0]]} : f32[2, 2]
    %y = Gemm(%r, %v)
    return %y
    """


def test_a_path_is_named_from_its_input_to_its_output() -> None:
    result = heaviest(parse_graph(MLP.replace("BIAS", "-2.5")))
    assert result.log10 == pytest.approx(math.log10(12), abs=1e-12)
    assert result.start == PathStart("x", "Input", None, (0, 0), 1.0)
    assert result.steps == (
        PathStep("h", "Gemm", "w", (0, 1), -3.0, (0, 1)),
        PathStep("y", "Gemm", "v", (1, 0), -4.0, (0, 0)),
    )
    assert (result.output, result.position, result.assumptions) == ("y", (0, 0), ())


def test_a_path_may_start_at_a_bias() -> None:
    graph = parse_graph(MLP.replace("BIAS", "-3.5"))
    result = heaviest(graph)
    assert result.start == PathStart("h", "Gemm", "b", (1,), -3.5)
    assert result.steps == (PathStep("y", "Gemm", "v", (1, 0), -4.0, (0, 0)),)
    assert result.log10 == pytest.approx(math.log10(14), abs=1e-12)
    from_inputs = heaviest(graph, inputs_only=True)
    assert from_inputs.start == PathStart("x", "Input", None, (0, 0), 1.0)
    assert from_inputs.log10 == pytest.approx(math.log10(12), abs=1e-12)


def test_of_equal_paths_the_first_by_index(start: Start) -> None:
    b, x = start("N", 2)
    w = b.param([[1.0, -1.0], [1.0, 1.0]], "w")
    result = heaviest(b.finish(b.op("Add", b.op("Gemm", x, w, name="a"), b.op("Gemm", x, w, name="b"), name="y")))
    assert result.start == PathStart("x", "Input", None, (0, 0), 1.0)
    assert result.steps == (PathStep("a", "Gemm", "w", (0, 0), 1.0, (0, 0)),)


def test_windows_say_where_a_path_passes(start: Start) -> None:
    b, x = start(1, 1, 5, 5)
    kernel = np.ones((1, 1, 3, 3), np.float32)
    kernel[0, 0, 0, 2] = 2.0  # above and to the right: out of the image in the first row and the last column
    h = b.op("Conv", x, b.param(kernel, "w"), strides=(2, 2), pads=(1,) * 4, dilations=(1, 1), name="h")
    h = b.op("Mul", h, b.param([[[[1.0], [1.0], [3.0]]]], "rows"), name="m")
    window: dict[str, Any] = {"kernel": (2, 2), "strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1)}
    h = b.op("MaxPool", h, name="p", **window)
    result = heaviest(b.finish(b.op("AveragePool", h, name="y", **window)))
    assert result.start == PathStart("x", "Input", None, (0, 0, 3, 1), 1.0)
    assert result.steps == (
        PathStep("h", "Conv", "w", (0, 0, 0, 2), 2.0, (0, 0, 2, 0)),
        PathStep("m", "Mul", "rows", (0, 0, 2, 0), 3.0, (0, 0, 2, 0)),
        PathStep("p", "MaxPool", None, (), 1.0, (0, 0, 1, 0)),
        PathStep("y", "AveragePool", None, (), 0.25, (0, 0, 0, 0)),
    )


@pytest.mark.parametrize(("values", "kernel"), [([1.0, 8.0], [8.0, 1.0, 1.0]), ([8.0, 1.0], [1.0, 1.0, 8.0])])
def test_nothing_is_read_in_the_padding(start: Start, values: list[float], kernel: list[float]) -> None:
    """Both windows reach out of the image, by the heaviest weight, where the heaviest value would be read."""
    b, x = start("N", 1, 2)
    h = b.op("Mul", x, b.param(values))
    result = heaviest(b.finish(b.op("Conv", h, b.param([[kernel]]), strides=(1,), pads=(1, 1), dilations=(1,))))
    assert result.log10 == pytest.approx(math.log10(8), abs=1e-12)


def test_a_batch_norm_is_a_scale_and_a_bias(start: Start) -> None:
    b, x = start("N", 2)
    gamma, beta, mean, var = (b.param(v, n) for n, v in BATCH_NORM.items())
    graph = b.finish(b.op("BatchNormalization", x, gamma, beta, mean, var, epsilon=0.0, name="y"))
    result = heaviest(graph)
    assert result.start == PathStart("y", "BatchNormalization", "beta", (1,), 3.0)
    assert result.steps == ()
    assert (result.output, result.position) == ("y", (0, 1))
    (step,) = heaviest(graph, inputs_only=True).steps
    assert step == PathStep("y", "BatchNormalization", "gamma", (0,), -1.5, (0, 0))


BATCH_NORM = {"gamma": [-3.0, 1.0], "beta": [0.0, 1.0], "mean": [0.0, -2.0], "var": [4.0, 1.0]}


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_parameters_keep_their_names_through_views(start: Start, row: int, column: int) -> None:
    b, x = start("N", 2)
    values = [[1.0, 2.0], [3.0, 2.5]]
    values[row][column] = -4.0
    w = b.op("Concat", b.param(values[:1], "first"), b.param(values[1:], "second"), axis=0)
    result = heaviest(b.finish(b.op("Gemm", x, b.op("Transpose", w, perm=(1, 0)), name="y")))
    assert result.steps == (PathStep("y", "Gemm", ("first", "second")[row], (0, column), -4.0, (0, row)),)


def test_letters_of_the_weights_alone_are_summed_over_too(start: Start) -> None:
    b, x = start("N", 2, 3)
    graph = b.finish(
        b.op("Einsum", x, b.param([[1.0, 2.0, -9.0], [3.0, 4.0, 5.0]], "w"), equation="bij,ok->bo", name="y")
    )
    assert heaviest(graph).steps == (PathStep("y", "Einsum", "w", (0, 2), -9.0, (0, 0)),)


def test_computed_parameters_go_by_the_name_of_the_first(start: Start) -> None:
    b, x = start("N", 2)
    w = b.op("Mul", b.param([[1.0, 2.0]], "row"), b.param([[1.0, 1.0], [3.0, -5.0]], "matrix"))
    result = heaviest(b.finish(b.op("Gemm", x, w, name="y")))
    assert result.steps == (PathStep("y", "Gemm", "row", (0, 1), -10.0, (0, 1)),)


@pytest.mark.parametrize(
    ("op", "attrs", "value", "expected"),
    [
        ("Pad", {"pads": (0, 1, 0, 0), "value": 2.0}, 2.0, (0, 0)),
        ("Clip", {"low": 3.0, "high": 6.0}, 3.0, (0, 0)),
        ("Clip", {"high": -3.0}, -3.0, (0, 0)),
    ],
)
def test_constants_of_an_op_are_biases_without_a_tensor(
    start: Start, op: str, attrs: dict[str, Any], value: float, expected: tuple[int, ...]
) -> None:
    b, x = start("N", 2)
    graph = b.finish(b.op(op, x, name="y", **attrs))
    result = heaviest(graph)
    assert result.start == PathStart("y", op, None, (), value)
    assert (result.steps, result.position) == ((), expected)
    assert heaviest(graph, inputs_only=True).log10 == 0.0


@pytest.mark.parametrize(
    ("op", "params", "attrs", "step"),
    [
        ("PRelu", [[0.5, -7.0]], {}, PathStep("y", "PRelu", "w", (1,), 7.0, (0, 1))),
        ("LeakyRelu", [], {"alpha": -1.5}, PathStep("y", "LeakyRelu", None, (), 1.5, (0, 0))),
        ("Div", [[2.0, -0.25]], {}, PathStep("y", "Div", "w", (1,), -4.0, (0, 1))),
        ("ReduceMean", [], {"axes": (1,)}, PathStep("y", "ReduceMean", None, (), 0.5, (0, 0))),
    ],
)
def test_slopes_quotients_and_means_are_edges(
    start: Start, op: str, params: list[list[float]], attrs: dict[str, Any], step: PathStep
) -> None:
    b, x = start("N", 2)
    result = heaviest(b.finish(b.op(op, x, *(b.param(p, "w") for p in params), name="y", **attrs)))
    assert result.steps == (step,)


def test_an_output_may_be_a_parameter(start: Start) -> None:
    b, x = start("N", 2)
    result = heaviest(b.finish(b.op("Relu", x, name="y"), b.param([1.0, -5.0], "c")))
    assert result.start == PathStart("c", "Param", "c", (1,), -5.0)
    assert (result.output, result.position, result.steps) == ("c", (1,), ())


def test_the_heaviest_of_several_outputs(start: Start) -> None:
    b, x = start("N", 2)
    ends = [b.op("Gemm", x, b.param(w), name=n) for n, w in OUTPUTS.items()]
    result = heaviest(b.finish(*ends))
    assert (result.output, result.position) == ("large", (0, 1))


OUTPUTS = {"small": [[1.0], [2.0]], "large": [[1.0, 3.0], [2.0, 0.0]], "as_large": [[3.0], [1.0]]}


def test_no_path_has_a_weight(start: Start) -> None:
    b, x = start("N", 2)
    result = heaviest(b.finish(b.op("Gemm", x, b.param([[0.0], [0.0]]))))
    assert result == HeaviestPathResult(None, None, (), "", ())


def test_clip_is_said_to_be_read_as_a_bound_and_a_head_to_be_left_out(start: Start) -> None:
    b, x = start("N", 2)
    clipped, head = heaviest(b.finish(b.op("Softmax", b.op("Clip", x, low=0.0, high=6.0)))).assumptions[::-1]
    assert "Clip" in clipped
    assert "Softmax" in head


def test_what_has_no_rule_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="PL0304 node 'y' \\(Product\\)"):
        heaviest(samples()["Product"])


def test_a_bias_that_cancellation_leaves_uncertain_is_refused_where_it_may_be_the_heaviest(start: Start) -> None:
    """β − s·mean is 2⁻⁵² or so, of which float64 knows nothing; beside a path of 1 it does not matter."""
    for factor, refused in ((2.0**-70, True), (1.0, False)):
        b, x = start("N", 1)
        one, mean, var = (b.param([v]) for v in (1.0, 3.0 + 2.0**-51, 9.0))
        x = b.op("Mul", x, b.param([factor]))
        graph = b.finish(b.op("BatchNormalization", x, one, one, mean, var, epsilon=0.0, name="y"))
        if refused:
            with pytest.raises(UnsupportedError, match="PL0320"):
                heaviest(graph)
        else:
            assert heaviest(graph).log10 == pytest.approx(-math.log10(3), abs=1e-9)
        assert heaviest(graph, inputs_only=True).start == PathStart("x", "Input", None, (0, 0), 1.0)


def test_extents_come_from_the_option(start: Start) -> None:
    b, x = start("N", "L")
    graph = b.finish(b.op("ReduceMean", x, axes=(1,), name="y"))
    assert heaviest(graph, shape=(("L", 4),)).log10 == pytest.approx(math.log10(0.25))
    with pytest.raises(UsageError, match="PL0412"):
        heaviest(graph)


# ---- magnitudes


def diagonal_chain(start: Start, *diagonals: tuple[float, float]) -> Graph:
    b, x = start("N", 2)
    for i, d in enumerate(diagonals):
        x = b.op("Gemm", x, b.param(np.diag(d), f"w{i}"), name=f"h{i}")
    return b.finish(x)


@pytest.mark.parametrize("scale", [2.0**300, 2.0**-300])
def test_products_beyond_any_float(start: Start, scale: float) -> None:
    result = heaviest(diagonal_chain(start, *[(scale, scale * 1.5)] * 9))
    assert result.log10 == pytest.approx(9 * math.log10(scale * 1.5), rel=1e-12)
    assert [step.index for step in result.steps] == [(1, 1)] * 9


def test_a_path_may_pass_far_below_the_others(start: Start) -> None:
    result = heaviest(diagonal_chain(start, *[(1.0, 2.0**-120)] * 9, *[(1.0, 1.125 * 2.0**120)] * 9))
    assert result.log10 == pytest.approx(9 * math.log10(1.125), abs=1e-9)
    assert {step.index for step in result.steps} == {(1, 1)}


def test_positions_of_one_channel_may_lie_far_apart(start: Start) -> None:
    def graph(last: float) -> Graph:
        b, x = start("N", 1, 2)
        for factor in (2.0**-600, 2.0**-600):
            x = b.op("Mul", x, b.param([1.0, factor]))
            x = b.op("Conv", x, b.param([[[1.0]]]), strides=(1,), pads=(0, 0), dilations=(1,))
        for factor in (2.0**600, last):
            x = b.op("Mul", x, b.param([1.0, factor]))
        return b.finish(x)

    assert heaviest(graph(2.0**610)).log10 == pytest.approx(10 * math.log10(2), rel=1e-12)
    assert heaviest(graph(2.0**-600)).log10 == 0.0


def test_a_very_deep_network(start: Start) -> None:
    b, x = start("N", 1)
    w = b.param([[2.0]], "w")
    for _ in range(3000):
        x = b.op("Add", b.op("Relu", x), b.op("Gemm", x, w))
    result = heaviest(b.finish(x))
    assert len(result.steps) == 3000
    assert result.log10 == pytest.approx(3000 * math.log10(2.0), rel=1e-12)
