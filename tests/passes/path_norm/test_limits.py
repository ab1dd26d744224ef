"""Norms at the limits of floats: values, bounds and shares whose exact figures follow from powers of two."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import pytest
import torch
from mpmath import mp, mpf, workprec

from pathlift.ir.builder import Builder
from pathlift.ir.errors import InvalidModelError, UnsupportedError
from pathlift.ir.graph import Value
from pathlift.passes.layers.comparison_form import comparison_form
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.path_norm.result import Norm

Start = Callable[..., tuple[Builder, Value]]

LOG10_2 = math.log10(2)
POINTWISE: dict[str, Any] = {"strides": (1,), "pads": (0, 0), "dilations": (1,)}

Dtype = Literal["float64", "float32"]
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])


def scaled(b: Builder, x: Value, factors: Sequence[object]) -> Value:
    for factor in factors:
        x = b.op("Mul", x, b.param(factor))
    return x


def cut(b: Builder, x: Value, *at: int) -> Value:
    """One element along each of the last axes."""
    axes = tuple(range(-len(at), 0))
    return b.op("Slice", x, axes=axes, starts=at, ends=tuple(i + 1 for i in at), steps=(1,) * len(at))


def cancelled(b: Builder, base: float, left: float) -> Value:
    """The parameter ``base + left − base``, of which float64 leaves nothing."""
    return b.op("Sub", b.op("Add", b.param([base]), b.param([left])), b.param([base]))


def check(norm: Norm, log10: float, dtype: Dtype = "float64") -> None:
    """The norm is that of the paths, and its upper bound is one, and tight."""
    tolerance = (1e-13 if dtype == "float64" else 1e-6) * (1 + abs(log10))
    assert norm.log10 == pytest.approx(log10, abs=tolerance)
    assert norm.upper_log10 is not None
    assert log10 * (1 - math.copysign(1e-15, log10)) <= norm.upper_log10 <= log10 + tolerance


@pytest.mark.parametrize(
    ("q", "octaves"),
    [
        (0.5, [-199] * 5 + [-20] + [199] * 6),
        (0.5, [199] * 5 + [20] + [-199] * 6),
        (0.9, [198] * 5 + [20] + [-198] * 5),
    ],
)
def test_a_norm_a_float64_holds_has_a_value_whatever_the_products_before_it(
    start: Start, q: float, octaves: list[int]
) -> None:
    b, x = start(1, 1)
    norm = PathNorm((q,)).run(b.finish(scaled(b, x, [[2.0 ** (k / q)] for k in octaves]))).norms[0]
    check(norm, sum(octaves) / q * LOG10_2)
    assert norm.value == pytest.approx(2.0 ** (sum(octaves) / q), rel=1e-11, abs=0)


def test_the_sum_over_many_outputs_may_exceed_what_each_is_close_to(start: Start) -> None:
    b, x = start(1, 1, 4096, 8192)
    norm = PathNorm().run(b.finish(scaled(b, x, [2.0**199.984375] * 5))).norms[0]
    check(norm, (25 + 5 * 199.984375) * LOG10_2)


@both_dtypes
def test_coefficients_too_small_for_float32_are_edges(start: Start, dtype: Dtype) -> None:
    """Resizing 2 values to 1024 gives the second a weight of 1/1023: to the power 20, 2⁻²⁰⁰."""
    b, x = start(1, 1, 2)
    x = scaled(b, x, [[[[0, 2.0**1.9]]]] * 3)
    y = b.op("Resize", x, axes=(2,), sizes=(1024,), mode="linear", coordinates="align_corners")
    norm = PathNorm((20.0,), dtype=dtype).run(b.finish(cut(b, y, 1))).norms[0]
    check(norm, 3 * math.log10(2.0**1.9) - math.log10(1023), dtype)


@both_dtypes
def test_a_tiny_value_beside_a_large_one_outlives_their_sum(start: Start, dtype: Dtype) -> None:
    b, x = start(1, 2, 2)
    x = scaled(b, x, [[[[1, 0], [2.0**-199, 2.0**-547]]], [[[1, 0], [1, 2.0**-547]]]])
    y = b.op("Conv", x, b.param(np.ones((1, 2, 1))), **POINTWISE)
    norm = PathNorm(dtype=dtype).run(b.finish(cut(b, y, 1))).norms[0]
    check(norm, -1094 * LOG10_2, dtype)


@both_dtypes
def test_a_channel_far_below_another_is_not_lost_where_that_one_is_zero(start: Start, dtype: Dtype) -> None:
    b, x = start(1, 2, 2)
    x = scaled(b, x, [[[[1, 0], [2.0**-400, 2.0**-400]]]] * 3)
    y = b.op("Conv", x, b.param(np.ones((1, 2, 1))), **POINTWISE)
    check(PathNorm(dtype=dtype).run(b.finish(cut(b, y, 1))).norms[0], -1200 * LOG10_2, dtype)


@both_dtypes
@pytest.mark.parametrize("octaves", [300, 1000])
@pytest.mark.parametrize("join", ["Concat", "Max", "Add"])
def test_what_is_joined_keeps_its_magnitude(start: Start, join: str, octaves: int, dtype: Dtype) -> None:
    """Of two maps, 2^(6·octaves) apart, each position that is read alone has the norm it had."""
    b, x = start(1, 1, 2)
    small, large = (scaled(b, x, [[[1.0, 2.0 ** (sign * octaves)]]] * 3) for sign in (-1, 1))
    attrs = {"axis": 1} if join == "Concat" else {}
    only_small, only_large = ([[1.0, 0.0]], [[0.0, 1.0]]) if join != "Concat" else ([[1.0, 1.0]], [[1.0, 1.0]])
    y = b.op(join, scaled(b, small, [[only_large]]), scaled(b, large, [[only_small]]), **attrs)
    for channel, log2 in ((0, -3 * octaves), (1, 3 * octaves)) if join == "Concat" else ((0, -3 * octaves),):
        g = b.finish(cut(b, y, channel, 1))
        check(PathNorm(dtype=dtype).run(g).norms[0], log2 * LOG10_2, dtype)


@pytest.mark.parametrize("octaves", [150, -150])
@pytest.mark.parametrize("first", [0, 1])
def test_what_is_joined_is_as_large_as_its_largest_part_and_as_small_as_its_smallest(
    start: Start, octaves: int, first: int
) -> None:
    """Then 2^(7·octaves) is beyond the normal numbers, and the other part is not."""
    b, x = start(1, 1, 1)
    parts = [x, scaled(b, x, [[[[1.25 * 2.0**octaves]]]])]
    y = b.op("Concat", parts[first], parts[1 - first], axis=1)
    g = b.finish(cut(b, scaled(b, y, [[[[1.1 * 2.0**octaves]]]] * 6), 1 - first, 0))
    check(PathNorm().run(g).norms[0], math.log10(1.25 * 1.1**6) + 7 * octaves * LOG10_2)


@pytest.mark.parametrize(
    ("dtype", "first", "then", "channel"),
    [("float64", 880, 880, 1000), ("float32", 55, 55, 126), ("float32", 58, 58, 126)],
)
def test_a_tiny_row_of_a_tiny_sample_is_not_lost(
    start: Start, dtype: Dtype, first: int, then: int, channel: int
) -> None:
    b, x = start(2, 1, 2)
    x = scaled(b, x, [[[[1, 0]], [[2.0**-first] * 2]], [[[1, 1]], [[1, 2.0**-then]]]])
    y = b.op("Conv", x, b.param([[[1.0]], [[2.0**-channel]]]), **POINTWISE)
    norm = PathNorm(dtype=dtype).run(b.finish(cut(b, y, 1, 0, 1))).norms[0]
    check(norm, -(first + then) * LOG10_2, dtype)


@pytest.mark.parametrize("mixed", [1.0, math.inf])
def test_the_bound_of_a_mixed_norm_covers_logarithms_that_cancel(start: Start, mixed: float) -> None:
    """The product is near 1 after 2^1140: a logarithm of mantissa and exponent apart is off by more than its size."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        factors = [float(rng.uniform(1, 2)) * 2.0 ** (190 if i < 6 else -191) for i in range(12)]
        b, x = start(1, 1)
        upper = PathNorm(mixed=mixed).run(b.finish(scaled(b, x, [[[f]] for f in factors]))).norms[0].upper_log10
        exact = math.prod(map(Fraction, factors))
        with workprec(300):
            log10 = mp.log10(mpf(exact.numerator) / mpf(exact.denominator))
            assert upper is not None
            assert log10 <= upper <= log10 + 1e-13


@both_dtypes
def test_axes_without_elements_have_no_paths_but_those_of_biases(start: Start, dtype: Dtype) -> None:
    cases: list[tuple[tuple[int, ...], str, list[tuple[int, ...]], dict[str, Any], float]] = [
        ((1, 0), "Gemm", [(0, 3), (3,)], {}, 3.0),
        ((0, 3), "Gemm", [(3, 3)], {}, 0.0),
        ((1, 0, 4), "Conv", [(2, 0, 1)], POINTWISE, 0.0),
        ((0, 3, 4), "Conv", [(3, 3, 1)], POINTWISE, 0.0),
        ((1, 3, 0), "ConvTranspose", [(3, 3, 3), (3,)], {**POINTWISE, "output_padding": (0,)}, 6.0),
    ]
    for shape, op, weights, options, expected in cases:
        b, x = start(*shape)
        graph = b.finish(b.op(op, x, *(b.param(np.ones(w)) for w in weights), **options))
        assert PathNorm(dtype=dtype).run(graph).norms[0].value == pytest.approx(expected), (shape, op)


# ---- parameters that rounding has moved


def test_a_batch_norm_whose_factor_is_a_sum_is_refused(start: Start) -> None:
    b, x = start(1, 1, 2)
    gamma, zero, one = cancelled(b, 1.0, 2.0**-60), b.param([0.0]), b.param([1.0])
    with pytest.raises(UnsupportedError, match=r"PL0318 .*sum of parameters"):
        PathNorm().run(b.finish(b.op("BatchNormalization", x, gamma, zero, zero, one, epsilon=0.0)))


def test_a_batch_norm_whose_factor_underflows_is_refused(start: Start) -> None:
    for gamma, var in ((1e-200, 1e300), (1e-300, 1e36)):
        b, x = start(1, 1, 2)
        zero = b.param([0.0])
        y = b.op("BatchNormalization", x, b.param([gamma]), zero, zero, b.param([var]), epsilon=0.0)
        with pytest.raises(UnsupportedError, match="PL0312"):
            PathNorm().run(b.finish(y))


def test_a_batch_norm_of_a_negative_variance_is_refused(start: Start) -> None:
    b, x = start(1, 1, 2)
    zero, one, var = b.param([0.0]), b.param([1.0]), b.param([-2.0])
    graph = b.finish(b.op("BatchNormalization", x, one, zero, zero, var))
    for analysis in (PathNorm().run, lambda g: comparison_form(g, ())):
        with pytest.raises(InvalidModelError, match=r"PL0183 .* variance plus epsilon"):
            analysis(graph)


def test_a_slope_left_by_cancellation_is_bracketed(start: Start) -> None:
    b, x = start(1, 2)  # two paths, through a slope of 5
    norm = PathNorm().run(b.finish(b.op("PRelu", x, cancelled(b, 2.0**60, 5.0)))).norms[0]
    assert norm.upper_log10 is not None
    assert norm.upper_log10 >= 1


@pytest.mark.parametrize("mixed", [None, 2.0, math.inf])
@pytest.mark.parametrize("op", ["BatchNormalization", "PRelu"])
def test_the_bound_covers_every_rounding_of_a_product_of_parameters(start: Start, op: str, mixed: float | None) -> None:
    """Of several factors each time the one is taken whose product is rounded down most."""
    rng, product, exact = np.random.default_rng(0), 1.0, Fraction(1)
    b, x = start(1, 1, 1)
    w = b.param([1.0])
    for _ in range(100):
        candidates = [float(c) for c in rng.uniform(1, 1.001, 30)]
        c = min(candidates, key=lambda c: Fraction(product * c) / (Fraction(product) * Fraction(c)))
        product, exact, w = product * c, exact * Fraction(c), b.op("Mul", w, b.param([c]))
    zero, one = b.param([0.0]), b.param([1.0])
    y = b.op(op, x, w) if op == "PRelu" else b.op(op, x, w, zero, zero, one, epsilon=0.0)
    upper = PathNorm(mixed=mixed).run(b.finish(y)).norms[0].upper_log10
    with workprec(200):
        log10 = mp.log10(mpf(exact.numerator) / mpf(exact.denominator))
        assert upper is not None
        assert log10 <= upper <= log10 + 1e-12


def test_what_is_padded_is_as_exact_as_its_value(start: Start) -> None:
    b, x = start(1, 3)
    bias = b.op("Pad", cancelled(b, 1.0, 2.0**-60), pads=(1, 1), value=-3.0)  # −3, 2⁻⁶⁰, −3
    check(PathNorm().run(b.finish(b.op("Add", x, bias))).norms[0], math.log10(9))


@pytest.mark.parametrize("count", [2, 3, 4])
def test_weights_whose_product_underflows_are_bracketed(start: Start, count: int) -> None:
    b, x = start(1, 1)
    w = b.param([[1e-200]])
    for _ in range(count - 1):
        w = b.op("Mul", w, b.param([[1e-200]]))
    result = PathNorm().run(b.finish(b.op("Gemm", x, w)))
    upper = result.norms[0].upper_log10
    assert upper is not None
    assert -200 * count <= upper < -300
    assert any("upper bound" in line for line in result.assumptions)


def test_weights_whose_product_is_subnormal_are_bracketed(start: Start) -> None:
    b, x = start(1, 1)
    w = b.op("Mul", b.param([[1e-200]]), b.param([[1e-120]]))
    upper = PathNorm().run(b.finish(b.op("Gemm", x, w))).norms[0].upper_log10
    assert upper is not None
    assert -320 <= upper < -319.99


# ---- batches


@pytest.mark.parametrize(("q", "dtype"), [(1.0, "float64"), (1e-6, "float64"), (1e-3, "float32"), (1e-6, "float32")])
def test_rows_that_differ_are_no_batch_for_any_exponent(start: Start, q: float, dtype: Dtype) -> None:
    b, x = start(2, 3)
    result = PathNorm((q,), dtype=dtype).run(b.finish(b.op("Mul", x, b.param([[1.0], [1.05]]))))
    with workprec(200):
        log10 = float(mp.log10(3 + 3 * mpf(1.05) ** mpf(q)) / mpf(q))
    check(result.norms[0], log10, dtype)
    assert "no batch" in result.assumptions[0]


def test_a_batch_is_one_for_all_exponents_or_for_none(start: Start) -> None:
    b, x = start(2, 3)
    result = PathNorm((0.0, 1.0)).run(b.finish(b.op("Mul", x, b.param([[1.0], [1.5]]))))
    assert [norm.value for norm in result.norms] == [6.0, 7.5]


@both_dtypes
def test_rows_that_differ_are_no_batch_at_any_depth(start: Start, dtype: Dtype) -> None:
    b, x = start(2, 3)
    y = scaled(b, x, [*[2.0**100] * 60, [[1.0], [1.5]]])
    check(PathNorm(dtype=dtype).run(b.finish(y)).norms[0], 6000 * LOG10_2 + math.log10(7.5), dtype)


# ---- shares


def test_without_a_factor_there_are_no_layers_to_share(start: Start) -> None:
    b, x = start(1, 2)
    bias = b.param(np.ones(2), "bias")
    result = PathNorm(per_layer=True, per_weight=True).run(b.finish(b.op("Add", x, bias)))
    assert result.layers == ()
    assert result.weights["bias"].tolist() == [0.25, 0.25]


@both_dtypes
def test_shares_are_in_float64_whatever_the_norm_is_in(start: Start, dtype: Dtype) -> None:
    b, x = start(1, 2)
    small, big = (b.op("Gemm", x, b.param(np.full((2, 2), w)), name=f"{w}") for w in (2.0**-100, 2.0**100))
    layers = PathNorm(dtype=dtype, per_layer=True).run(b.finish(b.op("Add", small, big))).layers
    assert [layer.share for layer in layers] == pytest.approx([2.0**-200, 1.0], rel=1e-12, abs=0)
    for layer in layers:
        assert layer.channels is not None
        assert layer.channels.dtype == torch.float64


@pytest.mark.parametrize("q", [0.5, 1.0, 2.0])
def test_a_weight_that_is_zero_has_a_share_of_zero(start: Start, q: float) -> None:
    """|θ|^q has an infinite slope at 0 for q < 1, and no share: no path passes there."""
    b, x = start(1, 2)
    weights = PathNorm((q,), per_weight=True).run(b.finish(b.op("Mul", x, b.param([0.0, 3.0], "w")))).weights
    assert weights["w"].tolist() == pytest.approx([0.0, 1.0])


def test_of_paths_that_tie_for_the_largest_one_has_the_share(start: Start) -> None:
    b, x = start(1, 1)
    y = b.op("Add", *(b.op("Gemm", x, b.param(np.array([[2.0]]), name)) for name in "ab"))
    result = PathNorm((math.inf,), per_layer=True, per_weight=True).run(b.finish(y))
    assert sorted(float(w) for w in result.weights.values()) == [0.0, 1.0]
    assert sum(layer.share or 0.0 for layer in result.layers) == 1.0
