"""Linear ops, and blocks of two."""

from __future__ import annotations

from typing import Any

from pathlift.ir.graph import Value
from pathlift.testing.growth import Growth, can_double, is_map, step


@step("Gemm", weight=5)
def _gemm(g: Growth, x: Value) -> Value:
    inside, outside, trans_w = g.shape(x)[-1], g.integer(1, min(4, g.room(x))), g.flag()
    bias = g.weights(outside) if g.flag() else None
    return g.op("Gemm", x, g.weights(*([outside, inside] if trans_w else [inside, outside])), bias, trans_w=trans_w)


@step("Einsum", fits=lambda g, x: len(g.shape(x)) <= 2, weight=2)
def _einsum(g: Growth, x: Value) -> Value:
    shape, o = g.shape(x), g.integer(1, min(3, g.room(x)))
    if len(shape) == 1:
        return g.op("Einsum", x, g.weights(o, shape[0]), equation="bi,oi->bo")
    equation, w = g.choice(
        [("bij,oi->boj", (o, shape[0])), ("bij,ijk->bik", (*shape, o)), ("...j,jk->...k", (shape[1], o))]
    )
    return g.op("Einsum", x, g.weights(*w), equation=equation)


def _groups(g: Growth, channels: int) -> int:
    return g.choice([k for k in range(1, channels + 1) if channels % k == 0])


@step("Conv", fits=is_map, weight=8)
def _conv(g: Growth, x: Value) -> Value:
    channels, *sizes = g.shape(x)
    groups = _groups(g, channels)
    out = groups * g.integer(1, max(1, min(4, channels * g.room(x) // 2) // groups))
    kernel, dilations = [g.integer(1, 3) for _ in sizes], [g.integer(1, 2) for _ in sizes]
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    begins = [g.integer(0, min(2, k - 1)) for k in kernel]
    short = [max(0, r - n - b) for r, n, b in zip(reach, sizes, begins, strict=True)]
    ends = [s + g.integer(0, 1 if k > 1 else 0) for s, k in zip(short, kernel, strict=True)]
    w, bias = g.weights(out, channels // groups, *kernel), g.weights(out) if g.flag() else None
    strides = tuple(g.integer(1, 2) for _ in sizes)
    return g.op(
        "Conv", x, w, bias, strides=strides, pads=(*begins, *ends), dilations=tuple(dilations), groups=groups
    )  # fmt: skip


@step("ConvTranspose", fits=lambda g, x: is_map(g, x) and 2 * g.room(x) >= 2 ** len(g.shape(x)), weight=4)
def _conv_transpose(g: Growth, x: Value) -> Value:
    channels, *sizes = g.shape(x)
    groups = _groups(g, channels)
    kernel, strides = [g.integer(1, 2) for _ in sizes], [g.integer(1, 2) for _ in sizes]
    dilations = [g.integer(1, 2) for _ in sizes]
    padding = [g.integer(0, s - 1) for s in strides]  # ONNX Runtime refuses more
    spare = [
        (n - 1) * s + d * (k - 1) + p
        for n, s, d, k, p in zip(sizes, strides, dilations, kernel, padding, strict=True)
    ]  # fmt: skip
    begins = [g.integer(0, min(1, n)) for n in spare]
    ends = [g.integer(0, min(1, n - b)) for n, b in zip(spare, begins, strict=True)]
    out = g.integer(1, 2) if channels <= 2 * groups else 1
    w, bias = g.weights(channels, out, *kernel), g.weights(out * groups) if g.flag() else None
    return g.op(
        "ConvTranspose", x, w, bias, strides=tuple(strides), pads=(*begins, *ends), dilations=tuple(dilations),
        output_padding=tuple(padding), groups=groups,
    )  # fmt: skip


@step("BatchNormalization", weight=3)
def _batch_normalization(g: Growth, x: Value) -> Value:
    c = g.shape(x)[0]
    epsilon = g.choice([2.0**-17, 0.125])  # a file holds them: they are float32
    return g.op(
        "BatchNormalization", x, g.weights(c), g.weights(c), g.weights(c), g.nonzero(c), epsilon=epsilon
    )  # fmt: skip


@step("Add", weight=2)
def _add(g: Growth, x: Value) -> Value:
    if g.flag():
        operands = [x, g.weights(*g.constant_shape(x))]
        return g.op("Add", *(reversed(operands) if g.flag() else operands))
    return g.op("Add", x, g.choice(g.partners(x)))


@step("Sub")
def _sub(g: Growth, x: Value) -> Value:
    if g.flag():
        operands = [x, g.weights(*g.constant_shape(x))]
        return g.op("Sub", *(reversed(operands) if g.flag() else operands))
    return g.op("Sub", x, g.choice(g.partners(x)))


@step("Sum")
def _sum(g: Growth, x: Value) -> Value:
    partners = [u for u in g.partners(x) if g.shape(u) == g.shape(x)]
    return g.op("Sum", x, *(g.choice(partners) for _ in range(g.integer(0, 2))))


@step("Mul")
def _mul(g: Growth, x: Value) -> Value:
    return g.op("Mul", x, g.weights(*g.constant_shape(x)))


@step("Div")
def _div(g: Growth, x: Value) -> Value:
    return g.op("Div", x, g.nonzero(*g.constant_shape(x)))


@step("AveragePool", fits=is_map, weight=3)
def _average_pool(g: Growth, x: Value) -> Value:
    return g.op("AveragePool", x, **g.windows(x), count_include_pad=g.flag())


@step("ReduceMean")
def _reduce_mean(g: Growth, x: Value) -> Value:
    return reduce_some(g, x, "ReduceMean")


@step("ReduceSum")
def _reduce_sum(g: Growth, x: Value) -> Value:
    return reduce_some(g, x, "ReduceSum")


def reduce_some(g: Growth, x: Value, op: str) -> Value:
    """Reduce over some axes, but never down to the batch axis alone."""
    axes = g.axes(x)
    keepdims = len(axes) == len(g.shape(x)) or not g.flag()
    return g.op(op, x, axes=axes, keepdims=keepdims)


@step("Resize", fits=lambda g, x: is_map(g, x) and g.room(x) >= 4, weight=3)
def _resize(g: Growth, x: Value) -> Value:
    sizes = g.shape(x)[1:]
    # What ONNX Runtime implements: linear up to three spatial axes, cubic for exactly two.
    modes = ["nearest", "linear"] + ["cubic"] * (len(sizes) == 2)
    mode = g.choice(modes)
    attrs: dict[str, Any] = {"axes": (2, 3) if mode == "cubic" else (g.integer(2, len(sizes) + 1),), "mode": mode}
    extents = [sizes[a - 2] for a in attrs["axes"]]
    if g.flag():
        attrs["sizes"] = tuple(g.integer(1, 2 * n) for n in extents)
    else:
        attrs["scales"] = tuple(g.choice([2.0, 1.5] + [0.5] * (n > 1)) for n in extents)
    attrs["coordinates"] = g.choice(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
    if mode == "nearest":
        attrs["nearest_mode"] = g.choice(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
    if mode == "cubic":
        attrs |= {"cubic_coeff_a": g.choice([-0.75, -0.5]), "exclude_outside": g.flag()}
    return g.op("Resize", x, **attrs)


def _branches(join: str) -> None:
    """Two layers on one value, and what joins them: a residual block, an inception block."""

    @step("Gemm", join, fits=can_double, weight=2)
    def two_layers(g: Growth, x: Value) -> Value:
        inside, outside = g.shape(x)[-1], g.integer(1, min(4, g.room(x)))
        a, b = (g.op("Gemm", x, g.weights(inside, outside)) for _ in range(2))
        return g.op(join, a, b, **({"axis": -1} if join == "Concat" else {}))


for _name in ("Concat", "Add", "Max"):
    _branches(_name)
