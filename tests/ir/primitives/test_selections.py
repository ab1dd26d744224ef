"""Order statistics and pools against numpy and ONNX Runtime."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pathlift.ir.primitives.maps import AveragePool
from pathlift.ir.primitives.selections import Extremum, Sort, WindowMax

INT = st.integers


WINDOW = st.tuples(INT(1, 9), INT(1, 3), INT(1, 3), INT(0, 2), INT(0, 2), INT(1, 2))


@given(WINDOW, st.booleans(), st.booleans())
@settings(deadline=None, max_examples=80)
def test_pools_are_onnx_runtimes(check, onnx_run, tensor, window, ceil_mode, include):
    size, k, s, begin, end, d = window
    assume(d * (k - 1) < size + begin + end)  # ONNX Runtime makes something of a window that does not fit
    x = tensor(1, 2, size, 4)
    attrs = {"kernel_shape": [k, 2], "strides": [s, 1], "pads": [begin, 0, end, 1], "dilations": [d, 1]}
    common = ((k, 2), (s, 1), (begin, 0, end, 1), (d, 1), ceil_mode)
    for op, f in (("AveragePool", AveragePool(*common, include)), ("MaxPool", WindowMax(*common))):
        extra = {"count_include_pad": int(include)} if op == "AveragePool" else {}
        expected = onnx_run(op, x, ceil_mode=int(ceil_mode), **attrs, **extra)
        if expected is None or not expected.size:
            continue
        if expected.min() > -1e30:  # a window of nothing but padding
            check(f, expected, x)


def test_order_statistics_against_numpy(check, tensor):
    x = tensor(2, 5, 3)
    n = x.numpy()
    check(Sort(1, 2), -np.sort(-n, 1)[:, :2], x)
    check(Sort(-2, 3, largest=False), np.sort(n, 1)[:, :3], x)
    check(Extremum((0, -1), keepdims=True), n.max((0, 2), keepdims=True), x)
    check(Extremum((), keepdims=False, largest=False), n.min(), x)
    assert Sort(1, 2).pools(1, 5).tolist() == [[0, 1, 2, 3, 4]] * 2
    assert Extremum((1,), True).pools(1, 5).tolist() == [[0, 1, 2, 3, 4]]


def test_pools_of_windows_leave_padding_out():
    x = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    f = WindowMax((3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    assert f.pools(2, 4).tolist() == [[-1, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, -1]]
    assert f(-x).max() == -1, "padding is never selected"
