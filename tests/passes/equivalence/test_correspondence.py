"""Elements that have moved: some rows of them are those of all of them, and no others are read."""

from __future__ import annotations

import numpy as np
import pytest

from pathlift.ir.types import Param
from pathlift.passes.equivalence.correspondence import _moving, _rearrangement
from pathlift.passes.equivalence.network import Weights

GROUPS, WIDE, READ = 3, 2, 2


def grouped() -> tuple[Weights, np.ndarray]:
    """A convolution of three groups, and a permutation of its neurons: of groups, and within each of them."""
    rng = np.random.default_rng(0)
    times = np.arange(GROUPS * WIDE).reshape(-1, 1, 1)
    over = 6 + np.repeat(np.arange(GROUPS * READ).reshape(GROUPS, READ), WIDE, axis=0)[:, :, None]
    order = rng.permutation(GROUPS)
    image = np.concatenate([
        [WIDE * order[g] + i for g in range(GROUPS) for i in rng.permutation(WIDE)],
        [6 + READ * order[g] + i for g in range(GROUPS) for i in rng.permutation(READ)],
    ])  # fmt: skip
    return Weights("w", times, over), image


def test_rows_of_a_grouped_convolution() -> None:
    w, image = grouped()
    assert w.over is not None
    values = np.random.default_rng(1).standard_normal((GROUPS * WIDE, READ, 5))
    where = {(int(t), int(o)): (i, j) for i, t in enumerate(w.times.flat) for j, o in enumerate(w.over[i].flat)}
    expected = np.empty_like(values)
    for (t, o), place in where.items():
        expected[place] = values[where[int(image[t]), int(image[o])]]
    asked: list[int] = []

    def part(rows: object) -> np.ndarray:
        asked.extend(np.arange(len(values))[rows].tolist())  # type: ignore[index]  # whatever rows may be
        return values[rows]  # type: ignore[index]  # the same

    change = _rearrangement(w, image)
    assert change is not None
    moved = change(Param.by_rows(values.dtype, values.shape, part))
    np.testing.assert_array_equal(moved.numpy(), expected)
    for start in range(len(values)):
        asked.clear()
        np.testing.assert_array_equal(moved.rows(slice(start, start + 1)), expected[start : start + 1])
        assert len(asked) == 1


def test_a_group_cannot_be_torn_apart() -> None:
    w, image = grouped()
    image[[0, 2]] = image[[2, 0]]  # neurons of different groups
    assert _rearrangement(w, image) is None


@pytest.mark.parametrize("rows", [slice(1, 3), slice(0, 4), np.array([3, 0])], ids=str)
def test_moves_along_several_axes(rows: slice) -> None:
    values = np.random.default_rng(2).standard_normal((4, 3, 5))
    first, second = np.array([2, 0, 3, 1]), np.array([1, 2, 0])
    moved = _moving([((4, 1, 1), first), ((3, 1), second)])(Param.of(values))
    np.testing.assert_array_equal(moved.rows(rows), values[first][:, second][rows])
