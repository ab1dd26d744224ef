"""Conv and ConvTranspose, and the padding that ``auto_pad`` stands for."""

from __future__ import annotations

from collections.abc import Sequence

from pathlift.frontend.fold import Constant
from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.registry import GIVE_SHAPE, Refusal, lowering
from pathlift.ir.types import Dim, Ints


def window_span(kernel: int, dilation: int) -> int:
    """How many values a dilated window spans."""
    return dilation * (kernel - 1) + 1


def window(node: OnnxNode, kernel: Ints) -> tuple[Ints, Ints]:
    """Return the strides and dilations of a window."""
    ones = (1,) * len(kernel)
    strides, dilations = node.integers("strides", ones), node.integers("dilations", ones)
    if len(strides) != len(kernel) or len(dilations) != len(kernel) or min(*strides, *dilations, *kernel, 1) < 1:
        raise Refusal("its strides or dilations do not fit its kernel")
    return strides, dilations


def auto_pad(node: OnnxNode) -> str:
    """Return how the file says its padding; an empty text says nothing."""
    pads = node.integers("pads")
    mode = node.choice("auto_pad", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", "") or "NOTSET"
    if mode != "NOTSET" and any(pads):
        raise Refusal("both pads and an auto_pad, of which runtimes take one or none")
    return mode


def padding(node: OnnxNode, dims: Sequence[Dim], kernel: Ints, strides: Ints, dilations: Ints) -> Ints:
    """Return the pads of a convolution or pooling, all begins then all ends, whatever way the file says them."""
    mode, pads = auto_pad(node), node.integers("pads", (0,) * (2 * len(kernel)))
    if mode == "NOTSET":
        if len(pads) != 2 * len(kernel) or min(pads, default=0) < 0:
            raise Refusal("its pads are negative, or do not fit its kernel")
        return pads
    if mode == "VALID":
        return (0,) * (2 * len(kernel))
    totals = []
    for size, k, s, d in zip(dims[2:], kernel, strides, dilations, strict=True):
        if s == 1:
            totals.append(window_span(k, d) - 1)
        elif isinstance(size, int):
            totals.append(max((-(-size // s) - 1) * s + window_span(k, d) - size, 0))
        else:
            raise Refusal(f"auto_pad={mode} with an unknown size", GIVE_SHAPE)
    return split_pads(totals, upper=mode == "SAME_UPPER")


def split_pads(totals: Sequence[int], *, upper: bool) -> Ints:
    """Distribute total pads over both ends; the odd one goes to the end if `upper`."""
    begins = [t // 2 if upper else t - t // 2 for t in totals]
    return (*begins, *(t - b for t, b in zip(totals, begins, strict=True)))


def spatial(node: OnnxNode, x: Operand, kernel: Ints) -> Sequence[Dim]:
    """Return the shape of a feature map; refuse one whose rank does not fit the kernel."""
    dims = node.dims(x)
    if len(dims) != len(kernel) + 2 or not 1 <= len(kernel) <= 3:
        raise Refusal(f"a {len(kernel)}-D kernel on an input of {len(dims)} axes")
    return dims


def _kernel(node: OnnxNode, w: Constant) -> Ints:
    kernel = w.param.shape[2:]
    if (said := node.integers("kernel_shape", kernel)) != kernel:
        raise ValueError(f"its kernel_shape {list(said)} is not that of its weight, {list(kernel)}")
    return kernel


@lowering("Conv")
def conv(node: OnnxNode) -> Operand:
    """Convolution with a constant weight."""
    x, w, bias = node.input(0), node.constant(1, "dynamic weight"), node.optional(2)
    kernel = _kernel(node, w)
    dims = spatial(node, x, kernel)
    strides, dilations = window(node, kernel)
    pads = padding(node, dims, kernel, strides, dilations)
    attrs = {"strides": strides, "pads": pads, "dilations": dilations, "groups": node.integer("group", 1)}
    if bias is None or isinstance(bias, Constant):
        return node.result("Conv", x, w, bias, **attrs)
    y = node.emit("Conv", x, w, **attrs)
    return node.result("Add", y, node.emit("Unsqueeze", bias, axes=tuple(range(1, 1 + len(kernel)))))


@lowering("ConvTranspose")
def conv_transpose(node: OnnxNode) -> Operand:
    """Transposed convolution with a constant weight."""
    x, w, bias = node.input(0), node.constant(1, "dynamic weight"), node.optional(2)
    kernel = _kernel(node, w)
    dims = spatial(node, x, kernel)
    strides, dilations = window(node, kernel)
    extra = node.integers("output_padding", (0,) * len(kernel))
    pads, extra = _transposed_padding(node, dims[2:], kernel, strides, dilations, extra)
    attrs = {
        "strides": strides,
        "pads": pads,
        "dilations": dilations,
        "output_padding": extra,
        "groups": node.integer("group", 1),
    }
    if bias is None or isinstance(bias, Constant):
        return node.result("ConvTranspose", x, w, bias, **attrs)
    y = node.emit("ConvTranspose", x, w, **attrs)
    return node.result("Add", y, node.emit("Unsqueeze", bias, axes=tuple(range(1, 1 + len(kernel)))))


def _transposed_padding(
    node: OnnxNode, sizes: Sequence[Dim], kernel: Ints, strides: Ints, dilations: Ints, extra: Ints
) -> tuple[Ints, Ints]:
    mode = auto_pad(node)
    wanted = node.integers("output_shape")[-len(kernel) :]
    if not wanted and mode in ("NOTSET", "VALID"):
        return padding(node, (), kernel, strides, dilations), extra
    totals = []
    for i, (size, k, s, d) in enumerate(zip(sizes, kernel, strides, dilations, strict=True)):
        if not wanted:  # SAME: the output is `stride` times as large as the input
            totals.append(window_span(k, d) + extra[i] - s)
        elif isinstance(size, int):
            totals.append(s * (size - 1) + extra[i] + window_span(k, d) - wanted[i])
        else:
            raise Refusal("output_shape with an unknown size", GIVE_SHAPE)
    if min(totals) < 0:
        raise Refusal("an output larger than the transposed convolution reaches")
    return split_pads(totals, upper=mode == "SAME_UPPER"), extra
