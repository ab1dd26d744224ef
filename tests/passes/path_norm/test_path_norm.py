"""Path-norms on small graphs whose norm is known by hand; each known silent error of other tools has its test here."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.errors import InvalidModelError, UnsafeModelError, UnsupportedError, UsageError
from pathlift.ir.graph import Graph, Value
from pathlift.passes.path_norm.path_norm import PathNorm

Start = Callable[..., tuple[Builder, Value]]

ONE = {"strides": (1, 1), "dilations": (1, 1)}


def norm(graph: Graph, q: float = 1.0, **options: object) -> float:
    result = PathNorm((q,), **options).run(graph).norms[0]  # type: ignore[arg-type]  # of the parameters
    return 0.0 if result.value is None and result.zero else result.value  # type: ignore[return-value]  # a value where it is not 0


# ---- what the published code computes silently wrong


@pytest.mark.parametrize("q", [0.5, 1.0, 2.0])
def test_relu6_does_not_clip_the_norm(start: Start, q: float) -> None:
    b, x = start("N", 1)
    h = b.op("Clip", b.op("Gemm", x, b.param([[100.0]])), low=0.0, high=6.0)
    result = PathNorm((q,)).run(b.finish(b.op("Gemm", h, b.param([[3.0]]))))
    assert result.norms[0].value == pytest.approx(300.0)
    assert not result.norms[0].is_path_norm
    assert "Clip" in result.assumptions[0]


@pytest.mark.parametrize(
    ("low", "high", "at_zero"),
    [
        (2.0, 6.0, 2.0),
        (2.0, math.inf, 2.0),
        (-5.0, -3.0, 3.0),
        (-math.inf, -3.0, 3.0),
        (-2.0, 6.0, 0.0),
        (4.0, 4.0, 4.0),
    ],
)
def test_clip_that_excludes_zero_adds_its_magnitude_there(
    start: Start, low: float, high: float, at_zero: float
) -> None:
    b, x = start("N", 1)
    g = b.finish(b.op("Clip", x, low=low, high=high))
    assert norm(g) == 1.0 + at_zero
    assert norm(g, 2.0) == pytest.approx(math.sqrt(1 + at_zero**2))
    assert norm(g, inputs_only=True) == 1.0
    assert not PathNorm().run(g).norms[0].is_path_norm


def test_ceil_mode_is_not_dropped(start: Start) -> None:
    b, x = start("N", 1, 5, 5)
    pool = {"kernel": (2, 2), "strides": (2, 2), "pads": (0,) * 4, "dilations": (1, 1)}
    g = b.finish(b.op("MaxPool", x, ceil_mode=True, **pool))
    assert norm(g) == 25.0  # every value lies in exactly one window
    b, x = start("N", 1, 5, 5)
    g = b.finish(b.op("AveragePool", x, ceil_mode=True, **pool))
    assert norm(g) == 9.0  # nine windows of weight one, also the smaller ones at the border
    assert norm(g, 2.0) == pytest.approx(math.sqrt(4 * 4 / 16 + 4 * 2 / 4 + 1))


def test_count_include_pad_weighs_the_border(start: Start) -> None:
    pool = {"kernel": (3,), "strides": (1,), "pads": (1, 1), "dilations": (1,)}
    for include, expected in ((True, 2 / 3 + 1 + 2 / 3), (False, 3.0)):
        b, x = start("N", 1, 3)
        assert norm(b.finish(b.op("AveragePool", x, count_include_pad=include, **pool))) == pytest.approx(expected)


def test_subtraction_and_negative_factors_give_no_negative_norm(start: Start) -> None:
    b, x = start("N", 2)
    h = b.op("Sub", x, b.op("Gemm", x, b.param([[1.0, 0.0], [0.0, 1.0]])))
    assert norm(b.finish(b.op("Mul", h, b.param([-3.0])))) == 12.0
    b, x = start("N", 2)
    assert norm(b.finish(b.op("Sub", b.param([-5.0, 1.0]), x))) == 8.0
    b, x = start("N", 2)
    assert norm(b.finish(b.op("Div", b.op("Neg", x), b.param([-4.0, 2.0])))) == 0.75


@pytest.mark.parametrize("k", [1, 2, 4])
def test_sort_is_a_pool_over_its_whole_group(start: Start, k: int) -> None:
    b, x = start("N", 4)
    h = b.op("Gemm", x, b.param(np.diag([1.0, 2.0, 3.0, 4.0])))
    assert norm(b.finish(b.op("TopK", h, k=k))) == 10.0 * k


def test_maxmin_and_functional_maxima_are_pools(start: Start) -> None:
    b, x = start("N", 4)
    u, v = b.node("Split", x, names=("u", "v"), axis=1, parts=(2, 2))
    g = b.finish(b.op("Concat", b.op("Max", u, v), b.op("Min", u, v), axis=1))
    assert norm(g) == 8.0
    b, x = start("N", 3)
    assert norm(b.finish(b.op("ReduceMax", x, axes=(1,)))) == 3.0
    b, x = start("N", 3)
    assert norm(b.finish(b.op("Max", x, b.param([5.0])))) == 18.0  # a constant in a pool is a bias


def test_tied_weights_are_edges_of_their_own(start: Start) -> None:
    b, x = start("N", 2)
    w = b.param([[1.0, -2.0], [0.5, 3.0]])
    g = b.finish(b.op("Gemm", b.op("Relu", b.op("Gemm", x, w)), w))
    matrix = np.abs([[1.0, -2.0], [0.5, 3.0]])
    for q in (1.0, 2.0, 0.5):
        assert norm(g, q) == pytest.approx((np.ones(2) @ matrix**q @ matrix**q).sum() ** (1 / q))


def test_adaptive_pooling_with_a_ratio_that_is_no_integer(start: Start) -> None:
    """5 -> 3 values: windows [0, 2), [1, 4), [3, 5), as fixed linear map."""
    b, x = start("N", 1, 5)
    parts = [
        b.op("ReduceMean", b.op("Slice", x, axes=(2,), starts=(s,), ends=(e,), steps=(1,)), axes=(2,))
        for s, e in ((0, 2), (1, 4), (3, 5))
    ]
    g = b.finish(b.op("Concat", *parts, axis=2))
    assert norm(g) == pytest.approx(3.0)
    assert norm(g, 2.0) == pytest.approx(math.sqrt(2 / 4 + 3 / 9 + 2 / 4))


def test_conv_bias_stays_a_path_beside_the_batch_norm(start: Start) -> None:
    b, x = start("N", 1, 1, 1)
    h = b.op("Conv", x, b.param([[[[2.0]]]]), b.param([3.0]), pads=(0,) * 4, **ONE)
    h = b.op("BatchNormalization", h, b.param([4.0]), b.param([1.0]), b.param([5.0]), b.param([3.75]), epsilon=0.25)
    # s = 4/√4 = 2; paths: 2·2, bias 3·2, bias 1 − 2·5 = −9
    assert norm(b.finish(h)) == 4.0 + 6.0 + 9.0
    assert norm(Builder.of(b.finish()).finish(), 2.0) == pytest.approx(math.sqrt(16 + 36 + 81))


# ---- borders, exactly


@pytest.mark.parametrize("q", [1.0, 2.0, 3.3])
def test_borders_drop_the_paths_that_padding_cuts(start: Start, q: float) -> None:
    rng = np.random.default_rng(0)
    w1, w2 = rng.normal(size=(2, 1, 3)), rng.normal(size=(1, 2, 3))
    b, x = start("N", 1, 4)
    conv = {"strides": (1,), "dilations": (1,), "pads": (1, 1)}
    g = b.finish(b.op("Conv", b.op("Relu", b.op("Conv", x, b.param(w1), **conv)), b.param(w2), **conv))
    total = 0.0
    for i, c, a, d in product(range(4), range(2), range(3), range(3)):  # input, channel, two taps
        middle = i - a + 1
        last = middle - d + 1
        if 0 <= middle < 4 and 0 <= last < 4:
            total += abs(w1[c, 0, a] * w2[0, c, d]) ** q
    assert norm(g, q) == pytest.approx(total ** (1 / q), rel=1e-12)


def test_max_pool_padding_is_in_no_pool(start: Start) -> None:
    b, x = start("N", 1, 3)
    h = b.op("Add", x, b.param([1.0]))
    g = b.finish(b.op("MaxPool", h, kernel=(3,), strides=(1,), pads=(1, 1), dilations=(1,)))
    assert norm(g) == 2 * (2 + 3 + 2)
    assert norm(g, pooling="max") == 2 * 3


def test_padding_with_a_constant_starts_paths(start: Start) -> None:
    b, x = start("N", 2)
    g = b.finish(b.op("Pad", x, pads=(0, 1, 0, 2), value=-2.0))
    assert norm(g) == 2.0 + 3 * 2.0
    assert norm(g, inputs_only=True) == 2.0


@pytest.mark.parametrize("alpha", [0.1, -2.0, 3.0])
def test_leaky_slopes_count_with_at_least_one(start: Start, alpha: float) -> None:
    b, x = start("N", 2)
    assert norm(b.finish(b.op("LeakyRelu", x, alpha=alpha)), 2.0) == pytest.approx(max(1, abs(alpha)) * math.sqrt(2))
    b, x = start("N", 2)
    expected = max(1, abs(alpha)) + 1
    assert norm(b.finish(b.op("PRelu", x, b.param([alpha, 0.5])))) == pytest.approx(expected)


# ---- magnitudes


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_channel_that_passes_through_two_to_the_minus_1080_is_not_lost(start: Start, dtype: str) -> None:
    b, x = start("N", 2)
    for exponent in (-120,) * 9 + (120,) * 9:
        x = b.op("Relu", b.op("Gemm", x, b.param(np.diag([1.0, 2.0**exponent]))))
    assert norm(b.finish(x), dtype=dtype) == 2.0


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-3)])
def test_two_thousand_residual_blocks_do_not_overflow(start: Start, dtype: str, tolerance: float) -> None:
    b, x = start("N", 4)
    w = b.param(np.full((4, 4), 4.0))
    for _ in range(2000):
        x = b.op("Add", x, b.op("Relu", b.op("Gemm", x, w)))
    result = PathNorm((1.0,), dtype=dtype).run(b.finish(x)).norms[0]  # type: ignore[arg-type]  # of the parameters
    expected = math.log10(4) + 2000 * math.log10(17)
    assert result.log10 == pytest.approx(expected, abs=tolerance)
    assert result.value is None
    assert result.upper_log10 is not None
    assert expected <= result.upper_log10 < expected + max(1e-6, 10 * tolerance)


def test_the_upper_bound_is_above_exact_arithmetic_and_close(start: Start) -> None:
    from fractions import Fraction

    rng = np.random.default_rng(1)
    b, x = start("N", 5)
    exact = np.array([Fraction(1)] * 5, dtype=object)
    for _ in range(6):
        w = rng.normal(size=(5, 5)).astype(np.float32)
        x = b.op("Relu", b.op("Gemm", x, b.param(w)))
        exact = exact @ np.vectorize(lambda v: abs(Fraction(float(v))), otypes=[object])(w)
    result = PathNorm().run(b.finish(x)).norms[0]
    total = Fraction(sum(exact))
    assert result.value == pytest.approx(float(total), rel=1e-14)
    log = (math.log2(total.numerator) - math.log2(total.denominator)) * math.log10(2)
    assert result.upper_log10 is not None
    assert log < result.upper_log10 < log + 1e-12


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_is_tiny_at_a_border_is_not_lost(start: Start, dtype: str) -> None:
    """A position whose value is 2⁻¹⁰⁰⁰ times its channel's, and the only one that is read afterwards."""
    b, x = start("N", 1, 2)
    h = b.op("Conv", x, b.param(np.array([[[2.0**-1000, 1.0]]])), strides=(1,), pads=(0, 1), dilations=(1,))
    h = b.op("Slice", h, axes=(2,), starts=(1,), ends=(2,), steps=(1,))
    result = PathNorm(dtype=dtype).run(b.finish(h)).norms[0]  # type: ignore[arg-type]  # of the parameters
    assert result.log10 == pytest.approx(-1000 * math.log10(2), rel=1e-12)
    b.output(b.op("ReduceSum", x, axes=(2,)))
    both = PathNorm(dtype=dtype).run(b.finish()).norms[0]  # type: ignore[arg-type]  # of the parameters
    assert both.value == pytest.approx(2.0)
    assert both.upper_log10 == pytest.approx(math.log10(2), abs=1e-5)


def test_zero_weights_give_a_zero_norm_that_is_said(start: Start) -> None:
    b, x = start("N", 2)
    result = PathNorm().run(b.finish(b.op("Gemm", x, b.param([[0.0], [0.0]])))).norms[0]
    assert result.zero
    assert result.value == 0.0
    assert result.log10 is None


# ---- batches, heads, several outputs


def test_a_static_batch_is_one_sample(start: Start) -> None:
    for batch in ("N", 1, 8):
        b, x = start(batch, 3)
        result = PathNorm().run(b.finish(b.op("Gemm", x, b.param(np.ones((3, 2), np.float32)))))
        assert result.norms[0].value == 6.0


def test_outputs_add_up(start: Start) -> None:
    b, x = start("N", 2)
    g = b.finish(
        b.op("Gemm", x, b.param([[1.0], [2.0]]), name="a"), b.op("Gemm", x, b.param([[4.0], [-8.0]]), name="b")
    )
    result = PathNorm((2.0,)).run(g).norms[0]
    assert result.value == pytest.approx(math.sqrt(1 + 4 + 16 + 64))
    assert result.outputs["b"].item() == pytest.approx(math.log10(math.sqrt(80)))


@pytest.mark.parametrize("head", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_a_final_head_is_stripped_and_said(start: Start, head: str) -> None:
    b, x = start("N", 2)
    h = b.op(head, b.op("Gemm", x, b.param([[1.0, 2.0], [3.0, 4.0]])), name="prob")
    result = PathNorm().run(b.finish(b.op("Reshape", h, shape=(-1, 2, 1))))
    assert result.norms[0].value == 10.0
    assert result.assumptions == (f"the final {head} 'prob' is left out",)


@pytest.mark.parametrize("op", ["Softmax", "Sigmoid", "Gelu", "Softplus", "HardSwish", "Erf"])
def test_the_same_inside_the_network_is_refused_by_name(start: Start, op: str) -> None:
    b, x = start("N", 2)
    g = b.finish(b.op("Gemm", b.op(op, x, name="inner"), b.param([[1.0], [2.0]])))
    with pytest.raises(UnsupportedError, match=rf"node 'inner' \({op}\)") as refusal:
        PathNorm().run(g)
    assert refusal.value.exit_code == 4


def test_products_of_activations_are_refused(start: Start) -> None:
    b, x = start("N", 2)
    with pytest.raises(UnsupportedError, match="product of two activations"):
        PathNorm().run(b.finish(b.op("Product", x, b.op("Relu", x))))


def test_a_contraction_that_takes_a_diagonal_is_refused(start: Start) -> None:
    b, x = start("N", 2, 2)
    graph = b.finish(b.op("Einsum", x, b.param(np.ones((2, 3))), equation="bii,io->bo", name="diagonal"))
    with pytest.raises(UnsupportedError, match="PL0313 node 'diagonal'"):
        PathNorm().run(graph)


# ---- bad input


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused_by_name(start: Start, bad: float) -> None:
    b, x = start("N", 2)
    g = b.finish(b.op("Gemm", x, b.param([[1.0], [bad]], "fc.weight")))
    with pytest.raises(InvalidModelError, match=r"tensor 'fc.weight': 1 of 2 values") as refusal:
        PathNorm().run(g)
    assert refusal.value.exit_code == 3


def test_missing_extents_are_named_and_can_be_given(start: Start) -> None:
    b, x = start("N", 1, "H", None)
    g = b.finish(b.op("ReduceMax", x, axes=(2, 3)))
    with pytest.raises(UsageError, match=r"H, x\.3"):
        PathNorm().run(g)
    assert PathNorm(shape=(("H", 4), ("x.3", 5))).run(g).norms[0].value == 20.0
    with pytest.raises(UsageError, match="'W'"):
        PathNorm(shape=(("H", 4), ("x.3", 5), ("W", 1))).run(g)


def test_absurd_extents_are_refused(start: Start) -> None:
    b, x = start("N", 1, "H")
    g = b.finish(b.op("Relu", x))
    with pytest.raises(UnsafeModelError, match="PL0230 "):
        PathNorm(shape=(("H", 2**40),)).run(g)


def test_extents_that_do_not_fit_are_refused_before_anything_runs(start: Start) -> None:
    b, x = start("N", 1, "H")
    g = b.finish(b.op("Conv", x, b.param(np.ones((1, 1, 5))), strides=(1,), pads=(0, 0), dilations=(1,)))
    with pytest.raises(UsageError, match=r"x \[1, 1, 3\]"):
        PathNorm(shape=(("H", 3),)).run(g)


@pytest.mark.parametrize("q", [1e-7, -1.0, -math.inf, math.nan])
def test_exponents_out_of_range_are_refused(start: Start, q: float) -> None:
    b, x = start("N", 1)
    with pytest.raises(UsageError, match="PL0420 "):
        PathNorm((q,)).run(b.finish(b.op("Relu", x)))


def test_dead_code_has_no_say(start: Start) -> None:
    b, x = start("N", 2)
    b.op("Softmax", b.op("Softmax", x))
    assert norm(b.finish(b.op("Relu", x))) == 2.0
