"""Fields of scaled tensors: exact powers of two, no overflow, no lost mass."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mpf, workprec

from pathlift.ir.primitives.maps import Contract, Conv, ConvTranspose, Reduce
from pathlift.ir.primitives.selections import Extremum
from pathlift.ir.primitives.views import Concat, Stack
from pathlift.passes.fields.bits import EMPTY, FLOOR, pow2, shifted
from pathlift.passes.fields.combine import apply_pools, apply_separable
from pathlift.passes.fields.field import Field
from pathlift.passes.fields.linear import apply_linear
from pathlift.passes.fields.moves import move
from pathlift.passes.fields.power import power
from pathlift.passes.fields.scaled import Scaled, magnitudes
from pathlift.passes.fields.semiring import Sums

WIDE = st.floats(min_value=0, allow_infinity=False, allow_nan=False)


def read(x: Scaled) -> list[float]:
    """The values as Python floats, via exact arithmetic in integers of any size."""
    x = x.spread()
    return [
        math.ldexp(m, int(e)) if m else 0.0
        for m, e in zip(x.m.reshape(-1).tolist(), x.exponents().reshape(-1).tolist(), strict=True)
    ]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_pow2_is_exact_and_drops_what_is_less_than_a_rounding(dtype: torch.dtype) -> None:
    top = 1023 if dtype == torch.float64 else 127
    k = torch.arange(FLOOR[dtype] - 50, top + 1)
    expected = [math.ldexp(1.0, int(i)) if i >= FLOOR[dtype] else 0.0 for i in k]
    assert pow2(k, dtype).tolist() == expected
    assert pow2(torch.tensor([-EMPTY]), dtype).item() == 1.0


@given(st.lists(WIDE, min_size=1, max_size=8))
def test_of_holds_every_float(values: list[float]) -> None:
    assert read(Scaled.of(torch.tensor(values, dtype=torch.float64))) == values
    scaled = Scaled.per_element(torch.tensor(values, dtype=torch.float64))
    assert read(scaled) == values
    assert all(m == 0 or 0.5 <= m < 1 for m in scaled.m.tolist())


@given(
    st.lists(st.floats(allow_infinity=False, allow_nan=False), min_size=1, max_size=6),
    st.sampled_from([0.25, 0.5, 1, 2, 3, 3.3, 16, 40, 200]),
)
def test_power_has_the_right_logarithm(values: list[float], q: float) -> None:
    logs = power(torch.tensor(values, dtype=torch.float64), q, torch.float64).log2()
    for value, log in zip(values, logs.tolist(), strict=True):
        if value == 0:
            assert log == -math.inf
        else:
            mantissa, exponent = math.frexp(abs(value))
            assert log == pytest.approx(q * (math.log2(mantissa) + exponent), rel=1e-12, abs=1e-12)


@given(st.lists(WIDE, min_size=1, max_size=6))
def test_bounds_of_measured_values_hold(values: list[float]) -> None:
    t = torch.tensor(values, dtype=torch.float64)
    low, high = magnitudes(t)
    assert all(math.ldexp(1.0, max(low, -1074)) <= v and v / 2 < math.ldexp(0.5, high) for v in values if v)
    for x in (Scaled.of(t), Scaled.of(t, 7).settled(), *(power(t, q, torch.float64) for q in (0, 0.3, 1, 2.7))):
        if isinstance(x.e, int):
            assert all(2.0**x.low <= m <= 2.0**x.high for m in x.m.tolist() if m)


@pytest.mark.parametrize("q", [0.5, 2.0, 3.3, 31.9, 100.0, 1e4])
@pytest.mark.parametrize("octaves", [1, 60])
def test_powers_are_off_by_no_more_than_their_roundings(q: float, octaves: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 2, 300) * 2.0 ** rng.integers(-octaves, octaves + 1, 300)
    scaled = power(torch.tensor(values), q, torch.float64).spread()
    with workprec(200):
        for value, m, e in zip(values, scaled.m.tolist(), scaled.exponents().tolist(), strict=True):
            off = abs(mpf(m) * mpf(2) ** e / mpf(value) ** mpf(q) - 1)
            assert off <= scaled.roundings * 2.0**-53


def test_every_operation_counts_its_roundings() -> None:
    """A result has met those of what it is made of, and one each for a product, a sum and a change of format."""

    def known(roundings: int, e: int | None = 0) -> Scaled:
        x = Scaled.of(torch.rand(4, 7, dtype=torch.float64) + 0.5, e or 0, roundings)
        return x if e is not None else x.spread()

    sums = Sums(1.0)
    for apart in (0, 5, 2000, None):
        a, b = known(3), known(5, apart)
        assert a.times(b).roundings >= 3 + 5 + 1
        assert b.times(a).roundings >= 3 + 5 + 1
        assert b.over(1, sums).roundings >= 5 + 6
        assert b.cast(torch.float32).roundings >= 6
        assert all(x.plus(y, sums).roundings >= 5 + 1 for x, y in ((a, b), (b, a)))
        for join in (Concat(0), Stack()):
            assert all(move(join, [Field.plain(x) for x in xy]).value.roundings >= 5 for xy in ((a, b), (b, a)))
        y = apply_linear(Contract("...i,io->...o"), Field.plain(b), Scaled.of(torch.ones(7, 2).double(), 0, 9), sums)
        assert y.value.roundings >= 5 + 9 + 1 + 6
        assert apply_separable(Reduce((1,), True, True), Field.plain(b), sums).value.roundings >= 5 + 1 + 6
        # 1/7 is no float, and to the power q it is off by q times as much.
        assert apply_separable(Reduce((1,), True, True), Field.plain(b), Sums(20.0)).value.roundings >= 5 + 20 + 1 + 6
        assert apply_pools(Extremum((1,), True), Field.plain(b), sums).value.roundings >= 5 + 6


@given(st.lists(WIDE, min_size=3, max_size=3), st.lists(WIDE, min_size=3, max_size=3))
def test_addition_equals_that_of_floats(a: list[float], b: list[float]) -> None:
    x, y = (Scaled.of(torch.tensor([v, 0.0, v], dtype=torch.float64)) for v in (a[0] / 4, b[1] / 4))
    total = read(x.plus(y, Sums(1.0)))
    assert total[0] == pytest.approx(a[0] / 4 + b[1] / 4, rel=1e-15, abs=0)
    assert total[1] == 0


@pytest.mark.parametrize("octaves", [10, 20, 40, 52])
def test_what_is_only_known_to_be_perhaps_tiny_is_added_all_the_same(octaves: int) -> None:
    small, one = (Scaled(torch.ones(2).double(), -k, 0, -990 if k else 0, 0) for k in (octaves, 0))
    for total in (small.plus(one, Sums(1.0)), one.plus(small, Sums(1.0))):
        assert read(total) == [1 + 2.0**-octaves] * 2


def test_shifted_spans_the_whole_range() -> None:
    tiny = torch.tensor([5e-324, 1.5], dtype=torch.float64)
    assert shifted(tiny, torch.tensor([1074, 1000])).tolist() == [1.0, math.ldexp(1.5, 1000)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("by_position", [False, True])
@pytest.mark.parametrize("spread", [0, 10, 400])
@pytest.mark.parametrize(
    ("f", "x_shape", "w_shape"),
    [
        (Contract("...i,io->...o"), (1, 5), (5, 4)),
        (Contract("...i,oi->...o"), (1, 3, 5), (4, 5)),
        (Contract("...in,oi->...on"), (1, 5, 3), (4, 5)),
        (Contract("...bni,bio->...bno"), (1, 2, 3, 5), (2, 5, 4)),
        (Conv((1, 1), (1, 1, 1, 1), (1, 1)), (1, 4, 5, 5), (6, 4, 3, 3)),
        (Conv((2,), (0, 1), (2,), 2), (1, 4, 9), (6, 2, 3)),
        (Conv((1, 1), (0, 0, 0, 0), (1, 1), 4), (1, 4, 3, 3), (8, 1, 2, 2)),
        (ConvTranspose((2, 2), (1, 0, 1, 0), (1, 1), (1, 0)), (1, 4, 3, 3), (4, 5, 3, 3)),
        (ConvTranspose((2,), (1, 1), (1,), (0,), 2), (1, 4, 5), (4, 3, 3)),
    ],
)
def test_linear_maps_equal_exact_arithmetic(
    f: object, x_shape: tuple[int, ...], w_shape: tuple[int, ...], spread: int, by_position: bool, dtype: torch.dtype
) -> None:
    """Against the same map on Python integers: all numbers are multiples of one power of two."""
    rng = np.random.default_rng(spread)
    axis = 1 if len(x_shape) > 2 and not isinstance(f, Contract) else -1
    x_exponents = rng.integers(
        -spread, spread + 1, size=[n if by_position or i == axis % len(x_shape) else 1 for i, n in enumerate(x_shape)]
    )
    w_exponents = rng.integers(-spread, spread + 1, size=w_shape)
    x_m, w_m = rng.integers(1, 8, size=x_shape), rng.integers(0, 8, size=w_shape)
    x = Scaled.per_element(torch.tensor(x_m, dtype=dtype), torch.tensor(x_exponents))
    w = Scaled.per_element(torch.tensor(w_m, dtype=dtype), torch.tensor(w_exponents))
    logs = apply_linear(f, Field.plain(x), w, Sums(1.0)).log2().reshape(-1).tolist()
    # Exact: one basis vector of the input at a time gives the matrix of the map in terms of weights' positions.
    exact_x = np.vectorize(lambda m, e: int(m) << int(e + spread), otypes=[object])(
        x_m, np.broadcast_to(x_exponents, x_shape)
    )
    exact_w = np.vectorize(lambda m, e: int(m) << int(e + spread), otypes=[object])(w_m, w_exponents)
    expected = _exact(f, exact_x, exact_w)
    for log, b in zip(logs, expected.reshape(-1).tolist(), strict=True):
        exact = math.log2(b) - 2 * spread if b else -math.inf
        assert log == pytest.approx(exact, abs=1e-12 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("q", [0.5, 1.0, 2.0, 3.3])
def test_moderate_weights_need_no_alignment(q: float) -> None:
    rng = np.random.default_rng(3)
    x = Field.plain(Scaled.of(torch.tensor(rng.random((1, 4, 5, 5)))))
    w = torch.tensor(rng.normal(size=(6, 4, 3, 3)))
    w[0, 0] = 0
    f, plain = Conv((1, 1), (1, 1, 1, 1), (1, 1)), power(w, q, torch.float64)
    apart = plain.spread()
    assert isinstance(plain.e, int)
    assert not isinstance(apart.e, int)
    logs = [apply_linear(f, x, weights, Sums(q)).log2() for weights in (plain, apart)]
    assert torch.allclose(*logs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_products_and_sums_stay_within_their_bounds(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(5)
    x = Scaled.of(torch.tensor(rng.random((4, 1)), dtype=dtype))
    logs = x.log2().double()
    for _ in range(200):
        k = int(rng.integers(-100, 100))
        factor = Scaled.of(torch.tensor(rng.random((1, 3)) + 0.1, dtype=dtype), k)
        logs = torch.logaddexp2(logs.expand(4, 3) + factor.log2(), torch.tensor(float(k), dtype=torch.float64))
        x = x.times(factor).plus(Scaled.of(torch.ones(1, 3, dtype=dtype), k), Sums(1.0))
        assert isinstance(x.e, int)
        assert 2.0**x.low <= float(x.m.min())
        assert float(x.m.max()) <= 2.0**x.high
        assert torch.allclose(x.log2(), logs, rtol=1e-4, atol=1e-3)


def _exact(f: Callable[..., torch.Tensor], x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Apply the map to integers of any size: y = Σ over pairs (input element, weight element) that meet."""
    probe_x, probe_w = torch.zeros(x.shape, dtype=torch.float64), torch.zeros(w.shape, dtype=torch.float64)
    total = None
    for j in np.ndindex(*w.shape):
        if w[j] == 0:
            continue
        probe_w.zero_()
        probe_w[j] = 1
        for i in np.ndindex(*x.shape):
            probe_x.zero_()
            probe_x[i] = 1
            hit = f(probe_x, probe_w).numpy()
            total = np.zeros(hit.shape, dtype=object) if total is None else total
            for position in np.argwhere(hit):
                total[tuple(position)] += int(x[i]) * int(w[j])
    assert total is not None
    return total
