"""Views against numpy and ONNX Runtime."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pathlift.ir.errors import GraphError
from pathlift.ir.primitives import views
from pathlift.ir.primitives.reshapes import Flatten, Reshape


def test_views_against_numpy(check, tensor):
    x = tensor(2, 3, 4)
    n = x.numpy()
    check(Reshape((0, -1)), n.reshape(2, 12), x)
    check(views.Transpose((2, 0, 1)), n.transpose(2, 0, 1), x)
    check(views.Unsqueeze((0, -1)), n[None, ..., None], x)
    check(views.Squeeze((0, -1)), n, x[None, ..., None])
    check(views.Take(-1, (3, 0, 0)), n[..., [3, 0, 0]], x)
    check(views.Concat(-2), np.concatenate([n, n[:, :1]], 1), x, x[:, :1])
    check(views.Stack(), np.stack(np.broadcast_arrays(n, n[0, :1])), x, x[0, :1])
    check(views.Pad((0, 1, -1, 2, 0, 0), 7.0), np.pad(n, ((0, 2), (1, 0), (0, 0)), constant_values=7)[..., 1:], x)
    check(views.Expand((5, 1, 1, 4)), np.broadcast_to(n, (5, 2, 3, 4)), x)
    check(views.Tile((2, 1, 3)), np.tile(n, (2, 1, 3)), x)
    for axis in range(-3, 4):
        check(Flatten(axis), n.reshape(int(np.prod(n.shape[: axis % 3 if axis < 0 else axis])), -1), x)
    for part, expected in zip(views.split_slices(1, (2, 1)), np.split(n, [2], 1), strict=True):
        check(part, expected, x)
    assert views.split_slices(0, (1, 2))[0].shape(("N",)) == (1,)


ENDS = (-100, -6, -5, -2, 0, 1, 4, 5, 100, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63))


def test_slices_are_onnx_runtimes(check, onnx_run, tensor):
    x = tensor(5)
    for start, end, step in itertools.product(ENDS[::2], ENDS, (1, 2, -1, -2, 7, -7)):
        expected = onnx_run("Slice", x, *(np.array([v]) for v in (start, end, 0, step)), opset=13)
        check(views.Slice((0,), (start,), (end,), (step,)), expected, x)


@pytest.mark.parametrize("pads", [(-4, 0), (-4, 5), (0, -4), (-2, -2)])
def test_no_more_is_cropped_than_there_is(pads):
    with pytest.raises(GraphError, match=r"PL0527 .*crop more than there is"):
        views.Pad(pads).shape((3,))


def test_all_there_is_may_be_cropped(check, tensor):
    for pads in ((-3, 2), (-1, -2), (2, -3)):
        check(views.Pad(pads, 7.0), np.full(3 + sum(pads), 7.0), tensor(3))
