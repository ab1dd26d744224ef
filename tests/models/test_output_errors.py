"""Errors of outputs: of real numbers of all types, and of none."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from pathlift.ir.errors import UnsupportedError
from pathlift.models.output_errors import OutputErrors


def test_the_output_that_is_off_most() -> None:
    errors, y = OutputErrors(), np.array([3.0, 4.0])
    for kind in (np.float32, np.float16, ml_dtypes.bfloat16):
        name = np.dtype(kind).name
        errors.add({name: y.astype(kind)}, {name: (y + np.array([0, 1])).astype(kind)})
    errors.add({"exact": y, "class": np.array([1])}, {"exact": y, "class": np.array([2])})
    assert errors.relative() == pytest.approx({"float32": 0.2, "float16": 0.2, "bfloat16": 0.2, "exact": 0.0})
    assert errors.largest() == pytest.approx(0.2)


def test_whole_numbers_are_not_exact_but_unknown() -> None:
    errors = OutputErrors()
    errors.add({"class": np.array([1, 2])}, {"class": np.array([2, 1])})
    with pytest.raises(UnsupportedError, match="PL1549"):
        errors.largest()
