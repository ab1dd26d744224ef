"""Differences of arrays: exact where elements are, and without bound where there is nothing to subtract."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import numpy as np
import pytest

from pathlift.models.sameness.difference import Limits, difference, is_comparable

F16, F32, I64, U64 = np.float16, np.float32, np.int64, np.uint64


@pytest.mark.parametrize(
    ("a", "b", "absolute", "relative"),
    [
        ([1.0, -4.0], [1.0, -4.0], 0.0, 0.0),
        ([1.0, -4.0], [1.5, -4.0], 0.5, 0.125),
        ([0.0, 0.0], [0.0, -0.0], 0.0, 0.0),
        ([0.0, 0.0], [0.0, 1e-30], 1e-30, inf),
        ([nan, inf, 2.0], [nan, inf, 1.0], 1.0, 0.5),
        ([-inf, 1.0], [-inf, 1.0], 0.0, 0.0),
        ([nan, inf], [nan, -inf], inf, inf),
        ([nan, 1.0], [1.0, 1.0], inf, inf),
        ([1.0, 1.0], [1.0, nan], inf, inf),
        ([1.0, 1.0], [1.0, inf], inf, inf),
        ([3, 5], [3, 4], 1.0, 0.2),
        ([-8, 5], [-4, 5], 4.0, 0.5),
        ([True, False], [True, True], 1.0, 1.0),
        (["a", "b"], ["a", "b"], 0.0, 0.0),
        (["a", "b"], ["a", "c"], inf, inf),
        ([], [], 0.0, 0.0),
    ],
)
def test_difference(a: list[Any], b: list[Any], absolute: float, relative: float) -> None:
    found = difference(np.array(a), np.array(b))
    assert (found.absolute, found.relative) == (absolute, relative)
    assert (found.index is None) == (absolute == 0)


def test_where_it_is_largest() -> None:
    a, b = np.zeros((2, 3), F32), np.zeros((2, 3), F32)
    a[1, 2], b[1, 2], b[0, 0] = 2.0, 4.0, 0.5
    found = difference(a, b)
    assert (found.index, found.values) == ((1, 2), (2.0, 4.0))


@pytest.mark.parametrize(
    ("a", "b", "absolute"),
    [
        (np.array([2**53], I64), np.array([2**53 + 1], I64), 1.0),
        (np.array([-(2**63)], I64), np.array([2**63 - 1], I64), float(2**64)),
        (np.array([2**64 - 1], U64), np.array([2**64 - 2], U64), 1.0),
        (np.array([2**63], U64), np.array([2**63 - 1], I64), 1.0),
        (np.array([-128], np.int8), np.array([127], np.int8), 255.0),
        (np.array([3], np.int8), np.array([3], I64), 0.0),
    ],
)
def test_integers_are_subtracted_exactly(a: Any, b: Any, absolute: float) -> None:
    assert difference(a, b).absolute == absolute
    assert difference(b, a).absolute == absolute


def test_formats_of_real_numbers_may_differ() -> None:
    assert difference(np.array([0.5], F16), np.array([0.5])).relative == 0
    assert difference(np.array([1.0]), np.array([1.0 + 2**-12], F32)).relative == 2**-12


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.ones((2, 1)), np.ones((2, 2))),
        (np.ones(2), np.ones(2, I64)),
        (np.ones(2, bool), np.ones(2, I64)),
        (np.ones(2), [np.ones(2)]),
        (np.ones(2), None),
    ],
)
def test_what_has_no_elements_in_common_differs_without_bound(a: Any, b: Any) -> None:
    found = difference(a, b)
    assert (found.absolute, found.relative, found.index) == (inf, inf, None)
    assert found.reason
    assert not is_comparable(a, b)


def test_limits_are_of_real_numbers_and_of_all_else() -> None:
    limits = Limits(1e-4)
    assert [limits.of(np.zeros(1, t)) for t in (F16, F32, I64, bool, str)] == [1e-4, 1e-4, 0, 0, 0]
