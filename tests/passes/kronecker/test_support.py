"""The smallest pattern around the non-zeros, against all patterns there are."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pathlift.ir.kronecker import Pattern, dense, gather
from pathlift.ir.types import Array
from pathlift.passes.kronecker import support as support_module
from pathlift.passes.kronecker.support import Blocks, diagonal_blocks, divisors, smallest_pattern

EXTENTS = st.sampled_from([1, 1, 2, 2, 3, 4, 5, 6])
PATTERNS = st.builds(Pattern, EXTENTS, EXTENTS, EXTENTS, EXTENTS)


def support(p: Pattern) -> Array:
    return dense(np.ones(p.shape, bool))


def every_pattern(rows: int, cols: int) -> list[Pattern]:
    pairs = itertools.product(range(1, 1 + min(rows, cols)), repeat=2)
    return [
        Pattern(a, rows // (a * d), cols // (a * d), d) for a, d in pairs if rows % (a * d) == 0 and cols % (a * d) == 0
    ]


def covers(p: Pattern, mask: Array) -> bool:
    return not (mask & ~support(p)).any()


def test_rows_that_are_looked_at_later_have_a_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """All non-zeros but the last lie 4 apart from the diagonal; that one does not."""
    monkeypatch.setattr(support_module, "_AT_ONCE", 0)
    mask = support(Pattern(1, 3, 3, 4))
    assert smallest_pattern(mask).d == 4
    mask[-1, 5] = True
    assert covers(smallest_pattern(mask), mask)


@given(p=PATTERNS, seed=st.integers(0, 2**16), density=st.sampled_from([0.0, 0.05, 0.3, 0.7, 1.0]))
def test_the_smallest_of_all(p: Pattern, seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    mask = support(p) & (rng.random((p.rows, p.cols)) < density)
    found = smallest_pattern(mask)
    assert (found.rows, found.cols) == mask.shape
    assert covers(found, mask)
    assert found.size == min(q.size for q in every_pattern(*mask.shape) if covers(q, mask))
    if density == 1:
        assert found.size == p.size


@given(p=PATTERNS, seed=st.integers(0, 2**16))
def test_one_element_outside_is_seen(p: Pattern, seed: int) -> None:
    outside = np.argwhere(~support(p))
    assume(len(outside))
    mask = support(p)
    mask[tuple(outside[seed % len(outside)])] = True
    found = smallest_pattern(mask)
    assert found.size == min(q.size for q in every_pattern(*mask.shape) if covers(q, mask)) > p.size


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ((3, 7, 5, 1), (3, 7, 5, 1)),
        ((1, 7, 5, 3), (1, 7, 5, 3)),
        ((2, 3, 5, 7), (2, 3, 5, 7)),
        ((1, 7, 11, 1), (1, 7, 11, 1)),
        ((1, 1, 1, 6), (6, 1, 1, 1)),  # the diagonal: blocks are preferred
        ((4, 1, 1, 3), (12, 1, 1, 1)),
    ],
)
def test_known_patterns(numbers: tuple[int, ...], found: tuple[int, ...]) -> None:
    assert smallest_pattern(support(Pattern(*numbers))) == found


@pytest.mark.parametrize(("shape", "found"), [((6, 4), (2, 3, 2, 1)), ((7, 5), (1, 7, 5, 1)), ((4, 4), (4, 1, 1, 1))])
def test_zeros_alone(shape: tuple[int, int], found: tuple[int, ...]) -> None:
    assert smallest_pattern(np.zeros(shape, bool)) == found
    blocks = diagonal_blocks(np.zeros(shape, bool))
    assert (None if blocks is None else blocks.pattern) == (None if found[0] == 1 else found)


@pytest.mark.parametrize(
    "numbers", [(1, 256, 256, 16), (64, 64, 64, 1), (4, 64, 64, 16), (4096, 1, 1, 1), (2, 2048, 2048, 1)]
)
def test_large_matrices_take_no_time(numbers: tuple[int, ...]) -> None:
    mask = support(Pattern(*numbers))
    start = time.process_time()
    assert smallest_pattern(mask).size == Pattern(*numbers).size
    assert time.process_time() - start < 5


def shuffled(blocks: list[tuple[int, int]], rows: int, cols: int, rng: np.random.Generator) -> Array:
    mask = np.zeros((rows, cols), bool)
    r = c = 0
    for height, width in blocks:
        mask[r : r + height, c : c + width] = True
        r, c = r + height, c + width
    return mask[rng.permutation(rows)][:, rng.permutation(cols)]


def check(mask: Array, found: Blocks) -> None:
    assert sorted(found.rows) == list(range(mask.shape[0]))
    assert sorted(found.cols) == list(range(mask.shape[1]))
    ordered = mask[found.rows][:, found.cols]
    assert covers(found.pattern, ordered)
    assert gather(ordered, found.pattern).sum() == mask.sum()


@given(p=PATTERNS, seed=st.integers(0, 2**16), density=st.sampled_from([0.05, 0.4, 1.0]))
def test_permuted_patterns_are_blocks(p: Pattern, seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    mask = support(p) & (rng.random((p.rows, p.cols)) < density)
    mask = mask[rng.permutation(p.rows)][:, rng.permutation(p.cols)]
    found = diagonal_blocks(mask)
    if density == 1:
        assert (found is None) == (p.a * p.d == 1)
        assert found is None or found.pattern == (p.a * p.d, p.b, p.c, 1)
    if found is not None:
        check(mask, found)


def test_unequal_components_share_blocks() -> None:
    mask = shuffled([(4, 2), (2, 1), (2, 2), (2, 1)], 12, 6, np.random.default_rng(0))
    found = diagonal_blocks(mask)
    assert found is not None
    assert found.pattern == (3, 4, 2, 1)
    check(mask, found)


def test_zero_rows_and_columns_fill_blocks_up() -> None:
    mask = shuffled([(2, 1), (1, 2)], 6, 6, np.random.default_rng(1))
    found = diagonal_blocks(mask)
    assert found is not None
    assert found.pattern == (3, 2, 2, 1)
    check(mask, found)


def test_connected_matrices_have_no_blocks() -> None:
    assert diagonal_blocks(np.eye(6, dtype=bool) | np.eye(6, k=1, dtype=bool)) is None
    assert diagonal_blocks(np.ones((4, 6), bool)) is None


def test_divisors() -> None:
    assert [divisors(n) for n in (1, 12, 13)] == [[1], [1, 2, 3, 4, 6, 12], [1, 13]]
