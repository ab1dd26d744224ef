"""Linear ops, edge by edge."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numpy as np

from pathlift.ir.ops.normalization import EPSILON
from pathlift.ir.types import Array, Ints
from pathlift.testing.unroll.net import Net, Signal
from pathlift.testing.unroll.windows import window_counts, windows_of


def _biased(net: Net, y: Signal, b: Signal | None, axis: int) -> Signal:
    if b is not None:
        values = net.weights(b)
        for i in np.ndindex(*y.shape):
            net.graph.add_edge(net.ONE, int(y.ids[i]), weight=values[i[axis] if values.size > 1 else 0])
    return y


def _gemm(net: Net, x: Signal, w: Signal, b: Signal | None = None, *, trans_w: bool = False) -> Signal:
    weights = net.weights(w).T if trans_w else net.weights(w)
    y = net.create((*x.shape[:-1], weights.shape[1]))
    for *lead, o in np.ndindex(*y.shape):
        for i in range(weights.shape[0]):
            net.edge(x, (*lead, i), y, (*lead, o), weights[i, o])
    return _biased(net, y, b, -1)


def _einsum(net: Net, x: Signal, w: Signal, *, equation: str) -> Signal:
    weights, spare = net.weights(w), "ABCDEFGH"
    operands, out = equation.replace(" ", "").split("->")
    xs, ws = operands.split(",")
    lead = spare[: len(x.shape) - len(xs.replace("...", ""))]
    xs, out = xs.replace("...", lead), out.replace("...", lead)
    extent = dict(zip(xs, x.shape, strict=True)) | dict(zip(ws, weights.shape, strict=True))
    y = net.create(tuple(extent[c] for c in out))
    letters = list(extent)
    for point in np.ndindex(*extent.values()):
        at = dict(zip(letters, point, strict=True))
        i, j, k = (tuple(at[c] for c in term) for term in (xs, ws, out))
        net.edge(x, i, y, k, weights[j])
    return y


def _conv(
    net: Net,
    x: Signal,
    w: Signal,
    b: Signal | None = None,
    *,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    groups: int = 1,
) -> Signal:
    weights, n = net.weights(w), len(strides)
    kernel = weights.shape[2:]
    sizes = window_counts(x.shape[2:], kernel, strides, pads, dilations, ceil_mode=False)
    y = net.create((x.shape[0], weights.shape[0], *sizes))
    per_group = weights.shape[0] // groups
    for batch, o, *place in np.ndindex(*y.shape):
        for c, *tap in np.ndindex(*weights.shape[1:]):
            at = [place[d] * strides[d] - pads[d] + tap[d] * dilations[d] for d in range(n)]
            if all(0 <= at[d] < x.shape[d + 2] for d in range(n)):
                source = (batch, o // per_group * weights.shape[1] + c, *at)
                net.edge(x, source, y, (batch, o, *place), weights[(o, c, *tap)])
    return _biased(net, y, b, 1)


def _conv_transpose(
    net: Net, x: Signal, w: Signal, b: Signal | None = None,
    *, strides: Ints, pads: Ints, dilations: Ints, output_padding: Ints, groups: int = 1,
) -> Signal:  # fmt: skip
    weights, n = net.weights(w), len(strides)
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, weights.shape[2:], strict=True)]
    full = [(x.shape[d + 2] - 1) * strides[d] + reach[d] + output_padding[d] for d in range(n)]
    sizes = [full[d] - pads[d] - pads[d + n] for d in range(n)]
    y = net.create((x.shape[0], weights.shape[1] * groups, *sizes))
    per_group = x.shape[1] // groups
    for batch, c, *place in np.ndindex(*x.shape):
        for o, *tap in np.ndindex(*weights.shape[1:]):
            at = [place[d] * strides[d] + tap[d] * dilations[d] - pads[d] for d in range(n)]
            if all(0 <= at[d] < sizes[d] for d in range(n)):
                target = (batch, c // per_group * weights.shape[1] + o, *at)
                net.edge(x, (batch, c, *place), y, target, weights[(c, o, *tap)])
    return _biased(net, y, b, 1)


def _batch_normalization(
    net: Net,
    x: Signal,
    gamma: Signal,
    beta: Signal,
    mean: Signal,
    var: Signal,
    *,
    epsilon: float = EPSILON,
) -> Signal:
    s = net.weights(gamma) / (net.weights(var) + epsilon) ** 0.5
    column = (-1, *[1] * (len(x.shape) - 2))
    shift = net.constant((net.weights(beta) - s * net.weights(mean)).reshape(column))
    return net.total(Signal(x.ids, x.coef * s.reshape(column)), shift)


def _scaled(net: Net, x: Signal, c: Array | float) -> Signal:
    shape = np.broadcast_shapes(x.shape, np.shape(c))
    return Signal(np.broadcast_to(x.ids, shape), x.coef * c)


def _average_pool(net: Net, x: Signal, *, kernel: Ints, count_include_pad: bool = False, **window: Any) -> Signal:
    spatial = x.shape[2:]
    y = net.create((*x.shape[:2], *window_counts(spatial, kernel, **({"ceil_mode": False} | window))))
    for place, inside, padded in windows_of(spatial, kernel, **window):
        for lead, at in product(np.ndindex(*x.shape[:2]), inside):
            share = net.number(1.0) / (padded if count_include_pad else len(inside))
            net.edge(x, (*lead, *at), y, (*lead, *place), share)
    return y


def reduced(net: Net, x: Signal, axes: Ints, keepdims: bool, kind: str = "identity", mean: bool = False) -> Signal:
    """New neurons that sum (average, pool) over `axes`; over all, if empty."""
    gone = {a % len(x.shape) for a in axes} or set(range(len(x.shape)))
    y = net.create(tuple(1 if d in gone else n for d, n in enumerate(x.shape)), kind)
    share = net.number(1.0) / prod(x.shape[d] for d in gone) if mean else 1.0
    for i in np.ndindex(*x.shape):
        net.edge(x, i, y, tuple(0 if d in gone else p for d, p in enumerate(i)), share)
    return y if keepdims else y.view(lambda a: np.squeeze(a, tuple(gone)))


def _resize(net: Net, x: Signal, **attrs: Any) -> Signal:
    session = _resize_session(x.shape, **attrs)
    impulses = np.eye(x.ids.size, dtype=np.float32).reshape(-1, *x.shape)
    responses = [session.run(None, {"x": impulse})[0].astype(np.float64) for impulse in impulses]
    y = net.create(responses[0].shape)
    for i, response in zip(np.ndindex(*x.shape), responses, strict=True):
        for j in np.argwhere(np.abs(response) > 1e-6).tolist():  # less is single-precision noise about 0
            net.edge(x, i, y, tuple(j), net.number(response[tuple(j)]))
    return y


def _resize_session(
    shape: Ints,
    *,
    axes: Ints,
    scales: tuple[float, ...] = (),
    sizes: Ints = (),
    mode: str = "nearest",
    coordinates: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    cubic_coeff_a: float = -0.75,
    exclude_outside: bool = False,
) -> Any:
    """Return an ONNX Runtime session that resizes an array ``x`` of this shape."""
    import onnxruntime
    from onnx import TensorProto, helper

    rank = len(shape)
    full: list[float] = list(shape) if sizes else [1.0] * rank
    for axis, extent in zip(axes, sizes or scales, strict=True):
        full[axis] = extent
    node = helper.make_node(
        "Resize", ["x", "", "", "e"] if sizes else ["x", "", "e"], ["y"], mode=mode,
        coordinate_transformation_mode=coordinates, nearest_mode=nearest_mode, cubic_coeff_a=cubic_coeff_a,
        exclude_outside=int(exclude_outside),
    )  # fmt: skip
    extents = helper.make_tensor("e", TensorProto.INT64 if sizes else TensorProto.FLOAT, [rank], full)
    io = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank) for name in "xy"]
    graph = helper.make_graph([node], "resize", io[:1], io[1:], [extents])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


RULES: dict[str, Callable[..., Any]] = {
    "Gemm": _gemm,
    "Einsum": _einsum,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "BatchNormalization": _batch_normalization,
    "Add": Net.total,
    "Sum": Net.total,
    "Sub": lambda net, x, y: net.total(x, _scaled(net, y, -1.0)),
    "Neg": lambda net, x: _scaled(net, x, -1.0),
    "Mul": lambda net, x, c: _scaled(net, x, net.weights(c)),
    "Div": lambda net, x, c: _scaled(net, x, 1 / net.weights(c)),
    "AveragePool": _average_pool,
    "ReduceMean": lambda net, x, *, axes=(), keepdims=True: reduced(net, x, axes, keepdims, mean=True),
    "ReduceSum": lambda net, x, *, axes=(), keepdims=True: reduced(net, x, axes, keepdims),
    "Resize": _resize,
}
