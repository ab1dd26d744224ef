"""Pools, reductions and order statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pathlift.frontend.lower.families.convolution import auto_pad, padding, spatial, window, window_span
from pathlift.frontend.lower.families.indexing import amounts
from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.registry import Refusal, lowering
from pathlift.ir import dims as D
from pathlift.ir.types import Dim, Ints

INDICES_USED = "its indices are used"
LOWEST = float(np.finfo(np.float32).min)


@lowering("MaxPool", "AveragePool", ignores=["storage_order"])
def pool(node: OnnxNode) -> Operand:
    """A pool with windows; `auto_pad` is resolved."""
    node.first_output_only(INDICES_USED)
    x, kernel = node.input(0), node.integers("kernel_shape")
    dims = spatial(node, x, kernel)
    strides, dilations = window(node, kernel)
    reach = [window_span(k, d) for k, d in zip(kernel, dilations, strict=True)]
    ceil_mode = bool(node.integer("ceil_mode"))
    if auto_pad(node).startswith("SAME"):  # which says itself how many windows there are
        ceil_mode = False
        _require_agreed(dims, kernel, reach, strides)
    if _ends_only(node, dims, reach, strides):
        pads, ceil_mode = (0,) * (2 * len(kernel)), True
    else:
        pads = padding(node, dims, kernel, strides, dilations)
        sides = zip(dims[2:], pads, pads[len(kernel) :], reach, strict=False)
        if any(isinstance(d, int) and d + begin + end < r for d, begin, end, r in sides):
            raise Refusal("not one window fits its input")
        if ceil_mode:
            known = D.known_windows(dims[2:], kernel, strides, pads, dilations)
            ceil_mode = len(known) < len(kernel) or any(map(D.ceil_adds, known))
            # Before opset 22, ONNX's shape inference counts a window that no execution has.
            node.respelled |= node.version < 22 and any(map(D.ceil_overshoots, known))
    if node.op_type == "MaxPool" and not ceil_mode:
        x, pads = _with_padding(node, pads, reach)
    if any(p >= r for p, r in zip(pads, reach + reach, strict=True)):
        raise Refusal("a window lies in the padding")
    attrs = {"kernel": kernel, "strides": strides, "pads": pads, "dilations": dilations, "ceil_mode": ceil_mode}
    if node.op_type == "AveragePool":
        attrs["count_include_pad"] = bool(node.integer("count_include_pad")) and (ceil_mode or any(pads))
    return node.result(node.op_type, x, **attrs)


def _require_agreed(dims: Sequence[Dim], kernel: Ints, reach: Sequence[int], strides: Ints) -> None:
    """Refuse what runtimes make of SAME: they forget dilations, and crop the input where strides are wide."""
    if tuple(reach) != kernel:
        raise Refusal("an auto_pad with dilations, which runtimes read in two ways")
    for size, span, stride in zip(dims[2:], reach, strides, strict=True):
        windows = -(-size // stride) if isinstance(size, int) else 1
        total = (windows - 1) * stride + span - (size if isinstance(size, int) else stride)
        if total < -1:
            raise Refusal("an auto_pad with strides wider than its kernel, which runtimes read in two ways")


def _ends_only(node: OnnxNode, dims: Sequence[Dim], reach: Sequence[int], strides: Ints) -> bool:
    """Whether SAME_UPPER pads nothing but a last window, whatever the size: it is `ceil_mode`, then."""
    if auto_pad(node) != "SAME_UPPER" or node.integer("count_include_pad"):
        return False
    small = all(r <= min(s, 2) for r, s in zip(reach, strides, strict=True))
    return small and not all(isinstance(d, int) for d in dims[2:])


def _with_padding(node: OnnxNode, pads: Ints, reach: Sequence[int]) -> tuple[Operand, Ints]:
    """Return the input of a max-pool and its pads, with those of a Pad by −∞ in front of it among them.

    TensorFlow's SAME padding comes so from PyTorch; a pool never selects its own padding.
    """
    x, pad = node.input(0), node.producer(0)
    if pad is None or pad.node.domain or pad.op_type != "Pad" or pad.text("mode", "constant") != "constant":
        return x, pads
    try:
        begins, ends, value = amounts(pad, len(reach) + 2)
    except Refusal:
        return x, pads
    total = tuple(a + b for a, b in zip(pads, (*begins[2:], *ends[2:]), strict=True))
    inside = not any((*begins[:2], *ends[:2])) and min(*begins, *ends) >= 0
    fits = all(p < r for p, r in zip(total, (*reach, *reach), strict=True))
    return (pad.input(0), total) if value <= LOWEST and inside and fits else (x, pads)


@lowering("GlobalAveragePool", "GlobalMaxPool")
def global_pool(node: OnnxNode) -> Operand:
    """A reduction over all spatial axes."""
    x = node.input(0)
    axes = tuple(range(2, len(node.dims(x))))
    if not axes:
        raise Refusal("an input without spatial axes")
    return node.result("ReduceMean" if node.op_type == "GlobalAveragePool" else "ReduceMax", x, axes=axes)


@lowering("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")
def reduce(node: OnnxNode) -> Operand:
    """A reduction over axes given as an attribute or an input, or over all of them."""
    x, axes, keepdims = node.input(0), node.axes(1) or (), node.integer("keepdims", 1) == 1
    if node.integer("noop_with_empty_axes") == 1 and not axes:
        return x
    if any(a < 0 for a in axes):
        axes = tuple(sorted(node.axis(a, len(node.dims(x))) for a in axes))
    return node.result(node.op_type, x, axes=axes, keepdims=keepdims)


@lowering("TopK", ignores=["sorted"])
def top_k(node: OnnxNode) -> tuple[Operand, ...]:
    """The values of the k largest or smallest; where the order is left open, they come sorted."""
    node.first_output_only(INDICES_USED)
    x = node.input(0)
    (k,) = (node.integer("k"),) if node.version < 10 else _one(node.settled(1, "k is computed from data"))
    axis = node.axis(node.integer("axis", -1), len(node.dims(x)))
    return (node.result("TopK", x, axis=axis, k=k, largest=bool(node.integer("largest", 1))),)


def _one(values: Ints) -> Ints:
    if np.size(values) != 1:
        raise Refusal("k is not one number")
    return values
