"""Ranges of classes: each class in one of them, with all that is claimed of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pathlift.passes.equivalence import factors


def claim(times: Sequence[int], over: Sequence[int]) -> factors.Claims:
    return np.array(times, np.int64), np.array(over, np.int64), np.zeros(len(times))


@pytest.mark.parametrize("at_once", [1, 3, 10, 10**6])
@pytest.mark.parametrize("count", [1, 2, 9])
def test_ranges_are_all_classes_but_the_first_once(count: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factors, "_AT_ONCE", at_once)
    rng = np.random.default_rng(count)
    claims = [claim(*rng.integers(0, count, (2, n))) for n in (0, 5, 40)]
    ranges = list(factors._ranges(claims, count))
    assert [c for low, high in ranges for c in range(low, high)] == list(range(1, count))
    said = np.concatenate([x for times, over, _ in claims for x in (times, over)])
    frequencies = np.bincount(said, minlength=count)
    for low, high in ranges:
        assert high - low <= 1 or frequencies[low:high].sum() <= at_once + frequencies[low:high].max()


def test_without_claims_there_are_no_ranges() -> None:
    assert list(factors._ranges([], 5)) == []
