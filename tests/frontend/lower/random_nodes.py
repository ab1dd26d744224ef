"""Random nodes of every operator that has a lowering, with all attributes of its schema at every opset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx

from pathlift.testing.onnx_models import f32

Rng = np.random.Generator


class Case(NamedTuple):
    """A node: its operands, its attributes, the names of its outputs, and which operand the graph takes."""

    operands: Sequence[np.ndarray | None]
    attributes: dict[str, Any] = {}  # noqa: RUF012 (read only)
    outputs: Sequence[str] = ("y0",)
    slot: int = 0


Maker = Callable[[Rng, int], Case]
MAKERS: dict[str, Maker] = {}


def makes(*op_types: str) -> Callable[[Maker], Maker]:
    def register(maker: Maker) -> Maker:
        MAKERS.update(dict.fromkeys(op_types, maker))
        return maker

    return register


def ints(rng: Rng, low: int, high: int, n: int) -> list[int]:
    return [int(v) for v in rng.integers(low, high + 1, n)]


def one(rng: Rng, *choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def tensor(rng: Rng, rank: int | None = None, low: int = 1) -> np.ndarray:
    rank = int(rng.integers(low, 5)) if rank is None else rank
    return f32(rng, *ints(rng, 1, 4, rank))


def broadcast(rng: Rng, shape: Sequence[int]) -> tuple[int, ...]:
    kept = shape[int(rng.integers(0, len(shape) + 1)) :]
    return tuple(one(rng, 1, d, d) for d in kept)


def axis_of(rng: Rng, rank: int) -> int:
    return int(rng.integers(-rank, rank))


def axes_of(rng: Rng, rank: int, fewest: int = 0) -> list[int]:
    picked = rng.permutation(rank)[: int(rng.integers(fewest, rank + 1))]
    return [int(a) - rank * int(rng.integers(2)) for a in picked]


def axes_given(rng: Rng, op_type: str, opset: int, since: int, axes: list[int]) -> tuple[list[Any], dict[str, Any]]:
    return ([np.array(axes, np.int64)], {}) if opset >= since else ([], {"axes": axes} if axes else {})


@makes("Relu", "Abs", "Sigmoid", "Tanh", "Softplus", "Softsign", "Erf", "HardSwish", "Neg", "Identity")
def plain(rng: Rng, opset: int) -> Case:
    return Case([3 * tensor(rng, low=0)])


@makes("LeakyRelu", "Elu", "Celu", "HardSigmoid", "Selu")
def slopes(rng: Rng, opset: int) -> Case:
    number = lambda: one(rng, 0.0, 1.0, -0.5, 0.3, 2.5)  # noqa: E731
    return Case([3 * tensor(rng)], {"alpha": number(), "beta": number(), "gamma": number()})


@makes("Gelu")
def gelu(rng: Rng, opset: int) -> Case:
    return Case([tensor(rng)], {"approximate": one(rng, "none", "tanh")})


@makes("PRelu")
def prelu(rng: Rng, opset: int) -> Case:
    x = tensor(rng)
    slope = one(rng, broadcast(rng, x.shape), (x.shape[min(1, x.ndim - 1)],))
    return Case([x, f32(rng, *slope)])


@makes("Clip")
def clip(rng: Rng, opset: int) -> Case:
    low, high = (one(rng, -1.0, 0.0, 0.5, -np.inf, float(np.finfo(np.float32).min)), one(rng, 0.7, 6.0, -0.2, np.inf))
    if opset < 11:
        return Case([tensor(rng)], {"min": low, "max": high})
    bounds = [one(rng, None, np.float32(low)), one(rng, None, np.float32(high))]
    return Case([tensor(rng), *bounds[: int(rng.integers(3))]])


@makes("Softmax", "LogSoftmax")
def softmax(rng: Rng, opset: int) -> Case:
    x = tensor(rng)
    return Case([x], {"axis": axis_of(rng, x.ndim)})


@makes("Dropout")
def dropout(rng: Rng, opset: int) -> Case:
    outputs = one(rng, ("y0",), ("y0", ""), ("y0", "mask"), ("y0", "y1"))
    if opset < 12:
        return Case([tensor(rng)], {"ratio": 0.4}, outputs)
    more = [one(rng, None, np.float32(0.0), np.float32(0.4)), one(rng, None, np.array(False))]
    return Case([tensor(rng), *more[: int(rng.integers(3))]], {"seed": 1}, outputs)


@makes("Cast")
def cast(rng: Rng, opset: int) -> Case:
    return Case([tensor(rng) * 3], {"to": one(rng, 1, 10, 11, 6, 7, 9), "saturate": one(rng, 0, 1), "round_mode": "up"})


@makes("BatchNormalization")
def batch_normalization(rng: Rng, opset: int) -> Case:
    x = f32(rng, 3, *ints(rng, 1, 4, int(rng.integers(1, 4))))
    spatial = one(rng, 0, 1, 1)
    shape = x.shape[1:] if not spatial and opset < 9 else x.shape[1:2]
    params = [f32(rng, *shape), f32(rng, *shape), f32(rng, *shape), np.abs(f32(rng, *shape)) + 0.1]
    statistics = ("mean", "var") if opset >= 14 else ("mean", "var", "saved_mean", "saved_var")
    training = int(rng.integers(2))
    return Case(
        [x, *params],
        {"epsilon": 1e-2, "momentum": 0.8, "spatial": spatial, "training_mode": training},
        ("y0", *statistics) if training else ("y0",),
    )


@makes("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min")
def binary(rng: Rng, opset: int) -> Case:
    x = tensor(rng, low=0)
    y = one(rng, f32(rng, *broadcast(rng, x.shape)), f32(rng, *ints(rng, 1, 3, 1), *x.shape), np.float32(2.0))
    x = x[:, :1] if x.ndim > 1 and rng.integers(4) == 0 else x
    return Case([x, np.asarray(y)])


@makes("Sum", "Mean")
def variadic(rng: Rng, opset: int) -> Case:
    x = tensor(rng)
    return Case([x, *(f32(rng, *broadcast(rng, x.shape)) for _ in range(int(rng.integers(3))))])


@makes("MaxPool", "AveragePool")
def pool(rng: Rng, opset: int) -> Case:
    n = int(rng.integers(1, 4))
    kernel = ints(rng, 1, 3, n)
    attributes = {
        "kernel_shape": kernel,
        "strides": ints(rng, 1, 4, n),
        "dilations": one(rng, [1] * n, ints(rng, 1, 2, n)),
        "ceil_mode": one(rng, 0, 1),
        "count_include_pad": one(rng, 0, 1),
        "storage_order": one(rng, 0, 1),
        "auto_pad": one(rng, "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"),
        "pads": ints(rng, 0, 2, 2 * n),
    }
    return Case([f32(rng, 1, 2, *ints(rng, 1, 8, n))], attributes)


@makes("Conv")
def conv(rng: Rng, opset: int) -> Case:
    n, group = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    kernel = ints(rng, 1, 3, n)
    w = f32(rng, 2 * group, one(rng, 1, 2), *kernel)
    attributes = {
        "kernel_shape": kernel,
        "group": group,
        "strides": ints(rng, 1, 4, n),
        "dilations": one(rng, [1] * n, ints(rng, 1, 2, n)),
        "auto_pad": one(rng, "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"),
        "pads": ints(rng, 0, 2, 2 * n),
    }
    more = one(rng, [], [f32(rng, 2 * group)])
    return Case([f32(rng, 2, w.shape[1] * group, *ints(rng, 1, 8, n)), w, *more], attributes)


@makes("ConvTranspose")
def conv_transpose(rng: Rng, opset: int) -> Case:
    n, group = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    kernel = ints(rng, 1, 3, n)
    w = f32(rng, 2 * group, one(rng, 1, 2), *kernel)
    x = f32(rng, 2, 2 * group, *ints(rng, 1, 4, n))
    strides, dilations = ints(rng, 1, 3, n), one(rng, [1] * n, ints(rng, 1, 2, n))
    attributes = {
        "kernel_shape": kernel,
        "group": group,
        "strides": strides,
        "dilations": dilations,
        "auto_pad": one(rng, "NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"),
        "pads": one(rng, [0] * 2 * n, ints(rng, 0, 1, 2 * n)),
        "output_padding": [int(rng.integers(s)) for s in strides],
    }
    if rng.integers(3) == 0:
        reach = [
            (d - 1) * s + (k - 1) * e + 1 for d, s, k, e in zip(x.shape[2:], strides, kernel, dilations, strict=True)
        ]
        sizes = [max(r + int(rng.integers(-2, 2)), 1) for r in reach]
        attributes["output_shape"] = one(rng, sizes, [*x.shape[:1], w.shape[1] * group, *sizes])
    return Case([x, w, *one(rng, [], [f32(rng, w.shape[1] * group)])], attributes)


@makes("GlobalAveragePool", "GlobalMaxPool")
def global_pool(rng: Rng, opset: int) -> Case:
    return Case([tensor(rng, int(rng.integers(2, 6)))])


@makes("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")
def reduce(rng: Rng, opset: int) -> Case:
    x = tensor(rng, low=0)
    more, attributes = axes_given(rng, "", opset, 18, axes_of(rng, x.ndim))
    return Case([x, *one(rng, more, more, [])], {**attributes, "keepdims": 0, "noop_with_empty_axes": one(rng, 0, 1)})


@makes("ReduceSum")
def reduce_sum(rng: Rng, opset: int) -> Case:
    return reduce(rng, 18 if opset >= 13 else opset)


@makes("TopK")
def top_k(rng: Rng, opset: int) -> Case:
    x = tensor(rng)
    axis = axis_of(rng, x.ndim)
    k = int(rng.integers(0, x.shape[axis] + 1))
    attributes = {"axis": axis, "largest": one(rng, 0, 1), "sorted": one(rng, 0, 1)}
    if x.shape[-1] < k or axis not in (-1, x.ndim - 1):
        k = min(1, k)  # right where the attribute is dropped, too
    outputs = one(rng, ("y0", "i"), ("y0", "y1"))
    if opset < 10:
        return Case([x], {"k": k, **attributes}, outputs)
    return Case([x, np.array([k])], attributes, outputs)


@makes("Gemm")
def gemm(rng: Rng, opset: int) -> Case:
    m, k, n = ints(rng, 1, 4, 3)
    a, b = one(rng, 0, 1), one(rng, 0, 1)
    bias = one(rng, (n,), (1,), (m, n), (1, n), (m, 1), ())
    more = one(rng, [], [f32(rng, *bias)])
    attributes = {"alpha": one(rng, 1.0, 0.5, 0.0), "beta": one(rng, 1.0, 0.0, -2.0), "transA": a, "transB": b}
    return Case([f32(rng, *((k, m) if a else (m, k))), f32(rng, *((n, k) if b else (k, n))), *more], attributes)


@makes("MatMul")
def matmul(rng: Rng, opset: int) -> Case:
    m, k, n = ints(rng, 1, 4, 3)
    lead = tuple(ints(rng, 1, 3, int(rng.integers(3))))
    a = one(rng, (k,), (m, k), (*lead, m, k), (*broadcast(rng, lead), m, k))
    b = one(rng, (k,), (k, n), (*lead, k, n), (*broadcast(rng, lead), k, n))
    return Case([f32(rng, *a), f32(rng, *b)])


@makes("Einsum")
def einsum(rng: Rng, opset: int) -> Case:
    letters = "abcd"[: int(rng.integers(1, 5))]
    size = dict(zip(letters, ints(rng, 1, 3, 4), strict=False))
    terms = ["".join(rng.permutation(list(letters))[: int(rng.integers(1, len(letters) + 1))]) for _ in range(2)]
    used = [c for c in letters if c in "".join(terms)]
    result = "".join(rng.permutation(used)[: int(rng.integers(0, len(used) + 1))])
    equation = ", ".join(terms) + one(rng, "", f" -> {result}")
    shapes = [[size[c] if rng.integers(6) else 1 for c in term] for term in terms]
    return Case([f32(rng, *shape) for shape in shapes], {"equation": equation})


@makes("Flatten")
def flatten(rng: Rng, opset: int) -> Case:
    x = tensor(rng, low=0)
    return Case([x], {"axis": int(rng.integers(-x.ndim, x.ndim + 1))})


@makes("Transpose")
def transpose(rng: Rng, opset: int) -> Case:
    x = tensor(rng)
    return Case([x], {"perm": [int(a) for a in rng.permutation(x.ndim)]})


@makes("Squeeze")
def squeeze(rng: Rng, opset: int) -> Case:
    x = f32(rng, *(one(rng, 1, 1, 3) for _ in range(int(rng.integers(1, 5)))))
    axes = [a - x.ndim * int(rng.integers(2)) for a in range(x.ndim) if x.shape[a] == 1 and rng.integers(2)]
    more, attributes = axes_given(rng, "", opset, 13, axes)
    return Case([x, *one(rng, more, more, [])], attributes)


@makes("Unsqueeze")
def unsqueeze(rng: Rng, opset: int) -> Case:
    x = tensor(rng, low=0)
    more, attributes = axes_given(rng, "", opset, 13, axes_of(rng, x.ndim + int(rng.integers(1, 3)), 1)[:2])
    return Case([x, *more], attributes)


@makes("Reshape")
def reshape(rng: Rng, opset: int) -> Case:
    x = tensor(rng, 3)
    a, b, c = x.shape
    target = one(rng, [-1], [0, -1], [a * b, c], [0, 0, c], [a, -1, 1, c], [c, -1], [0, b * c], [])
    return Case([x, np.array(target, np.int64)], {"allowzero": one(rng, 0, 1)})


@makes("Concat")
def concat(rng: Rng, opset: int) -> Case:
    x = tensor(rng)
    axis = axis_of(rng, x.ndim)
    others = [[d if i != axis % x.ndim else int(rng.integers(0, 3)) for i, d in enumerate(x.shape)] for _ in range(2)]
    return Case([x, *(f32(rng, *shape) for shape in others[: int(rng.integers(3))])], {"axis": axis})


@makes("Tile")
def tile(rng: Rng, opset: int) -> Case:
    x = tensor(rng)
    return Case([x, np.array(ints(rng, 0, 2, x.ndim), np.int64)])


@makes("Expand")
def expand(rng: Rng, opset: int) -> Case:
    x = tensor(rng, low=0)
    shape = [one(rng, 1, d) for d in x.shape[int(rng.integers(0, x.ndim + 1)) :]]
    shape = [3] * int(rng.integers(2)) + shape if len(shape) == x.ndim else shape
    return Case([x, np.array([one(rng, 2, 1) if d == 1 and len(shape) > x.ndim else d for d in shape], np.int64)])


@makes("DepthToSpace", "SpaceToDepth")
def blocks(rng: Rng, opset: int) -> Case:
    block = int(rng.integers(1, 4))
    n, c, h, w = ints(rng, 1, 2, 4)
    x = f32(rng, n, c * block**2, h * block, w * block)
    return Case([x], {"blocksize": block, "mode": one(rng, "DCR", "CRD")})


@makes("Slice")
def slice_(rng: Rng, opset: int) -> Case:
    x = tensor(rng)
    axes = axes_of(rng, x.ndim, 1)
    axes = one(rng, axes, list(range(len(axes))))
    bound = lambda: [one(rng, int(v), int(v), 2**40, -(2**40)) for v in rng.integers(-5, 6, len(axes))]  # noqa: E731
    starts, ends = bound(), bound()
    if opset < 10:
        given = {} if axes == list(range(len(axes))) and rng.integers(2) else {"axes": axes}
        return Case([x], {"starts": starts, "ends": ends, **given})
    steps = [one(rng, 1, 2, -1, -2) for _ in axes]
    more = [None if axes == list(range(len(axes))) and rng.integers(2) else np.array(axes), np.array(steps)]
    return Case([x, np.array(starts), np.array(ends), *more[: int(rng.integers(3))]])


@makes("Split")
def split(rng: Rng, opset: int) -> Case:
    x = f32(rng, *ints(rng, 2, 6, int(rng.integers(1, 4))))
    axis = axis_of(rng, x.ndim)
    size, count = x.shape[axis], int(rng.integers(1, 4))
    cuts = sorted(ints(rng, 0, size, count - 1))
    parts = [b - a for a, b in zip([0, *cuts], [*cuts, size], strict=True)]
    outputs = [f"y{i}" for i in range(count)]
    if opset < 13:
        return Case([x], {"axis": axis, "split": parts}, outputs)
    if opset >= 18 and rng.integers(2):
        return Case([x], {"axis": axis, "num_outputs": count}, outputs)
    return Case([x, *one(rng, [], [np.array(parts, np.int64)])], {"axis": axis}, outputs)


@makes("Gather")
def gather(rng: Rng, opset: int) -> Case:
    x = tensor(rng)
    axis = axis_of(rng, x.ndim)
    size = min(x.shape) if rng.integers(2) else x.shape[axis]
    indices = rng.integers(-size if opset >= 11 else 0, size, ints(rng, 1, 3, int(rng.integers(3))))
    return Case([x, np.asarray(indices)], {"axis": axis})


@makes("GatherND")
def gather_nd(rng: Rng, opset: int) -> Case:
    x = f32(rng, *ints(rng, 2, 3, int(rng.integers(2, 5))))
    batch = int(rng.integers(0, 2))
    named = int(rng.integers(1, x.ndim - batch + 1))
    shape = (*x.shape[:batch], *ints(rng, 1, 3, int(rng.integers(0, 2))), named)
    return Case([x, rng.integers(-2, 2, shape)], {"batch_dims": batch})


@makes("ScatterND")
def scatter_nd(rng: Rng, opset: int) -> Case:
    x = f32(rng, *ints(rng, 2, 4, int(rng.integers(1, 4))))
    named = int(rng.integers(1, x.ndim + 1))
    every = rng.permutation([list(p) for p in np.ndindex(*x.shape[:named])])
    places = every[: int(rng.integers(0, len(every) + 1))]
    updates = f32(rng, len(places), *x.shape[named:])
    return Case([x, places, updates], {"reduction": one(rng, "none", "none", "add", "mul", "max", "min")})


@makes("Pad")
def pad(rng: Rng, opset: int) -> Case:
    x = tensor(rng)
    mode = one(rng, "constant", "constant", "reflect", "edge", "wrap")
    value = one(rng, 0.0, 1.5, -np.inf)
    axes = axes_of(rng, x.ndim, 1) if opset >= 18 and rng.integers(2) else list(range(x.ndim))
    pads = [int(rng.integers(-1 if mode == "constant" else 0, 3)) for _ in range(2 * len(axes))]
    if opset < 11:
        return Case([x], {"mode": mode, "pads": pads, "value": value})
    more = [one(rng, None, np.float32(value)), np.array(axes)]
    count = 2 if len(axes) < x.ndim or axes != list(range(x.ndim)) else int(rng.integers(2 + (opset >= 18)))
    return Case([x, np.array(pads), *more[:count]], {"mode": mode})


@makes("Resize")
def resize(rng: Rng, opset: int) -> Case:
    x = f32(rng, 1, 2, *ints(rng, 2, 5, int(rng.integers(1, 3))))
    scales = [1.0, 1.0, *(one(rng, 0.5, 1.0, 2.0, 1.5, 3.0) for _ in x.shape[2:])]
    if opset < 11:
        return Case([x, np.array(scales, np.float32)], {"mode": one(rng, "nearest", "linear")})
    attributes = {
        "mode": one(rng, "nearest", "linear", "cubic"),
        "coordinate_transformation_mode": one(
            rng, "half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric",
            "tf_crop_and_resize", "tf_half_pixel_for_nn",
        ),
        "nearest_mode": one(rng, "round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
        "cubic_coeff_a": one(rng, -0.75, -0.5),
        "exclude_outside": one(rng, 0, 1),
        "extrapolation_value": 3.0,
        "antialias": one(rng, 0, 0, 1),
        "keep_aspect_ratio_policy": one(rng, "stretch", "not_larger", "not_smaller"),
    }  # fmt: skip
    axes = list(range(x.ndim))
    if opset >= 18 and rng.integers(2):
        axes = one(rng, [-1], [2], [x.ndim - 1, 0], axes)
        attributes["axes"] = axes
    sizes = np.array([max(int(x.shape[a] * scales[a]), 1) for a in axes], np.int64)
    empty = None if opset >= 13 else np.zeros(0, np.float32)
    picked = np.array([scales[a] for a in axes], np.float32)
    return Case([x, empty, *one(rng, [picked], [empty, sizes])], attributes)


@makes("Upsample")
def upsample(rng: Rng, opset: int) -> Case:
    scales = [1.0, 1.0, *(one(rng, 1.0, 2.0, 3.0, 1.5) for _ in range(2))]
    x, mode = f32(rng, 1, 2, 3, 4), one(rng, "nearest", "linear")
    return Case([x], {"scales": scales, "mode": mode}) if opset < 9 else Case([x, np.float32(scales)], {"mode": mode})


@makes("Where")
def where(rng: Rng, opset: int) -> Case:
    x = tensor(rng)
    mask, y = rng.integers(0, 2, broadcast(rng, x.shape)).astype(bool), f32(rng, *broadcast(rng, x.shape))
    return Case(*one(rng, ([mask, x, y], {}, ("y0",), 1), ([mask, y, x], {}, ("y0",), 2)))


def versions(op_type: str) -> list[onnx.defs.OpSchema]:
    """Return the schemas of an operator that are read."""
    history = [s for s in onnx.defs.get_all_schemas_with_history() if (s.name, s.domain) == (op_type, "")]
    found = sorted((s for s in history if not s.deprecated), key=lambda s: s.since_version)
    return [s for s, after in zip(found, [*found[1:], None], strict=True) if after is None or after.since_version > 7]
