"""The other members of the family, on networks whose figures are known by hand: ‖Φ‖_0, ‖Φ‖_∞ and mixed norms."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.text import parse_graph
from pathlift.passes.path_norm.path_norm import Norm, PathNorm

Start = Callable[..., tuple[Builder, Value]]

DIAMOND = parse_graph(
    """
    %x = Input : f32[N, 2]
    %w = Param {value=[[1.0, -2.0], [0.0, 3.0]]} : f32[2, 2]
    %b = Param {value=[4.0, 0.0]} : f32[2]
    %h = Gemm(%x, %w, %b)
    %y = Add(%h, %h)
    return %y
    """
)
"""Path weights, each twice: 1 and (bias) 4 to the first output, −2 and 3 to the second."""


def norm(graph: Graph, q: float, **options: Any) -> Norm:
    (result,) = PathNorm(q=(q,), **options).run(graph).norms
    return result


def value(graph: Graph, q: float, **options: Any) -> float:
    result = norm(graph, q, **options)
    assert result.value is not None
    assert result.zero or result.log10 == pytest.approx(math.log10(result.value), abs=1e-12)
    return result.value


# ---- q = 0


def test_zero_weights_and_zero_biases_are_no_paths() -> None:
    assert value(DIAMOND, 0.0) == 8.0
    assert value(DIAMOND, 0.0, inputs_only=True) == 6.0
    assert np.allclose(10 ** norm(DIAMOND, 0.0).outputs["y"].numpy(), [[4.0, 4.0]])


def test_a_network_without_paths_counts_none(start: Start) -> None:
    b, x = start("N", 2)
    none = norm(b.finish(b.op("Gemm", x, b.param([[0.0], [-0.0]]))), 0.0)
    assert none.zero
    assert none.value == 0.0
    assert none.upper_log10 is None


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_magnitudes_have_no_say_in_a_count(start: Start, dtype: str) -> None:
    b, x = start("N", 2)
    for scale in (1e-300, 1e300, 1e-300, 5e-324, 1e308):
        x = b.op("Gemm", x, b.param([[scale, 0.0], [-scale, scale]]))
    graph = b.finish(x)
    # Lower triangles: entry (1, 0) of the fifth power of [[1, 0], [1, 1]] is 5.
    assert value(graph, 0.0, dtype=dtype) == 1.0 + 1.0 + 5.0


def test_counts_beyond_any_float(start: Start) -> None:
    b, x = start("N", 10)
    w = b.param(np.full((10, 10), -0.5))
    for _ in range(400):
        x = b.op("Relu", b.op("Gemm", x, w))
    count = norm(b.finish(x), 0.0)
    assert count.value is None
    assert count.log10 == pytest.approx(401, abs=1e-9)
    assert count.upper_log10 is not None
    assert 401 <= count.upper_log10 < 401 + 1e-9


def test_fixed_coefficients_are_edges_where_they_are_not_zero(start: Start) -> None:
    pool = {"kernel": (3,), "strides": (1,), "pads": (1, 1), "dilations": (1,)}
    for op in ("AveragePool", "MaxPool"):
        b, x = start("N", 1, 4)
        assert value(b.finish(b.op(op, x, **pool)), 0.0) == 2 + 3 + 3 + 2
    b, x = start("N", 1, 3)
    # Positions 0, 1/2, 1, 3/2, 2: whole ones read one value, halves two.
    resized = b.op("Resize", x, axes=(2,), sizes=(5,), mode="linear", coordinates="align_corners")
    assert value(b.finish(resized), 0.0) == 1 + 2 + 1 + 2 + 1


def test_a_resize_that_hits_whole_positions_only_by_exact_arithmetic(start: Start) -> None:
    """7 to 3 values: (2i + 1)·7/6 − 1/2 is 3 for i = 1, and 2/3 and 16/3 beside it."""
    b, x = start("N", 1, 7)
    assert value(b.finish(b.op("Resize", x, axes=(2,), sizes=(3,), mode="linear")), 0.0) == 2 + 1 + 2


def test_flat_gates_and_factors(start: Start) -> None:
    b, x = start("N", 2)
    gated = b.op("PRelu", b.op("LeakyRelu", x, alpha=0.0), b.param([0.0, -3.0]))
    assert value(b.finish(gated), 0.0) == 2.0  # open gates
    b, x = start("N", 2)
    assert value(b.finish(b.op("Mul", x, b.param([0.0, -3.0]))), 0.0) == 1.0


def test_tied_weights_count_per_use(start: Start) -> None:
    b, x = start("N", 1)
    w = b.param([[3.0, 0.0, 3.0]])
    assert value(b.finish(b.op("Add", b.op("Gemm", x, w), b.op("Gemm", x, w))), 0.0) == 4.0


def test_a_batch_norm_whose_shift_is_zero_starts_no_path(start: Start) -> None:
    for beta, paths in ((6.0, 1.0), (6.5, 2.0)):
        b, x = start("N", 1)
        constants = (b.param([v]) for v in (4.0, beta, 3.0, 3.75))
        assert value(b.finish(b.op("BatchNormalization", x, *constants, epsilon=0.25)), 0.0) == paths


def test_pools_as_maxima_count_one_antecedent(start: Start) -> None:
    b, x = start("N", 3)
    h = b.op("Gemm", x, b.param([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]]))
    graph = b.finish(b.op("ReduceMax", h, axes=(1,)))
    assert value(graph, 0.0) == 4.0
    assert value(graph, 0.0, pooling="max") == 3.0
    assert value(graph, math.inf, pooling="max") == value(graph, math.inf) == 1.0


# ---- q = ∞


def test_the_largest_path() -> None:
    assert value(DIAMOND, math.inf) == 4.0
    assert value(DIAMOND, math.inf, inputs_only=True) == 3.0
    assert np.allclose(10 ** norm(DIAMOND, math.inf).outputs["y"].numpy(), [[4.0, 3.0]])
    largest = norm(DIAMOND, math.inf)
    assert largest.upper_log10 is not None
    assert math.log10(4) <= largest.upper_log10 < math.log10(4) + 1e-12


def test_the_largest_path_is_not_the_greedy_one(start: Start) -> None:
    b, x = start("N", 1)
    h = b.op("Gemm", x, b.param([[10.0, 2.0]]))
    assert value(b.finish(b.op("Gemm", h, b.param([[1.0], [7.0]]))), math.inf) == 14.0


def test_an_average_divides_the_largest_path(start: Start) -> None:
    b, x = start("N", 1, 4)
    h = b.op("Mul", x, b.param([1.0, 8.0, -16.0, 2.0]))
    pooled = b.op("AveragePool", h, kernel=(2,), strides=(2,), pads=(1, 1), dilations=(1,))
    assert value(b.finish(pooled), math.inf) == 8.0  # windows of 1, 2 and 1 values: 1, 16/2, 2


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_largest_path_beyond_any_float(start: Start, dtype: str) -> None:
    b, x = start("N", 2)
    for _ in range(10):
        x = b.op("Gemm", x, b.param([[1e300, 0.0], [1.0, 1e-300]]))
    largest = norm(b.finish(x), math.inf, dtype=dtype)
    assert largest.value is None
    assert largest.log10 == pytest.approx(3000, abs=1e-9 if dtype == "float64" else 1e-4)


# ---- mixed norms


@pytest.mark.parametrize("q", [0.5, 1.0, 2.0])
def test_a_mixed_norm_is_the_outer_norm_of_the_outputs_norms(q: float) -> None:
    first, second = 2 ** (1 / q) * (1 + 4**q) ** (1 / q), 2 ** (1 / q) * (2**q + 3**q) ** (1 / q)
    assert value(DIAMOND, q, mixed=1.0) == pytest.approx(first + second, rel=1e-12)
    assert value(DIAMOND, q, mixed=2.0) == pytest.approx(math.hypot(first, second), rel=1e-12)
    assert value(DIAMOND, q, mixed=math.inf) == pytest.approx(max(first, second), rel=1e-12)
    assert value(DIAMOND, q, mixed=q) == pytest.approx(value(DIAMOND, q), rel=1e-12)
    assert norm(DIAMOND, q, mixed=2.0).mixed == 2.0
    assert norm(DIAMOND, q).mixed is None


def test_mixed_norms_of_counts_and_of_largest_paths() -> None:
    graph = parse_graph(str(DIAMOND).replace("4.0", "0.0"))  # two paths to the first output, four to the second
    assert value(graph, 0.0, mixed=1.0) == value(graph, 0.0) == 6.0
    assert value(graph, 0.0, mixed=2.0) == pytest.approx(math.hypot(2, 4), rel=1e-12)
    assert value(graph, 0.0, mixed=math.inf) == pytest.approx(4.0, rel=1e-12)
    assert value(graph, math.inf, mixed=1.0) == pytest.approx(1.0 + 3.0, rel=1e-12)


def test_mixed_norms_range_over_all_outputs(start: Start) -> None:
    b, x = start("N", 1)
    y, z = (b.op("Gemm", x, b.param([[w, w]])) for w in (3.0, -4.0))
    graph = b.finish(y, b.op("Add", z, z))
    assert value(graph, 1.0, mixed=2.0) == pytest.approx(math.sqrt(2 * 9 + 2 * 64), rel=1e-12)
    assert value(graph, 1.0, mixed=math.inf) == pytest.approx(8.0, rel=1e-12)


@pytest.mark.parametrize("mixed", [0.5, 1.0, 3.0, math.inf])
def test_the_upper_bound_of_a_mixed_norm(start: Start, mixed: float) -> None:
    b, x = start("N", 3)
    w = np.array([[1.0, 3.0, 7.0], [1 / 3, 0.1, 1e-9], [1e9, 0.7, 0.3]])
    mixture = norm(b.finish(b.op("Gemm", x, b.param(w))), 1.0, mixed=mixed)
    rows = np.abs(w).sum(0)
    exact = math.log10(rows.max() if mixed == math.inf else (rows**mixed).sum() ** (1 / mixed))
    assert mixture.upper_log10 is not None
    assert exact - 1e-15 <= mixture.upper_log10 < exact + 1e-12


# ---- options


@pytest.mark.parametrize("q", [-1.0, 1e-7, 1e7, math.nan, -math.inf])
def test_exponents_that_are_refused(q: float) -> None:
    with pytest.raises(UsageError, match="PL0420"):
        PathNorm(q=(1.0, q)).run(DIAMOND)


@pytest.mark.parametrize("octaves", [600, -600])
def test_a_mixed_norm_beyond_any_float(start: Start, octaves: int) -> None:
    b, x = start("N", 2)
    for _ in range(2):
        x = b.op("Mul", x, b.param(2.0**octaves))
    figure = norm(b.finish(x), 1.0, mixed=2.0)
    assert figure.value is None
    assert figure.log10 == pytest.approx((2 * octaves + 0.5) * math.log10(2), rel=1e-12)


@pytest.mark.parametrize("q", [1e-6, 1e6])
def test_exponents_at_the_edge_are_computed(q: float) -> None:
    """Of the eight paths the heaviest weigh 4, twice; for small q their number is what counts."""
    figure = norm(DIAMOND, q)
    exact = math.log10(2) / q + math.log10(4) if q > 1 else math.log10(2 * sum(w**q for w in (1, 2, 3, 4))) / q
    assert figure.log10 == pytest.approx(exact, rel=1e-9)
    assert figure.upper_log10 is not None
    assert exact - 1e-9 <= figure.upper_log10 <= exact * (1 + 1e-9)
    assert norm(DIAMOND, 1.0, mixed=q).log10 is not None


@pytest.mark.parametrize("q", [(0.0,), (0.0, 1.0)])
def test_a_count_has_no_derivative(q: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="PL0426"):
        PathNorm(q=q, per_weight=True).run(DIAMOND)
    PathNorm(q=q[::-1] if len(q) > 1 else (1.0,), per_weight=True).run(DIAMOND)


@pytest.mark.parametrize("mixed", [0.0, -1.0, math.nan])
def test_outer_exponents_that_are_refused(mixed: float) -> None:
    with pytest.raises(UsageError, match="PL0425 "):
        PathNorm(mixed=mixed).run(DIAMOND)


def test_norms_come_in_the_order_asked_for() -> None:
    norms = PathNorm(q=(2.0, 0.0, math.inf, 1.0)).run(DIAMOND).norms
    assert [n.q for n in norms] == [2.0, 0.0, math.inf, 1.0]
    assert [n.value for n in norms] == pytest.approx([math.sqrt(60), 8.0, 4.0, 20.0])
