"""Path-norms where a careless computation overflows, underflows, miscounts its roundings, or misreads a batch."""

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch

from pathlift.ir.algebras.interpret import run
from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.graph import Value
from pathlift.ir.primitives.resample import Resample
from pathlift.passes.fields.field import Field
from pathlift.passes.fields.power import power
from pathlift.passes.path_norm.algebra import PathNormAlgebra
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.rewrites.strip_head import StripHead

Start = Callable[..., tuple[Builder, Value]]

U = Fraction(1, 2**53)


@pytest.mark.parametrize(("dtype", "doublings"), [("float64", 1100), ("float32", 200)])
def test_doublings_without_any_weight_do_not_overflow(start: Start, dtype: str, doublings: int) -> None:
    b, x = start("N", 2)
    for _ in range(doublings):
        x = b.op("Add", x, x)
    result = PathNorm(dtype=dtype).run(b.finish(x)).norms[0]  # type: ignore[arg-type]  # of the parameters
    assert not result.zero
    assert result.log10 == pytest.approx((doublings + 1) * math.log10(2), rel=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_mean_over_many_values_to_a_high_power_is_not_zero(start: Start, dtype: str) -> None:
    b, x = start("N", 1, 512, 512)
    result = PathNorm((8.0,), dtype=dtype).run(b.finish(b.op("ReduceMean", x, axes=(2, 3)))).norms[0]  # type: ignore[arg-type]  # of the parameters
    assert result.log10 == pytest.approx(-15.75 * math.log10(2), rel=1e-6)


def test_what_an_addition_leaves_tiny_is_not_lost(start: Start) -> None:
    """In float32, 2⁻⁶⁰ beside 1 in one channel, times weights down to 2⁻⁴⁰, then read alone."""
    conv = {"strides": (1,), "pads": (0, 0), "dilations": (1,)}
    b, x = start("N", 1, 2)
    h = b.op("Add", b.op("Mul", x, b.param([1.0, 0.0])), b.op("Mul", x, b.param(2.0**-58)))
    for _ in range(2):
        h = b.op("Conv", h, b.param([[[2.0**-39]]]), **conv)
    h = b.op("Slice", h, axes=(2,), starts=(1,), ends=(2,), steps=(1,))
    result = PathNorm(dtype="float32").run(b.finish(h)).norms[0]
    assert result.log10 == pytest.approx((-58 - 78) * math.log10(2), rel=1e-12)


@pytest.mark.parametrize("q", [3.3, 31.9])
def test_powers_of_wide_weights_keep_to_their_roundings(q: float) -> None:
    """|k·q| is up to 32000 here: rounding it would cost as many roundings of the result."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        k = 10 * int(rng.integers(-100, 100))  # 2**k to the power q: the exponent k·(q as a float64)
        scaled = power(torch.tensor([2.0**k], dtype=torch.float64), q, torch.float64).spread()
        rest = k * Fraction(q) - int(scaled.exponents().item())
        # m against 2**rest, by the logarithm: the difference is far from where its own rounding matters.
        relative = abs(math.log2(scaled.m.item()) - float(rest)) * math.log(2)
        assert relative <= scaled.roundings * float(U) + 2 * float(U)


def test_windows_that_overlap_meet_a_rounding_per_value(start: Start) -> None:
    window = {"kernel": (63,), "strides": (1,), "pads": (31, 31), "dilations": (1,)}
    for op, classes in product(("AveragePool", "MaxPool"), (False, True)):
        algebra = PathNormAlgebra(1.0, "sum", inputs_only=False)
        b, x = start("N", 1, 64)
        ones = Field.ones((1, 1, 64), torch.float64, torch.device("cpu"), classes=classes)
        y = run(b.finish(b.op(op, x, name="y", **window)), algebra, {"x": ones})["y"]
        assert isinstance(y, Field)
        assert y.value.roundings >= 62


@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_resizing_has_no_edges_that_rounding_made(mode: str, coordinates: str) -> None:
    for n, m in ((3, 5), (14, 18), (14, 34), (18, 42), (25, 75), (6, 4)):
        coefficients = Resample((2,), sizes=(m,), mode=mode, coordinates=coordinates).taps(2, n).coefficients
        assert coefficients is not None
        assert not ((coefficients != 0) & (np.abs(coefficients) < 1e-9)).any(), (n, m)


def test_rows_that_mix_are_no_batch(start: Start) -> None:
    b, x = start(2, 3)
    g = b.finish(b.op("Einsum", x, b.param([[1.0, 2.0], [3.0, 4.0]]), equation="...kn,mk->...mn"))
    result = PathNorm().run(g)
    assert result.norms[0].value == 30.0
    assert "axis 0 of 'x' (2)" in result.assumptions[0]
    assert "no batch" in result.assumptions[0]


def test_rows_with_constants_of_their_own_are_no_batch(start: Start) -> None:
    b, x = start(2, 3)
    assert PathNorm().run(b.finish(b.op("Mul", x, b.param([[1.0], [5.0]])))).norms[0].value == 18.0


def test_a_batch_that_is_merged_is_said_to_count(start: Start) -> None:
    b, x = start(2, 2, 3)
    h = b.op("Reshape", x, shape=(4, 3))
    result = PathNorm().run(b.finish(b.op("Gemm", h, b.param(np.ones((3, 1))))))
    assert result.norms[0].value == 12.0
    assert "no batch" in result.assumptions[0]


def test_layers_of_constants_and_computed_biases_have_shares(start: Start) -> None:
    b, x = start("N", 2)
    y = b.op("Gemm", b.param([[1.0, 2.0]]), b.param(np.eye(2)), name="constant")
    z = b.op("Gemm", b.op("Add", x, y), b.param(np.eye(2)), x, name="dynamic")
    layers = PathNorm(per_layer=True).run(b.finish(z)).layers
    # ‖Φ‖₁ = 2 (x, by the layer) + 3 (the constant) + 2 (x, past it)
    assert {layer.node: layer.share for layer in layers} == pytest.approx({"constant": 3 / 7, "dynamic": 5 / 7})


def test_a_given_extent_does_not_silently_lose_against_the_file(start: Start) -> None:
    b, x = start("N", 3)
    g = b.finish(b.op("Relu", x))
    assert PathNorm(shape=(("x.1", 3),)).run(g).norms[0].value == 3.0
    with pytest.raises(UsageError, match="axis 1 of input 'x' is 3"):
        PathNorm(shape=(("x.1", 5),)).run(g)


def test_dead_code_hides_no_head_and_is_none(start: Start) -> None:
    b, x = start("N", 2)
    head = b.op("Softmax", x, name="prob")
    b.op("Relu", head)
    b.op("Sigmoid", x, name="dead")
    rewritten = StripHead().run(b.finish(head))
    assert rewritten.witness.describe() == "the final Softmax 'prob' is left out"


def test_weights_of_single_values_have_an_upper_bound_for_any_exponent(start: Start) -> None:
    for q in (0.01, 0.37, 64.0, 300.7):
        for k in (-900, -31, 7, 1000):
            b, x = start("N", 1)
            w = 0.75 * 2.0**k
            result = PathNorm((q,)).run(b.finish(b.op("Mul", x, b.param([w])))).norms[0]
            log = math.log10(0.75) + k * math.log10(2)
            assert result.upper_log10 is not None
            assert result.upper_log10 >= log - 1e-15 * (1 + abs(log))
            assert result.log10 == pytest.approx(log, rel=1e-12, abs=1e-12)


def test_a_symbolic_first_axis_that_outputs_lack_is_said() -> None:
    b = Builder()
    x = b.input("x", ("T", 3))
    result = PathNorm().run(b.finish(b.op("ReduceMean", x, axes=(0,))))
    assert result.norms[0].value == 3.0
    assert "axis 0 (T) of input 'x'" in result.assumptions[0]


def test_padding_with_the_lowest_float_is_no_bias() -> None:
    b = Builder()
    x = b.input("x", ("N", 1, 4))
    h = b.op("Pad", x, pads=(0, 0, 1, 0, 0, 1), value=-3.4028235e38)
    g = b.finish(b.op("MaxPool", h, kernel=(3,), strides=(1,), pads=(0, 0), dilations=(1,)))
    with pytest.raises(UnsupportedError, match="PL0316"):
        PathNorm().run(g)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("offset", [0.0, 2.0**-51, 2.0**-45, 2.0**-20, 1.0])
@pytest.mark.parametrize("q", [1.0, 2.0, 5.5])
def test_the_upper_bound_covers_a_batch_norms_shift_that_cancels(offset: float, q: float, dtype: str) -> None:
    """s = 1/3 is no float, and 1 − s·(3 + offset) cancels; exactly, the paths weigh 1/3 and |offset|/3."""
    b = Builder()
    x = b.input("x", ("N", 1), "f64")
    one, mean, var = (b.param(np.array([v])) for v in (1.0, 3.0 + offset, 9.0))
    y = b.op("BatchNormalization", x, one, one, mean, var, epsilon=0.0)
    result = PathNorm((q,), dtype=dtype, inputs_only=False).run(b.finish(y)).norms[0]  # type: ignore[arg-type]  # of the parameters
    exact_shift = abs(Fraction(1) - Fraction(3.0 + offset) / 3)
    exact = math.log10((1 / 3) ** q + float(exact_shift) ** q) / q
    assert result.upper_log10 is not None
    assert exact <= result.upper_log10 + 1e-15
    assert result.upper_log10 < exact + (1e-6 if dtype == "float64" else 1e-4)


def test_a_bias_made_of_nothing_but_rounding_is_bracketed() -> None:
    b = Builder()
    x = b.input("x", ("N", 1), "f64")
    one, mean, var, gamma = (b.param(np.array([v])) for v in (1.0, 3.0 + 2.0**-51, 9.0, 1.0))
    y = b.op("BatchNormalization", b.op("Mul", x, b.param(np.array([0.0]))), gamma, one, mean, var, epsilon=0.0)
    result = PathNorm().run(b.finish(y)).norms[0]
    exact = float(abs(Fraction(1) - Fraction(3.0 + 2.0**-51) / 3))
    assert result.upper_log10 is not None
    assert math.log10(exact) <= result.upper_log10
