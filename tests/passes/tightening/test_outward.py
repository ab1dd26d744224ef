"""Computed weights are stored outward."""

from __future__ import annotations

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from pathlift.passes.tightening.outward import Computed


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_products_are_stored_outward(dtype: type) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((20, 9)), rng.standard_normal((9, 20))
    a[:, 0], a[:, 1], b[1] = 1e8, -1e8, b[0] * (1 + 2**-50)  # cancels: what is left is rounding for the most part
    stored = Computed.exact(b).times(np.full((9, 1), 0.1)).after(a).stored(np.dtype(dtype))
    assert stored is not None
    for i in range(20):
        for j in range(20):
            true = sum((Fraction(a[i, k]) * Fraction(0.1) * Fraction(b[k, j]) for k in range(9)), Fraction(0))
            assert abs(Fraction(float(stored[i, j]))) >= abs(true)


def test_what_is_exact_stays() -> None:
    values = np.array([[0.1, -3.0, 0.0]])
    for computed in (Computed.exact(values), Computed.exact(values).times(np.array([1.0, -1.0, 0.0]))):
        stored = computed.stored(np.dtype(np.float64))
        assert stored is not None
        assert (stored == computed.values).all()
    zero = Computed.exact(np.zeros((1, 3)))
    assert Computed.exact(values).plus(zero).roundings == zero.plus(Computed.exact(values)).roundings == 0


def test_sums_and_underflow() -> None:
    total = Computed.exact(np.array([1.0])).plus(Computed.exact(np.array([2.0**-60]))).stored(np.dtype(np.float64))
    assert total is not None
    assert Fraction(total[0]) >= 1 + Fraction(2) ** -60
    tiny = Computed.exact(np.array([[2.0**-600]])).after(np.array([[2.0**-600]])).stored(np.dtype(np.float64))
    assert tiny is not None
    assert tiny[0, 0] > 0


def test_what_overflows_is_not_stored() -> None:
    assert Computed.exact(np.array([1e39])).stored(np.dtype(np.float32)) is None
