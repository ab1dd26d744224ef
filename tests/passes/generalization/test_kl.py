"""The inverse of the binary relative entropy, against closed forms and many digits."""

from __future__ import annotations

from math import exp, inf

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathlift.passes.generalization.kl import binary_kl, kl_inverse


def exact(q: float, p: float) -> mpmath.mpf:
    with mpmath.workdps(40):
        a, b = mpmath.mpf(q), mpmath.mpf(p)
        left = a * mpmath.log(a / b) if q else mpmath.mpf(0)
        return left + ((1 - a) * mpmath.log((1 - a) / (1 - b)) if q < 1 else 0)


@given(st.floats(0, 1), st.floats(1e-9, 30))
def test_it_is_the_largest(q: float, c: float) -> None:
    p = kl_inverse(q, c)
    assert q <= p <= 1
    if p < 1:
        assert exact(q, p) >= c  # so that no admissible value is above
        assert exact(q, q + (p - q) * (1 - 1e-5)) <= c or p - q < 1e-6


@pytest.mark.parametrize("c", [0.001, 0.1, 3.0])
def test_closed_form_without_errors(c: float) -> None:
    assert kl_inverse(0.0, c) == pytest.approx(1 - exp(-c), rel=1e-9)
    assert kl_inverse(0.0, c) >= 1 - exp(-c)


def test_ends() -> None:
    assert kl_inverse(1.0, 0.1) == 1
    assert kl_inverse(0.2, 1e9) == kl_inverse(0.2, inf) == 1
    assert kl_inverse(0.3, 0.0) == pytest.approx(0.3, abs=1e-6)
    assert binary_kl(0.5, 0.0) == binary_kl(0.5, 1.0) == inf
    assert binary_kl(0.0, 0.0) == binary_kl(1.0, 1.0) == 0
