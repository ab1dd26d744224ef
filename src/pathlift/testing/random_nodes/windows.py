"""Random convolutions, pools, reductions and interpolations."""

from __future__ import annotations

import numpy as np

from pathlift.testing.onnx_models import f32
from pathlift.testing.random_nodes.draws import Case, Rng, axes_given, axes_of, axis_of, ints, makes, one, tensor


@makes("MaxPool", "AveragePool")
def pool(rng: Rng, opset: int) -> Case:
    """A random MaxPool or AveragePool."""
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
    """A random Conv."""
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
    """A random ConvTranspose."""
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
    """A random GlobalAveragePool or GlobalMaxPool."""
    return Case([tensor(rng, int(rng.integers(2, 6)))])


@makes("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")
def reduce(rng: Rng, opset: int) -> Case:
    """A random ReduceMean, ReduceSum, ReduceMax or ReduceMin."""
    x = tensor(rng, low=0)
    more, attributes = axes_given(opset, 18, axes_of(rng, x.ndim))
    return Case([x, *one(rng, more, more, [])], {**attributes, "keepdims": 0, "noop_with_empty_axes": one(rng, 0, 1)})


@makes("ReduceSum")
def reduce_sum(rng: Rng, opset: int) -> Case:
    """A random ReduceSum."""
    return reduce(rng, 18 if opset >= 13 else opset)


@makes("TopK")
def top_k(rng: Rng, opset: int) -> Case:
    """A random TopK."""
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


@makes("Resize")
def resize(rng: Rng, opset: int) -> Case:
    """A random Resize."""
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
    """A random Upsample."""
    scales = [1.0, 1.0, *(one(rng, 1.0, 2.0, 3.0, 1.5) for _ in range(2))]
    x, mode = f32(rng, 1, 2, 3, 4), one(rng, "nearest", "linear")
    return (
        Case([x], {"scales": scales, "mode": mode})
        if opset < 9
        else Case([x, np.array(scales, np.float32)], {"mode": mode})
    )
