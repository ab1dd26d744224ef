"""Linear maps against numpy and ONNX Runtime."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.ir.primitives.maps import AveragePool, Contract, Conv, ConvTranspose, Reduce
from pathlift.ir.primitives.resample import Resample

INT = st.integers


def test_contractions(check, tensor):
    x, w = tensor(2, 3, 4), tensor(4, 5)
    check(Contract("...i,io->...o"), x.numpy() @ w.numpy(), x, w)
    check(Contract("...i,oi->...o"), x.numpy() @ w.numpy(), x, w.T)
    check(Contract("bij,kj->bik"), x.numpy() @ w.numpy(), x, w.T)
    check(Contract("...i,oi->o..."), np.einsum("abi,io->oab", x, w), x, w.T)


WINDOW = st.tuples(INT(1, 9), INT(1, 3), INT(1, 3), INT(0, 2), INT(0, 2), INT(1, 2))


@given(WINDOW, INT(0, 2), st.sampled_from([1, 2]))
@settings(deadline=None, max_examples=80)
def test_convolutions_are_onnx_runtimes(onnx_run, tensor, window, output_padding, groups):
    size, k, s, begin, end, d = window
    x, w, t = tensor(2, 2, size, 4), tensor(4, 2 // groups, k, 2), tensor(2, 3, k, 2)
    attrs = {"strides": [s, 1], "pads": [begin, 0, end, 1], "dilations": [d, 1], "group": groups}
    common, extra = ((s, 1), (begin, 0, end, 1), (d, 1)), [output_padding, 0]
    runs = [
        (Conv(*common, groups), w, onnx_run("Conv", x, w.numpy().astype(np.float32), **attrs)),
        (ConvTranspose(*common, (output_padding, 0), groups), t,
         onnx_run("ConvTranspose", x, t.numpy().astype(np.float32), output_padding=extra, **attrs)),
    ]  # fmt: skip
    for f, weights, expected in runs:
        if expected is not None and expected.size:
            np.testing.assert_allclose(f(x, weights).numpy(), expected, rtol=1e-4, atol=1e-4)
            assert f.shape(tuple(x.shape), tuple(weights.shape)) == expected.shape


def test_maps_without_weights_are_linear(tensor):
    maps = [
        AveragePool((2, 3), (2, 1), (1, 1, 0, 1), (1, 1), ceil_mode=True, count_include_pad=True),
        AveragePool((2, 3), (2, 1), (1, 1, 0, 1), (1, 1)),
        Reduce((2, -1), keepdims=False, mean=True),
        Resample((2, 3), (1.5, 0.6), (), "cubic", "half_pixel"),
        Resample((2, 3), (), (7, 3), "linear", "align_corners"),
    ]
    basis = torch.eye(20, dtype=torch.float64).reshape(20, 1, 4, 5)
    x = tensor(3, 1, 4, 5)
    for f in maps:
        torch.testing.assert_close(f(x).flatten(1), x.flatten(1) @ f(basis).flatten(1))


def test_taps_say_what_convolutions_read(tensor):
    x, w = tensor(1, 2, 9), tensor(2, 2, 3)
    for f in (Conv((2,), (1, 2), (2,)), ConvTranspose((2,), (1, 0), (2,), (1,))):
        taps = f.taps(0, 9, 3)
        read = torch.cat([x, torch.zeros(1, 2, 1)], 2)[:, :, torch.from_numpy(taps)]  # −1 is the zero
        equation = "bcok,dck->bdo" if isinstance(f, Conv) else "bcok,cdk->bdo"
        torch.testing.assert_close(torch.einsum(equation, read, w), f(x, w))
