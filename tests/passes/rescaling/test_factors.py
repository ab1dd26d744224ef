"""Rescaled parameters, up to the last number that their format holds."""

from __future__ import annotations

import numpy as np
import pytest

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.types import DTYPES, Array, Param, float_limits
from pathlift.passes.channels.constraints import Scale, Use
from pathlift.passes.rescaling.factors import Factors, scaled_param

FORMATS = ["f64", "f32", "f16", "bf16", "f8e4m3fn", "f8e5m2"]


def rescaled(values: list[float], dtype: str, log2: float) -> Array:
    param = Param.of(np.array(values).astype(DTYPES[dtype]))
    use = Use(param, "w", "node", Scale(np.ones(len(values), np.int64), np.zeros(1, np.int64)))
    return scaled_param(Factors.exp(np.log(2) * np.array([0.0, log2])), use).numpy()


def refused(values: list[float], dtype: str, log2: float) -> str:
    with pytest.raises(UnsupportedError, match="PL0332") as error:
        rescaled(values, dtype, log2)
    return error.value.reason


@pytest.mark.parametrize("dtype", [f for f in FORMATS if f in DTYPES])
def test_the_largest_number_is_the_limit(dtype: str) -> None:
    largest = float(float_limits(DTYPES[dtype]).max)
    assert rescaled([1.0, largest / 4], dtype, 2).tolist() == [4.0, largest]
    assert "overflow" in refused([1.0, -largest], dtype, 0.1)
    assert "overflow" in refused([1.0, largest / 2], dtype, 1.5)


@pytest.mark.parametrize("dtype", [f for f in FORMATS if f in DTYPES])
def test_the_smallest_normal_number_is_the_limit_for_those_that_were_normal(dtype: str) -> None:
    limits = float_limits(DTYPES[dtype])
    least, step = float(limits.smallest_normal), float(limits.smallest_subnormal)
    assert rescaled([0.0, 1.0, -4 * least], dtype, -2).astype(float).tolist() == [0.0, 0.25, -least]
    assert "underflow" in refused([1.0, 0.0, least], dtype, -1)
    assert "underflow" in refused([1.0, 0.0, -least], dtype, -60)
    assert rescaled([1.0, 2 * step], dtype, -1).astype(float).tolist() == [0.5, step]  # it had few digits before
