"""Views, maps and selections against numpy, brute force, and ONNX Runtime."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pathlift.ir.errors import GraphError
from pathlift.ir.primitives import views
from pathlift.ir.primitives.base import LinearMap
from pathlift.ir.primitives.maps import AveragePool, Contract, Conv, ConvTranspose, Reduce
from pathlift.ir.primitives.resample import COORDINATES, Resample
from pathlift.ir.primitives.reshapes import Flatten, Reshape
from pathlift.ir.primitives.selections import Extremum, Sort, WindowMax

RNG = np.random.default_rng(0)
INT = st.integers


def tensor(*shape: int) -> torch.Tensor:
    return torch.from_numpy(RNG.standard_normal(shape))


def check(f, expected, *xs: torch.Tensor) -> None:
    """The result is `expected`, and its shape is what `f` says."""
    got = f(*xs)
    shapes = [tuple(x.shape) for x in xs]
    claimed = f.shape(shapes[0], shapes[1] if len(xs) > 1 else None) if isinstance(f, LinearMap) else f.shape(*shapes)
    assert tuple(got.shape) == tuple(claimed) == tuple(np.shape(expected))
    np.testing.assert_allclose(got.numpy(), np.asarray(expected), rtol=1e-5, atol=1e-5)


def onnx_run(op: str, x: torch.Tensor, *others: np.ndarray, opset: int = 19, **attrs) -> np.ndarray:
    onnxruntime = pytest.importorskip("onnxruntime")
    from onnx import helper, numpy_helper

    names = [f"c{i}" for i in range(len(others))]
    inputs = ["x", *(n if c is not None else "" for n, c in zip(names, others, strict=True))]
    constants = [numpy_helper.from_array(c, n) for n, c in zip(names, others, strict=True) if c is not None]
    graph = helper.make_graph(
        [helper.make_node(op, inputs, ["y"], **attrs)],
        "g",
        [helper.make_tensor_value_info("x", 1, x.shape)],
        [helper.make_empty_tensor_value_info("y")],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x.numpy().astype(np.float32)})[0]


def refused_by_onnxruntime(run):
    try:
        return run()
    except Exception:
        return None


def test_views_against_numpy():
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


def test_slices_are_onnx_runtimes():
    x = tensor(5)
    for start, end, step in itertools.product(ENDS[::2], ENDS, (1, 2, -1, -2, 7, -7)):
        expected = onnx_run("Slice", x, *(np.array([v]) for v in (start, end, 0, step)), opset=13)
        check(views.Slice((0,), (start,), (end,), (step,)), expected, x)


def test_contractions():
    x, w = tensor(2, 3, 4), tensor(4, 5)
    check(Contract("...i,io->...o"), x.numpy() @ w.numpy(), x, w)
    check(Contract("...i,oi->...o"), x.numpy() @ w.numpy(), x, w.T)
    check(Contract("bij,kj->bik"), x.numpy() @ w.numpy(), x, w.T)
    check(Contract("...i,oi->o..."), np.einsum("abi,io->oab", x, w), x, w.T)


WINDOW = st.tuples(INT(1, 9), INT(1, 3), INT(1, 3), INT(0, 2), INT(0, 2), INT(1, 2))


@given(WINDOW, st.booleans(), st.booleans())
@settings(deadline=None, max_examples=80)
def test_pools_are_onnx_runtimes(window, ceil_mode, include):
    size, k, s, begin, end, d = window
    assume(d * (k - 1) < size + begin + end)  # ONNX Runtime makes something of a window that does not fit
    x = tensor(1, 2, size, 4)
    attrs = {"kernel_shape": [k, 2], "strides": [s, 1], "pads": [begin, 0, end, 1], "dilations": [d, 1]}
    common = ((k, 2), (s, 1), (begin, 0, end, 1), (d, 1), ceil_mode)
    for op, f in (("AveragePool", AveragePool(*common, include)), ("MaxPool", WindowMax(*common))):
        extra = {"count_include_pad": int(include)} if op == "AveragePool" else {}
        expected = refused_by_onnxruntime(lambda: onnx_run(op, x, ceil_mode=int(ceil_mode), **attrs, **extra))  # noqa: B023
        if expected is None or not expected.size:
            continue
        if expected.min() > -1e30:  # a window of nothing but padding
            check(f, expected, x)


@given(WINDOW, INT(0, 2), st.sampled_from([1, 2]))
@settings(deadline=None, max_examples=80)
def test_convolutions_are_onnx_runtimes(window, output_padding, groups):
    size, k, s, begin, end, d = window
    x, w, t = tensor(2, 2, size, 4), tensor(4, 2 // groups, k, 2), tensor(2, 3, k, 2)
    attrs = {"strides": [s, 1], "pads": [begin, 0, end, 1], "dilations": [d, 1], "group": groups}
    common, extra = ((s, 1), (begin, 0, end, 1), (d, 1)), [output_padding, 0]
    runs = [
        (Conv(*common, groups), w, lambda: onnx_run("Conv", x, w.numpy().astype(np.float32), **attrs)),
        (ConvTranspose(*common, (output_padding, 0), groups), t,
         lambda: onnx_run("ConvTranspose", x, t.numpy().astype(np.float32), output_padding=extra, **attrs)),
    ]  # fmt: skip
    for f, weights, run in runs:
        expected = refused_by_onnxruntime(run)
        if expected is not None and expected.size:
            np.testing.assert_allclose(f(x, weights).numpy(), expected, rtol=1e-4, atol=1e-4)
            assert f.shape(tuple(x.shape), tuple(weights.shape)) == expected.shape


MODES = [("nearest", m) for m in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")]


@pytest.mark.parametrize("coordinates", [c for c in COORDINATES if c != "half_pixel_symmetric"])
@pytest.mark.parametrize(("mode", "nearest"), [*MODES, ("linear", "floor"), ("cubic", "floor")])
def test_resizing_is_onnx_runtimes(coordinates, mode, nearest):
    for n, exclude in itertools.product((1, 3, 10), (False, True) if mode == "cubic" else (False,)):
        x = tensor(1, 1, 1, n)
        attrs = {"mode": mode, "nearest_mode": nearest, "coordinate_transformation_mode": coordinates}
        for sizes, scales in [*(((m,), ()) for m in (1, 2, 5, 8)), *(((), (s,)) for s in (0.5, 0.7, 1.1, 1.6, 3.0))]:
            if n * max(scales, default=1.0) < 1:
                continue
            roi, none = np.zeros(0, np.float32), np.zeros(0, np.float32)
            given_scales = np.array([1, 1, 1, *scales], np.float32) if scales else none
            others = [roi, given_scales, *([np.array([1, 1, 1, *sizes])] if sizes else [])]
            expected = onnx_run("Resize", x, *others, exclude_outside=int(exclude), **attrs)
            exact = tuple(float(np.float32(s)) for s in scales)
            check(Resample((3,), exact, sizes, mode, coordinates, nearest, -0.75, exclude), expected, x)


def test_maps_without_weights_are_linear():
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


def test_taps_say_what_convolutions_read():
    x, w = tensor(1, 2, 9), tensor(2, 2, 3)
    for f in (Conv((2,), (1, 2), (2,)), ConvTranspose((2,), (1, 0), (2,), (1,))):
        taps = f.taps(0, 9, 3)
        read = torch.cat([x, torch.zeros(1, 2, 1)], 2)[:, :, torch.from_numpy(taps)]  # −1 is the zero
        equation = "bcok,dck->bdo" if isinstance(f, Conv) else "bcok,cdk->bdo"
        torch.testing.assert_close(torch.einsum(equation, read, w), f(x, w))


def test_order_statistics_against_numpy():
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


def test_unknown_resizing_is_refused_before_it_runs():
    with pytest.raises(GraphError, match="PL0532"):
        Resample((0,), (), (2,), mode="quadratic").shape((3,), None)


@pytest.mark.parametrize(("axes", "shape"), [((2,), (1, 1, 0)), ((-1,), (1, 1, 0)), ((3,), (1, 1, 4))])
def test_an_axis_that_has_no_elements_or_does_not_exist_is_not_resized(axes, shape):
    with pytest.raises(GraphError, match=r"PL0532|PL0536"):
        Resample(axes, (), (8,)).shape(shape, None)


@pytest.mark.parametrize("pads", [(-4, 0), (-4, 5), (0, -4), (-2, -2)])
def test_no_more_is_cropped_than_there_is(pads):
    with pytest.raises(GraphError, match=r"PL0527 .*crop more than there is"):
        views.Pad(pads).shape((3,))


def test_all_there_is_may_be_cropped():
    for pads in ((-3, 2), (-1, -2), (2, -3)):
        check(views.Pad(pads, 7.0), np.full(3 + sum(pads), 7.0), tensor(3))
