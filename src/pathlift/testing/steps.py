"""One way to grow a random graph per op; the simplest choice of each comes first, so that examples shrink well."""

from __future__ import annotations

from math import inf, prod
from typing import Any

from pathlift.ir.graph import Value
from pathlift.ir.types import DTYPES, TensorType
from pathlift.testing.growth import Growth, can_double, is_map, step

# gates ----------------------------------------------------------------------------------------------------------------


@step("Relu")
def _relu(g: Growth, x: Value) -> Value:
    return g.op("Relu", x)


@step("LeakyRelu")
def _leaky_relu(g: Growth, x: Value) -> Value:
    return g.op("LeakyRelu", x, alpha=g.choice([0.25, -0.5, 2.0, -1.5, 0.0]))


@step("PRelu")
def _prelu(g: Growth, x: Value) -> Value:
    shape = g.shape(x)
    column = (shape[0], *[1] * (len(shape) - 1))
    slopes = g.choice([(1,), column, shape])
    return g.op("PRelu", x, g.param(g.rng.integers(-8, 9, slopes) / 4))


@step("Abs")
def _abs(g: Growth, x: Value) -> Value:
    return g.op("Abs", x)


@step("Clip")
def _clip_at_zero(g: Growth, x: Value) -> Value:
    return g.op("Clip", x, **g.choice([{"low": 0.0, "high": inf}, {"low": -inf, "high": 0.0}]))


@step("Clip", exact=False)
def _clip(g: Growth, x: Value) -> Value:
    low, high = g.choice([(0.0, 6.0), (-1.0, 1.0), (0.5, 2.0), (-2.0, inf)])
    return g.op("Clip", x, low=low, high=high)


@step("HardSigmoid", exact=False)
def _hard_sigmoid(g: Growth, x: Value) -> Value:
    return g.op("HardSigmoid", x, alpha=g.choice([0.25, -0.5]), beta=g.choice([0.5, 0.0]))


@step("Elu", exact=False)
def _elu(g: Growth, x: Value) -> Value:
    return g.op("Elu", x, alpha=g.choice([1.0, 2.0]))


@step("Gelu", exact=False)
def _gelu(g: Growth, x: Value) -> Value:
    return g.op("Gelu", x, tanh=g.flag())


def _smooth(name: str) -> None:
    step(name, exact=False)(lambda g, x: g.op(name, x))


for _name in ("Tanh", "Sigmoid", "Softsign", "Softplus", "Erf", "HardSwish"):
    _smooth(_name)


@step("FakeQuantize", exact=False)
def _fake_quantize(g: Growth, x: Value) -> Value:
    # Close to √2/10: no fraction lies on a rounding boundary.
    return g.op("FakeQuantize", x, scale=0.1414213627576828, zero_point=3, dtype="u8", low=0, high=255)


# linear ---------------------------------------------------------------------------------------------------------------


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
    epsilon = g.choice([1e-5, 0.125])
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


@step("Neg")
def _neg(g: Growth, x: Value) -> Value:
    return g.op("Neg", x)


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
    return _reduce(g, x, "ReduceMean")


@step("ReduceSum")
def _reduce_sum(g: Growth, x: Value) -> Value:
    return _reduce(g, x, "ReduceSum")


def _reduce(g: Growth, x: Value, op: str) -> Value:
    axes = g.axes(x)
    keepdims = len(axes) == len(g.shape(x)) or not g.flag()  # never down to the batch axis alone
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


# order statistics -----------------------------------------------------------------------------------------------------


@step("MaxPool", fits=is_map, weight=3)
def _max_pool(g: Growth, x: Value) -> Value:
    return g.op("MaxPool", x, **g.windows(x))


@step("ReduceMax")
def _reduce_max(g: Growth, x: Value) -> Value:
    return _reduce(g, x, "ReduceMax")


@step("ReduceMin")
def _reduce_min(g: Growth, x: Value) -> Value:
    return _reduce(g, x, "ReduceMin")


@step("Max")
def _max(g: Growth, x: Value) -> Value:
    return _extremum(g, x, "Max")


@step("Min")
def _min(g: Growth, x: Value) -> Value:
    return _extremum(g, x, "Min")


def _extremum(g: Growth, x: Value, op: str) -> Value:
    other = g.weights(*g.constant_shape(x)) if g.flag() else g.choice(g.partners(x))
    return g.op(op, x, other)


@step("TopK")
def _top_k(g: Growth, x: Value) -> Value:
    axis = g.axis(x)
    return g.op("TopK", x, axis=axis, k=g.integer(1, g.shape(x)[axis - 1]), largest=not g.flag())


@step("Reshape", "TopK")
def _group_sort(g: Growth, x: Value) -> Value:
    shape = g.shape(x)
    size = g.choice([k for k in range(shape[0], 0, -1) if shape[0] % k == 0])
    grouped = g.op("Reshape", x, shape=(0, shape[0] // size, size, *shape[1:]))
    return g.op("Reshape", g.op("TopK", grouped, axis=2, k=size), shape=(0, *shape))


@step("Split", "Max", "Min", "Concat", fits=lambda g, x: g.shape(x)[0] % 2 == 0)
def _max_min(g: Growth, x: Value) -> Value:
    half = g.shape(x)[0] // 2
    a, b = g.b.node("Split", x, names=[g.b.fresh("split"), g.b.fresh("rest")], axis=1, parts=(half, half))
    return g.op("Concat", g.op("Max", a, b), g.op("Min", a, b), axis=1)


# structure ------------------------------------------------------------------------------------------------------------


@step("Identity")
def _identity(g: Growth, x: Value) -> Value:
    return g.op("Identity", x)


@step("Cast")
def _cast(g: Growth, x: Value) -> Value:
    return g.op("Cast", g.op("Cast", x, to="f64"), to="f32")


@step("Flatten")
def _flatten(g: Growth, x: Value) -> Value:
    return g.op("Flatten", x)


@step("Reshape")
def _reshape(g: Growth, x: Value) -> Value:
    n = prod(g.shape(x))
    first = g.choice([k for k in range(1, n + 1) if n % k == 0])
    return g.op("Reshape", x, shape=g.choice([(0, first, -1), (-1, n), (0, first, 1, n // first)]))


@step("Transpose")
def _transpose(g: Growth, x: Value) -> Value:
    axes = list(range(1, len(g.shape(x)) + 1))
    perm = [axes.pop(g.integer(0, len(axes) - 1)) for _ in range(len(axes))]
    return g.op("Transpose", x, perm=(0, *perm))


@step("Squeeze", fits=lambda g, x: len(g.shape(x)) > 1 and 1 in g.shape(x))
def _squeeze(g: Growth, x: Value) -> Value:
    shape = g.shape(x)
    axis = g.choice([i + 1 for i, n in enumerate(shape) if n == 1])
    return g.op("Squeeze", x, axes=(axis - g.choice([0, len(shape) + 1]),))


@step("Unsqueeze", fits=lambda g, x: len(g.shape(x)) <= 3)
def _unsqueeze(g: Growth, x: Value) -> Value:
    return g.op("Unsqueeze", x, axes=(g.choice([-1, *range(1, len(g.shape(x)) + 1)]),))


@step("Slice")
def _slice(g: Growth, x: Value) -> Value:
    axis = g.axis(x)
    n = g.shape(x)[axis - 1]
    if g.flag():
        start, end, steps = g.choice([-1, n - 1]), -(2**31), -g.integer(1, 2)
    else:
        start = g.integer(0, n - 1)
        end, steps = g.choice([2**31 - 1, start + 1]), g.integer(1, 2)
    return g.op("Slice", x, axes=(axis,), starts=(start,), ends=(end,), steps=(steps,))


@step("Gather")
def _gather(g: Growth, x: Value) -> Value:
    axis = g.axis(x)
    n = g.shape(x)[axis - 1]
    return g.op("Gather", x, axis=axis, indices=tuple(g.integer(0, n - 1) for _ in range(g.integer(1, n))))


@step("Split", fits=lambda g, x: max(g.shape(x)) > 1)
def _split(g: Growth, x: Value) -> tuple[Value, ...]:
    axis = g.choice([i + 1 for i, n in enumerate(g.shape(x)) if n > 1])
    n = g.shape(x)[axis - 1]
    first = g.integer(1, n - 1)
    return g.b.node("Split", x, names=[g.b.fresh("split"), g.b.fresh("rest")], axis=axis, parts=(first, n - first))


@step("Concat", fits=can_double, weight=2)
def _concat(g: Growth, x: Value) -> Value:
    axis, shape = g.axis(x), g.shape(x)
    rest = [*shape[: axis - 1], *shape[axis:]]
    partners = [
        u for u in reversed(g.live)
        if len(s := g.shape(u)) == len(shape)
        and [*s[: axis - 1], *s[axis:]] == rest
        and prod(s) + prod(shape) <= g.capacity
    ]  # fmt: skip
    return g.op("Concat", x, g.choice([*partners, x] if x not in partners else partners), axis=axis)


@step("Pad", fits=can_double)
def _pad(g: Growth, x: Value) -> Value:
    shape, axis = g.shape(x), g.axis(x)
    pads = [0] * (2 * len(shape) + 2)
    grow = 1 if 2 * shape[axis - 1] >= g.capacity else 2
    pads[axis] = g.integer(-1 if shape[axis - 1] > 1 else 0, 1)
    pads[axis + len(shape) + 1] = g.integer(0, 1 if shape[axis - 1] * (grow - 1) else 0)
    return g.op("Pad", x, pads=tuple(pads), value=g.choice([0.0, -0.5]))


@step("Expand", fits=lambda g, x: can_double(g, x) and 1 in g.shape(x))
def _expand(g: Growth, x: Value) -> Value:
    shape = g.shape(x)
    axis = g.choice([i for i, n in enumerate(shape) if n == 1])
    return g.op("Expand", x, shape=(*[1] * (axis + 1), 2, *[1] * (len(shape) - axis - 1)))


@step("Tile", fits=can_double)
def _tile(g: Growth, x: Value) -> Value:
    axis = g.axis(x)
    return g.op("Tile", x, repeats=tuple(2 if i == axis else 1 for i in range(len(g.shape(x)) + 1)))


# beyond piecewise linear ----------------------------------------------------------------------------------------------


@step("Softmax", exact=False)
def _softmax(g: Growth, x: Value) -> Value:
    return g.op("Softmax", x, axis=g.axis(x))


@step("LogSoftmax", exact=False)
def _log_softmax(g: Growth, x: Value) -> Value:
    return g.op("LogSoftmax", x, axis=g.axis(x))


@step("Product", exact=False)
def _product(g: Growth, x: Value) -> Value:
    return g.op("Product", x, g.choice(g.partners(x)))


@step("Opaque", exact=False)
def _opaque(g: Growth, x: Value) -> Value:
    from onnx import helper

    name = g.b.fresh("sin")
    type_ = g.b.type_of(x)
    assert isinstance(type_, TensorType)
    proto = helper.make_node("Sin", [g.b[x].names[x.port]], [name]).SerializeToString(deterministic=True)
    return g.op(
        "Opaque", x, name=name, types=[TensorType(DTYPES["f32"], type_.shape)],
        op_type="Sin", version=7, reason="Sin has no rule here", proto=proto,
    )  # fmt: skip
